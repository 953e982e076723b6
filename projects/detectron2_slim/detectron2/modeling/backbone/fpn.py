"""Feature pyramid on top of another backbone."""

from typing import Any

import torch
from fvcore.nn.weight_init import c2_xavier_fill
from torch import nn
from torch.nn import functional as F

from detectron2.config import CfgNode
from detectron2.layers import Conv2d, ShapeSpec, get_norm

from .backbone import BACKBONE_REGISTRY, Backbone
from .resnet import build_resnet_backbone


class FPN(Backbone):
    """Feature pyramid network; level ``p{k}`` has stride ``2**k``.

    Args:
        bottom_up: The other backbone.
        in_features: Its outputs to use, finest first, each of twice the stride before.
        out_channels: Channels of all levels.
        norm: See `get_norm`; convolutions have a bias only without one.
        top_block: Makes coarser levels from the features named by its ``in_feature``; has
            ``num_levels``.
        fuse_type: "sum" or "avg" of lateral and coarser features.
        square_pad: If positive, the square size that images are padded to.
    """

    def __init__(
        self,
        bottom_up: Backbone,
        in_features: list[str],
        out_channels: int,
        norm: Any = "",
        top_block: Any = None,
        fuse_type: str = "sum",
        square_pad: int = 0,
    ) -> None:
        super().__init__()
        assert in_features, "FPN needs MODEL.FPN.IN_FEATURES"
        assert fuse_type in ("sum", "avg"), f"fuse_type is 'sum' or 'avg', not '{fuse_type}'"
        shapes = [bottom_up.output_shape()[name] for name in in_features]
        levels = [(shape.stride or 1).bit_length() - 1 for shape in shapes]
        steps = range(levels[0], levels[0] + len(levels))
        assert levels == list(steps), f"strides of {in_features} must double each time"
        for level, shape in zip(levels, shapes, strict=True):
            for name, channels, size in (("lateral", shape.channels, 1), ("output", None, 3)):
                conv = Conv2d(
                    channels or out_channels,
                    out_channels,
                    size,
                    padding=size // 2,
                    bias=norm == "",
                    norm=get_norm(norm, out_channels),
                )
                c2_xavier_fill(conv)
                self.add_module(f"fpn_{name}{level}", conv)
        self.top_block = top_block
        self.in_features = tuple(in_features)
        self.bottom_up = bottom_up
        self._levels = levels
        self._fuse_type = fuse_type
        self._square_pad = square_pad
        top = levels[-1] + (0 if top_block is None else top_block.num_levels)
        self._out_feature_strides = {f"p{k}": 2**k for k in range(levels[0], top + 1)}
        self._out_features = list(self._out_feature_strides)
        self._out_feature_channels = dict.fromkeys(self._out_features, out_channels)

    @property
    def size_divisibility(self) -> int:
        """Stride of the coarsest input."""
        return 2 ** self._levels[-1]

    @property
    def padding_constraints(self) -> dict[str, int]:
        """The square size, 0 for none."""
        return {"square_size": self._square_pad}

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Map (N, C, H, W) to the levels."""
        features = self.bottom_up(x)
        results: dict[str, torch.Tensor] = {}
        above = None
        for level, name in reversed(list(zip(self._levels, self.in_features, strict=True))):
            fused = self.get_submodule(f"fpn_lateral{level}")(features[name])
            if above is not None:
                fused = fused + F.interpolate(above, scale_factor=2.0, mode="nearest")
                fused = fused / 2 if self._fuse_type == "avg" else fused
            results[f"p{level}"] = self.get_submodule(f"fpn_output{level}")(fused)
            above = fused
        if self.top_block is not None:
            source = {**results, **features}[self.top_block.in_feature]
            new = self._out_features[len(self._levels) :]
            results |= zip(new, self.top_block(source), strict=True)
        return {name: results[name] for name in self._out_features}


class LastLevelMaxPool(nn.Module):
    """Makes ``p6`` by taking every other cell of ``p5``."""

    num_levels = 1
    in_feature = "p5"

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Halve the size."""
        return [F.max_pool2d(x, kernel_size=1, stride=2)]


@BACKBONE_REGISTRY.register()
def build_resnet_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> FPN:
    """Build an FPN from ``MODEL.FPN`` on the ResNet of ``MODEL.RESNETS``."""
    node = cfg.MODEL.FPN
    return FPN(
        build_resnet_backbone(cfg, input_shape),
        node.IN_FEATURES,
        node.OUT_CHANNELS,
        norm=node.NORM,
        top_block=LastLevelMaxPool(),
        fuse_type=node.FUSE_TYPE,
    )
