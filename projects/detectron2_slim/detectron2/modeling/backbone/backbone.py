"""Interface and registry of backbones."""

from abc import ABCMeta, abstractmethod
from typing import Any

from torch import Tensor, nn

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.utils.registry import Registry

BACKBONE_REGISTRY = Registry("BACKBONE")


class Backbone(nn.Module, metaclass=ABCMeta):
    """Maps images to named feature maps.

    Subclasses set ``_out_features`` (names), ``_out_feature_channels`` and ``_out_feature_strides``
    (by name), or override `output_shape`.
    """

    @abstractmethod
    def forward(self, *args: Any) -> dict[str, Tensor]:
        """Map (N, C, H, W) to feature maps."""

    @property
    def size_divisibility(self) -> int:
        """Number that input heights and widths must be multiples of; 0 if any size will do."""
        return 0

    @property
    def padding_constraints(self) -> dict[str, int]:
        """Constraints for `ImageList.from_tensors`."""
        return {}

    def output_shape(self: Any) -> dict[str, ShapeSpec]:
        """Channels and strides of the feature maps."""
        channels, strides = self._out_feature_channels, self._out_feature_strides
        names = self._out_features
        return {name: ShapeSpec(channels[name], stride=strides[name]) for name in names}


def build_backbone(cfg: CfgNode, input_shape: ShapeSpec | None = None) -> Backbone:
    """Build ``MODEL.BACKBONE.NAME``.

    Args:
        cfg: The config.
        input_shape: Its channels are by default as many as ``MODEL.PIXEL_MEAN`` has.
    """
    input_shape = input_shape or ShapeSpec(channels=len(cfg.MODEL.PIXEL_MEAN))
    backbone = BACKBONE_REGISTRY.get(cfg.MODEL.BACKBONE.NAME)(cfg, input_shape)
    assert isinstance(backbone, Backbone), f"{type(backbone).__name__} is not a Backbone"
    return backbone
