"""ResNet with a repeated bidirectional feature pyramid (BiFPN), as a Detectron2 backbone."""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode
from detectron2.layers import Conv2d, ShapeSpec, get_norm
from detectron2.modeling import BACKBONE_REGISTRY, Backbone
from detectron2.modeling.backbone import build_resnet_backbone
from detectron2.modeling.backbone.resnet import BasicBlock, BasicStem, BottleneckBlock, ResNet
from torch import Tensor, nn

from ..config import check_choice

# Added to the sum of the fusion weights, which is zero if ReLU cuts all of them.
FUSION_EPS = 1e-4
# Initial bias of the normalisations, as published.
NORM_BIAS = 1e-4


class WeightedFusion(nn.Module):
    """Swish of a learned convex combination of maps, then a 1x1 convolution.

    Args:
        inputs: number of maps that are combined.
        channels: channels of each map and of the result.
    """

    def __init__(self, inputs: int, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(inputs))
        self.conv = Conv2d(channels, channels, kernel_size=1, bias=False)
        nn.init.kaiming_normal_(self.conv.weight)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Combine maps of one shape (N, C, H, W)."""
        shares = F.relu(self.weight)
        shares = shares / (shares.sum() + FUSION_EPS)
        return self.conv(F.silu(sum(share * x for share, x in zip(shares, maps, strict=True))))


class BiFPNLayer(nn.Module):
    """One top-down and one bottom-up pass over all levels.

    Args:
        levels: number of levels, at least two.
        channels: channels of every level.
    """

    def __init__(self, levels: int, channels: int):
        super().__init__()
        self.top_down = nn.ModuleList(WeightedFusion(2, channels) for _ in range(levels - 1))
        self.bottom_up = nn.ModuleList(
            WeightedFusion(2 if level == levels - 1 else 3, channels) for level in range(1, levels)
        )

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Fuse `maps`, finest first, each (N, C, H_l, W_l) of half the size of the one before."""
        down = [maps[-1]]
        for level in reversed(range(len(maps) - 1)):
            upsampled = F.interpolate(down[0], size=maps[level].shape[-2:])
            down.insert(0, self.top_down[level]([maps[level], upsampled]))
        fused = [down[0]]
        for level, fuse in enumerate(self.bottom_up, start=1):
            pooled = F.max_pool2d(fused[-1], kernel_size=3, stride=2, padding=1)
            is_top = level == len(maps) - 1
            inputs = [maps[level], pooled] if is_top else [maps[level], down[level], pooled]
            fused.append(fuse(inputs))
        return fused


class BiFPN(Backbone):
    """Bidirectional feature pyramid on top of another backbone; yields `p{i}` for each `res{i}`.

    Args:
        bottom_up: backbone whose features are fused.
        in_features: names of its features, finest first, each half the size of the one before.
        out_channels: channels of every fused level.
        repeats: number of fusion layers.
        norm: normalisation after the lateral convolutions.

    Raises:
        ValueError: if `in_features` are not successive levels or fewer than two.
    """

    def __init__(
        self,
        *,
        bottom_up: Backbone,
        in_features: Sequence[str],
        out_channels: int,
        repeats: int,
        norm: str,
    ):
        super().__init__()
        shapes = bottom_up.output_shape()
        strides = [shapes[name].stride or 0 for name in in_features]
        if len(strides) < 2 or any(b != 2 * a for a, b in pairwise(strides)):
            raise ValueError(
                f"MODEL.BIFPN.IN_FEATURES {list(in_features)} have strides {strides}; "
                "give at least two levels, finest first, each of twice the stride before"
            )
        self.bottom_up = bottom_up
        self.in_features = list(in_features)
        self.laterals = nn.ModuleList(
            conv_norm_relu(shapes[name].channels, out_channels, norm) for name in in_features
        )
        self.layers = nn.ModuleList(
            BiFPNLayer(len(in_features), out_channels) for _ in range(repeats)
        )
        self._strides = strides
        self._shapes = {
            name.replace("res", "p"): ShapeSpec(channels=out_channels, stride=stride)
            for name, stride in zip(in_features, strides, strict=True)
        }

    @property
    def size_divisibility(self) -> int:
        """Input sides must be multiples of the coarsest stride."""
        return max(self._strides)

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Channels and stride of each output."""
        return self._shapes

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Map images (N, 3, H, W) to one (N, C, H / stride, W / stride) tensor per level."""
        features = self.bottom_up(x)
        maps = [
            lateral(features[name])
            for lateral, name in zip(self.laterals, self.in_features, strict=True)
        ]
        for layer in self.layers:
            maps = layer(maps)
        return dict(zip(self._shapes, maps, strict=True))


def conv_norm_relu(
    in_channels: int | None, out_channels: int, norm: str, norm_bias: float = NORM_BIAS
) -> Conv2d:
    """3x3 convolution, normalisation and ReLU, initialised as published.

    Args:
        in_channels: of the input.
        out_channels: of the result.
        norm: a name that `detectron2.layers.get_norm` knows; if empty, the convolution has a
            bias instead.
        norm_bias: start value of the normalisation's bias.
    """
    layer = Conv2d(
        in_channels,
        out_channels,
        kernel_size=3,
        padding=1,
        bias=not norm,
        norm=get_norm(norm, out_channels),
        activation=F.relu,
    )
    nn.init.kaiming_normal_(layer.weight)
    bias = getattr(layer.norm, "bias", None)
    if bias is not None:
        nn.init.constant_(bias, norm_bias)
    return layer


def build_resnet(cfg: CfgNode, input_shape: ShapeSpec) -> Backbone:
    """Detectron2's ResNet, or a smaller one when MODEL.RESNETS.NUM_BLOCKS is given.

    Raises:
        ValueError: for an unknown MODEL.RESNETS.BLOCK.
    """
    keys = cfg.MODEL.RESNETS
    if not keys.NUM_BLOCKS:
        return build_resnet_backbone(cfg, input_shape)
    blocks = {"basic": BasicBlock, "bottleneck": BottleneckBlock}
    check_choice("MODEL.RESNETS.BLOCK", keys.BLOCK, blocks)
    assert input_shape.channels is not None
    stem = BasicStem(
        in_channels=input_shape.channels, out_channels=keys.STEM_OUT_CHANNELS, norm=keys.NORM
    )
    stages = []
    in_channels, width = keys.STEM_OUT_CHANNELS, keys.RES2_OUT_CHANNELS
    for index, num_blocks in enumerate(keys.NUM_BLOCKS):
        kwargs = {"norm": keys.NORM}
        if keys.BLOCK == "bottleneck":
            kwargs["bottleneck_channels"] = width // 4
        stages.append(
            ResNet.make_stage(
                blocks[keys.BLOCK],
                num_blocks,
                stride_per_block=[1 if index == 0 else 2] + [1] * (num_blocks - 1),
                in_channels=in_channels,
                out_channels=width,
                **kwargs,
            )
        )
        in_channels, width = width, 2 * width
    return ResNet(stem, stages, out_features=keys.OUT_FEATURES).freeze(cfg.MODEL.BACKBONE.FREEZE_AT)


@BACKBONE_REGISTRY.register()
def build_resnet_bifpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> BiFPN:
    """Build the image backbone of the paper from MODEL.RESNETS and MODEL.BIFPN."""
    return BiFPN(
        bottom_up=build_resnet(cfg, input_shape),
        in_features=cfg.MODEL.BIFPN.IN_FEATURES,
        out_channels=cfg.MODEL.BIFPN.OUT_CHANNELS,
        repeats=cfg.MODEL.BIFPN.REPEATS,
        norm=cfg.MODEL.BIFPN.NORM,
    )
