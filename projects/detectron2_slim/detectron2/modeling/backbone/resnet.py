"""Residual networks.

Modules are created and initialised in a fixed order, because that decides what a seed gives.
"""

import math
from typing import Any

from fvcore.nn.weight_init import c2_msra_fill
from torch import Tensor, nn
from torch.nn import functional as F

from detectron2.config import CfgNode
from detectron2.layers import CNNBlockBase, Conv2d, ShapeSpec, get_norm

from .backbone import BACKBONE_REGISTRY, Backbone

_STAGES = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
_STAGES[152] = (3, 8, 36, 3)


def _conv(channels: int, width: int, size: int, norm: Any, **kwargs: Any) -> Conv2d:
    padding = size // 2 * kwargs.get("dilation", 1)
    norm = get_norm(norm, width)
    return Conv2d(channels, width, size, padding=padding, bias=False, norm=norm, **kwargs)


class BasicStem(CNNBlockBase):
    """7x7 convolution and max pooling, stride 4; for ``norm`` see `get_norm`."""

    def __init__(self, in_channels: int = 3, out_channels: int = 64, norm: Any = "BN") -> None:
        super().__init__(in_channels, out_channels, 4)
        self.conv1 = _conv(in_channels, out_channels, 7, norm, stride=2)
        c2_msra_fill(self.conv1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to a quarter of the size."""
        return F.max_pool2d(F.relu_(self.conv1(x)), kernel_size=3, stride=2, padding=1)


class _ResidualBlock(CNNBlockBase):
    """Adds to its input what ``conv1``, ``conv2`` (and so on) make of it."""

    def _build(self, norm: Any, *convs: tuple[int, int, dict[str, Any]]) -> None:
        """Make the convolutions from their (output channels, kernel size, options)."""
        channels, wanted = self.in_channels, self.out_channels
        same = channels == wanted
        self.shortcut = None if same else _conv(channels, wanted, 1, norm, stride=self.stride)
        for i, (width, size, options) in enumerate(convs, start=1):
            self.add_module(f"conv{i}", _conv(channels, width, size, norm, **options))
            channels = width
        for _, layer in sorted(self.named_children()):  # the shortcut comes last
            c2_msra_fill(layer)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C', H / stride, W / stride)."""
        out = x
        for name, layer in self.named_children():
            if name != "shortcut":
                out = layer(out if name == "conv1" else F.relu_(out))
        out += x if self.shortcut is None else self.shortcut(x)
        return F.relu_(out)


class BasicBlock(_ResidualBlock):
    """Two 3x3 convolutions, the first one with the stride, for depths 18 and 34."""

    def __init__(self, in_channels: int, out_channels: int, *, stride: int = 1, norm: Any = "BN"):
        super().__init__(in_channels, out_channels, stride)
        self._build(norm, (out_channels, 3, {"stride": stride}), (out_channels, 3, {}))


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
        first, second = (stride, 1) if stride_in_1x1 else (1, stride)
        inner = {"stride": second, "groups": num_groups, "dilation": dilation}
        width = bottleneck_channels
        self._build(norm, (width, 1, {"stride": first}), (width, 3, inner), (out_channels, 1, {}))


class ResNet(Backbone):
    """A stem and up to four stages, ``res2`` to ``res5``.

    Args:
        stem: First block.
        stages: Lists of blocks; stages behind the last requested feature are not used.
        out_features: Names of the outputs; by default the last one.
        freeze_at: See `freeze`.
    """

    def __init__(
        self, stem: CNNBlockBase, stages: Any, *, out_features: Any = None, freeze_at: int = 0
    ) -> None:
        super().__init__()
        self.stem = stem
        names = [f"res{i}" for i in range(2, 2 + len(stages))]
        if out_features is not None:
            names = names[: max(names.index(n) + 1 if n in names else 0 for n in out_features)]
        self.stage_names = tuple(names)
        stride = stem.stride
        self._shapes = {"stem": ShapeSpec(stem.out_channels, stride=stride)}
        for name, blocks in zip(names, stages, strict=False):
            self.add_module(name, nn.Sequential(*blocks))
            stride *= math.prod(block.stride for block in blocks)
            self._shapes[name] = ShapeSpec(blocks[-1].out_channels, stride=stride)
        available = [name for name, _ in self.named_children()]
        self._out_features = available[-1:] if out_features is None else out_features
        for name in self._out_features:
            assert name in available, f"no feature '{name}'; available: {', '.join(available)}"
        self.freeze(freeze_at)

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Channels and strides of the requested features."""
        return {name: self._shapes[name] for name in self._out_features}

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Map (N, C, H, W) to the requested features."""
        assert x.dim() == 4, f"expected (N, C, H, W), got {tuple(x.shape)}"
        outputs = {"stem": (x := self.stem(x))}
        for name in self.stage_names:
            outputs[name] = x = self.get_submodule(name)(x)
        return {name: value for name, value in outputs.items() if name in self._out_features}

    def freeze(self, freeze_at: int = 0) -> "ResNet":
        """Freeze the stem (1) and the first ``freeze_at - 1`` stages, batch norms included."""
        stages: list[Any] = [[self.stem], *map(self.get_submodule, self.stage_names)]
        for stage in stages[: max(freeze_at, 0)]:
            for block in stage:
                block.freeze()
        return self

    @staticmethod
    def make_stage(block_class: Any, num_blocks: int, **kwargs: Any) -> list[CNNBlockBase]:
        """Make the blocks of one stage.

        Args:
            block_class: Class of the blocks.
            num_blocks: How many.
            kwargs: For the blocks; ``<name>_per_block`` is a list with one value per block.
                ``in_channels`` is the stage's, ``out_channels`` every block's.
        """
        blocks = []
        for i in range(num_blocks):
            arguments = {}
            for key, value in kwargs.items():
                name = key.removesuffix("_per_block")
                assert name == key or len(value) == num_blocks, f"{key} needs {num_blocks} values"
                arguments[name] = value if name == key else value[i]
            blocks.append(block_class(**arguments))
            kwargs["in_channels"] = kwargs["out_channels"]
        return blocks


@BACKBONE_REGISTRY.register()
def build_resnet_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> ResNet:
    """Build a ResNet from ``MODEL.RESNETS`` and ``MODEL.BACKBONE.FREEZE_AT``.

    Raises:
        ValueError: For deformable stages.
    """
    node = cfg.MODEL.RESNETS
    if any(node.DEFORM_ON_PER_STAGE):
        raise ValueError("MODEL.RESNETS.DEFORM_ON_PER_STAGE needs the full Detectron2")
    assert node.RES5_DILATION in (1, 2), f"RES5_DILATION is 1 or 2, not {node.RES5_DILATION}"
    basic = node.DEPTH < 50
    needed = "RES2_OUT_CHANNELS 64, RES5_DILATION 1 and NUM_GROUPS 1 in MODEL.RESNETS"
    plain = (node.RES2_OUT_CHANNELS, node.RES5_DILATION, node.NUM_GROUPS) == (64, 1, 1)
    assert plain or not basic, f"MODEL.RESNETS.DEPTH {node.DEPTH} needs {needed}"
    stem = BasicStem(input_shape.channels or 3, node.STEM_OUT_CHANNELS, node.NORM)
    stages, kwargs = [], {"norm": node.NORM, "in_channels": stem.out_channels}
    for i, num_blocks in enumerate(_STAGES[node.DEPTH]):
        dilation = node.RES5_DILATION if i == 3 else 1
        stride = 1 if i == 0 or dilation == 2 else 2
        kwargs["stride_per_block"] = [stride] + [1] * (num_blocks - 1)
        kwargs["out_channels"] = node.RES2_OUT_CHANNELS * 2**i
        if not basic:
            kwargs["bottleneck_channels"] = node.NUM_GROUPS * node.WIDTH_PER_GROUP * 2**i
            kwargs |= {"stride_in_1x1": node.STRIDE_IN_1X1, "num_groups": node.NUM_GROUPS}
            kwargs["dilation"] = dilation
        block_class = BasicBlock if basic else BottleneckBlock
        stages.append(ResNet.make_stage(block_class, num_blocks, **kwargs))
        kwargs["in_channels"] = kwargs["out_channels"]
    freeze_at = cfg.MODEL.BACKBONE.FREEZE_AT
    return ResNet(stem, stages, out_features=node.OUT_FEATURES, freeze_at=freeze_at)
