"""What networks are built from and described by."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from .batch_norm import FrozenBatchNorm2d


@dataclass
class ShapeSpec:
    """The known sizes of a feature map; None is unknown."""

    channels: int | None = None
    height: int | None = None
    width: int | None = None
    stride: int | None = None


class Conv2d(nn.Conv2d):
    """``torch.nn.Conv2d``, then the module ``norm``, then the function ``activation``."""

    def __init__(self, *args: Any, norm: Any = None, activation: Any = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.norm = norm
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C', H', W')."""
        x = super().forward(x)
        x = x if self.norm is None else self.norm(x)
        return x if self.activation is None else self.activation(x)


class CNNBlockBase(nn.Module):
    """A block on (N, C, H, W) with known channels and stride."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.stride = stride

    def freeze(self) -> "CNNBlockBase":
        """Stop the training of all parameters and make the batch norms frozen ones."""
        self.requires_grad_(False)
        FrozenBatchNorm2d.convert_frozen_batchnorm(self)
        return self
