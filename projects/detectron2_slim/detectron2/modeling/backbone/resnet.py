"""Residual networks.

Modules are created and initialised in a fixed order, because that decides what a seed gives.
"""

from collections.abc import Sequence
from typing import Any

import torch
from fvcore.nn.weight_init import c2_msra_fill
from torch import nn
from torch.nn import functional as F

from detectron2.config import CfgNode
from detectron2.layers import CNNBlockBase, Conv2d, ShapeSpec, get_norm

from .backbone import BACKBONE_REGISTRY, Backbone

ResNetBlockBase = CNNBlockBase

_BLOCKS_PER_STAGE = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}


def _conv(
    in_channels: int, out_channels: int, size: int, norm: Any, dilation: int = 1, **kwargs: Any
) -> Conv2d:
    return Conv2d(
        in_channels,
        out_channels,
        size,
        padding=size // 2 * dilation,
        dilation=dilation,
        bias=False,
        norm=get_norm(norm, out_channels),
        **kwargs,
    )


class BasicStem(CNNBlockBase):
    """7x7 convolution and max pooling, stride 4.

    Args:
        in_channels: Channels of the image.
        out_channels: Channels of the output.
        norm: See `get_norm`.
    """

    def __init__(self, in_channels: int = 3, out_channels: int = 64, norm: Any = "BN") -> None:
        super().__init__(in_channels, out_channels, 4)
        self.conv1 = _conv(in_channels, out_channels, 7, norm, stride=2)
        c2_msra_fill(self.conv1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, C, H, W) to a quarter of the size."""
        return F.max_pool2d(F.relu_(self.conv1(x)), kernel_size=3, stride=2, padding=1)


class _ResidualBlock(CNNBlockBase):
    """Adds what ``conv1``, ``conv2`` (and so on) make of the input to the input."""

    def _make_shortcut(self, norm: Any) -> None:
        needed = self.in_channels != self.out_channels
        arguments = (self.in_channels, self.out_channels, 1, norm)
        self.shortcut = _conv(*arguments, stride=self.stride) if needed else None

    def _convs(self) -> list[nn.Module]:
        return [child for name, child in self.named_children() if name.startswith("conv")]

    def _fill(self) -> None:
        for layer in (*self._convs(), self.shortcut):
            if layer is not None:
                c2_msra_fill(layer)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, C, H, W) to (N, C', H / stride, W / stride)."""
        *convs, last = self._convs()
        out = x
        for conv in convs:
            out = F.relu_(conv(out))
        out = last(out)
        out += x if self.shortcut is None else self.shortcut(x)
        return F.relu_(out)


class BasicBlock(_ResidualBlock):
    """Two 3x3 convolutions, for depths 18 and 34.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        stride: Of the first convolution.
        norm: See `get_norm`.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, stride: int = 1, norm: Any = "BN"
    ) -> None:
        super().__init__(in_channels, out_channels, stride)
        self._make_shortcut(norm)
        self.conv1 = _conv(in_channels, out_channels, 3, norm, stride=stride)
        self.conv2 = _conv(out_channels, out_channels, 3, norm)
        self._fill()


class BottleneckBlock(_ResidualBlock):
    """1x1, 3x3 and 1x1 convolutions, for depths from 50.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        bottleneck_channels: Channels in between.
        stride: Of the block.
        num_groups: Groups of the 3x3 convolution.
        norm: See `get_norm`.
        stride_in_1x1: Whether the first 1x1 convolution has the stride, or the 3x3 one.
        dilation: Of the 3x3 convolution.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        bottleneck_channels: int,
        stride: int = 1,
        num_groups: int = 1,
        norm: Any = "BN",
        stride_in_1x1: bool = False,
        dilation: int = 1,
    ) -> None:
        super().__init__(in_channels, out_channels, stride)
        self._make_shortcut(norm)
        stride_1x1, stride_3x3 = (stride, 1) if stride_in_1x1 else (1, stride)
        width = bottleneck_channels
        self.conv1 = _conv(in_channels, width, 1, norm, stride=stride_1x1)
        self.conv2 = _conv(
            width, width, 3, norm, dilation=dilation, stride=stride_3x3, groups=num_groups
        )
        self.conv3 = _conv(width, out_channels, 1, norm)
        self._fill()


class ResNet(Backbone):
    """A stem and up to four stages, ``res2`` to ``res5``.

    Args:
        stem: First block.
        stages: Blocks of each stage; those behind the last requested feature are not used.
        num_classes: Ends the network with a classifier ``linear`` if given.
        out_features: Names of the outputs; by default the last one.
        freeze_at: See `freeze`.
    """

    def __init__(
        self,
        stem: CNNBlockBase,
        stages: Sequence[Sequence[CNNBlockBase]],
        num_classes: int | None = None,
        out_features: list[str] | None = None,
        freeze_at: int = 0,
    ) -> None:
        super().__init__()
        self.stem = stem
        self.num_classes = num_classes
        names = [f"res{i}" for i in range(2, 2 + len(stages))]
        if out_features is not None:
            used = [names.index(name) + 1 for name in out_features if name in names]
            names = names[: max(used, default=0)]
        self.stage_names = tuple(names)
        channels, stride = stem.out_channels, stem.stride
        self._out_feature_channels = {"stem": channels}
        self._out_feature_strides = {"stem": stride}
        for name, blocks in zip(names, stages, strict=False):
            self.add_module(name, nn.Sequential(*blocks))
            for block in blocks:
                channels, stride = block.out_channels, stride * block.stride
            self._out_feature_channels[name] = channels
            self._out_feature_strides[name] = stride
        if num_classes is not None:
            self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
            self.linear = nn.Linear(channels, num_classes)
            nn.init.normal_(self.linear.weight, std=0.01)
        available = [name for name, _ in self.named_children()]
        self._out_features = available[-1:] if out_features is None else out_features
        for name in self._out_features:
            assert name in available, f"no feature '{name}'; available: {', '.join(available)}"
        self.freeze(freeze_at)

    @property
    def stages(self) -> list[nn.Module]:
        """The stages in use."""
        return [self.get_submodule(name) for name in self.stage_names]

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Map (N, C, H, W) to the requested features."""
        assert x.dim() == 4, f"expected (N, C, H, W), got {tuple(x.shape)}"
        outputs = {"stem": (x := self.stem(x))}
        for name in self.stage_names:
            outputs[name] = x = self.get_submodule(name)(x)
        if self.num_classes is not None:
            outputs["linear"] = self.linear(self.avgpool(x).flatten(1))
        return {name: value for name, value in outputs.items() if name in self._out_features}

    def freeze(self, freeze_at: int = 0) -> "ResNet":
        """Freeze the stem (1) and the first ``freeze_at - 1`` stages, batch norms included."""
        if freeze_at >= 1:
            self.stem.freeze()
        for stage in self.stages[: max(freeze_at - 1, 0)]:
            for block in stage.children():
                assert isinstance(block, CNNBlockBase)
                block.freeze()
        return self

    @staticmethod
    def make_stage(
        block_class: type[CNNBlockBase],
        num_blocks: int,
        *,
        in_channels: int,
        out_channels: int,
        **kwargs: Any,
    ) -> list[CNNBlockBase]:
        """Make the blocks of one stage.

        Args:
            block_class: Class of the blocks.
            num_blocks: How many.
            in_channels: Channels of the stage's input.
            out_channels: Channels of every block's output.
            kwargs: For the blocks; ``<name>_per_block`` is a list with one value per block.
        """
        blocks = []
        for i in range(num_blocks):
            arguments = {}
            for key, value in kwargs.items():
                name = key.removesuffix("_per_block")
                assert name == key or len(value) == num_blocks, f"{key} needs {num_blocks} values"
                arguments[name] = value if name == key else value[i]
            blocks.append(
                block_class(in_channels=in_channels, out_channels=out_channels, **arguments)
            )
            in_channels = out_channels
        return blocks

    @staticmethod
    def make_default_stages(
        depth: int, block_class: type[CNNBlockBase] | None = None, **kwargs: Any
    ) -> list[list[CNNBlockBase]]:
        """Make the four stages of a usual depth: 18, 34, 50, 101 or 152.

        Args:
            depth: The depth.
            block_class: By default the one usual for the depth.
            kwargs: For `make_stage`, other than channels and strides.
        """
        basic = depth < 50
        block_class = block_class or (BasicBlock if basic else BottleneckBlock)
        in_channels, out_channels = 64, 64 if basic else 256
        stages = []
        for i, num_blocks in enumerate(_BLOCKS_PER_STAGE[depth]):
            own: dict[str, Any] = {"stride_per_block": [min(i + 1, 2)] + [1] * (num_blocks - 1)}
            if not basic:
                own["bottleneck_channels"] = out_channels // 4
            stages.append(
                ResNet.make_stage(
                    block_class,
                    num_blocks,
                    in_channels=in_channels,
                    out_channels=out_channels,
                    **{**kwargs, **own},
                )
            )
            in_channels, out_channels = out_channels, out_channels * 2
        return stages


make_stage = ResNet.make_stage


@BACKBONE_REGISTRY.register()
def build_resnet_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> ResNet:
    """Build a ResNet from ``MODEL.RESNETS`` and ``MODEL.BACKBONE.FREEZE_AT``.

    Raises:
        ValueError: For deformable stages.
    """
    node = cfg.MODEL.RESNETS
    if any(node.DEFORM_ON_PER_STAGE):
        raise ValueError("MODEL.RESNETS.DEFORM_ON_PER_STAGE needs the full Detectron2")
    basic = node.DEPTH < 50
    assert node.RES5_DILATION in (1, 2), f"RES5_DILATION is 1 or 2, not {node.RES5_DILATION}"
    plain = (node.RES2_OUT_CHANNELS, node.RES5_DILATION, node.NUM_GROUPS) == (64, 1, 1)
    assert plain or not basic, (
        f"depth {node.DEPTH} needs MODEL.RESNETS.RES2_OUT_CHANNELS 64, RES5_DILATION 1, "
        "NUM_GROUPS 1"
    )
    assert input_shape.channels is not None, "the input's channels are unknown"
    stem = BasicStem(input_shape.channels, node.STEM_OUT_CHANNELS, node.NORM)
    in_channels, out_channels = node.STEM_OUT_CHANNELS, node.RES2_OUT_CHANNELS
    width = node.NUM_GROUPS * node.WIDTH_PER_GROUP
    stages = []
    for i, num_blocks in enumerate(_BLOCKS_PER_STAGE[node.DEPTH]):
        dilation = node.RES5_DILATION if i == 3 else 1
        stride = 1 if i == 0 or dilation == 2 else 2
        arguments = {"norm": node.NORM, "stride_per_block": [stride] + [1] * (num_blocks - 1)}
        if not basic:
            arguments |= {
                "bottleneck_channels": width,
                "stride_in_1x1": node.STRIDE_IN_1X1,
                "dilation": dilation,
                "num_groups": node.NUM_GROUPS,
            }
        stages.append(
            ResNet.make_stage(
                BasicBlock if basic else BottleneckBlock,
                num_blocks,
                in_channels=in_channels,
                out_channels=out_channels,
                **arguments,
            )
        )
        in_channels, out_channels, width = out_channels, out_channels * 2, width * 2
    return ResNet(
        stem, stages, out_features=node.OUT_FEATURES, freeze_at=cfg.MODEL.BACKBONE.FREEZE_AT
    )
