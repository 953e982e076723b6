"""What networks say about their parts."""

from dataclasses import dataclass

from torch import nn

from .batch_norm import FrozenBatchNorm2d


@dataclass
class ShapeSpec:
    """The known sizes of a feature map; None is unknown."""

    channels: int | None = None
    height: int | None = None
    width: int | None = None
    stride: int | None = None


class CNNBlockBase(nn.Module):
    """A block on (N, C, H, W) with known channels and stride."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.stride = stride

    def freeze(self) -> "CNNBlockBase":
        """Stop the training of all parameters and make the batch norms frozen ones."""
        for parameter in self.parameters():
            parameter.requires_grad = False
        FrozenBatchNorm2d.convert_frozen_batchnorm(self)
        return self
