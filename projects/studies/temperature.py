"""A temperature that is not learned."""

from typing import Any

from detectron2.config import configurable
from detectron2.modeling import META_ARCH_REGISTRY

from wecromcl_d2.stage1 import WeCromCL


@META_ARCH_REGISTRY.register()
class FixedTemperatureWeCromCL(WeCromCL):
    """`WeCromCL` whose temperature stays MODEL.WECROMCL.TEMPERATURE.

    Args:
        **parts: see `WeCromCL`.
    """

    @configurable
    def __init__(self, **parts: Any):
        super().__init__(**parts)
        self.logit_scale.requires_grad_(False)
