"""Building blocks of networks."""

# ruff: noqa: F401
from .batch_norm import FrozenBatchNorm2d, get_norm
from .blocks import CNNBlockBase, Conv2d, ShapeSpec
