"""Sine encodings of positions."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

# Ratio of the longest wavelength to the shortest, in the limit of many channels.
TEMPERATURE = 10000.0


def sine_encoding(position: Tensor, channels: int) -> Tensor:
    """Sines and cosines of a coordinate, alternating, from fast waves to slow ones.

    Args:
        position: (...) coordinate in units of the fastest wave's period; 1 is one full turn.
        channels: D of the encoding, even.

    Returns:
        (..., D).
    """
    exponent = torch.arange(channels, device=position.device).div(2, rounding_mode="floor")
    frequency = TEMPERATURE ** -(exponent * 2 / channels)
    phase = position[..., None] * (2 * math.pi) * frequency
    return torch.stack([phase[..., 0::2].sin(), phase[..., 1::2].cos()], -1).flatten(-2)


def sine_position(
    size: tuple[int, int],
    extents: Sequence[tuple[int, int]],
    channels: int,
    device: torch.device | None = None,
) -> Tensor:
    """Position encoding of a map: the first half of the channels encodes y, the second x.

    Args:
        size: (height, width) of the map in cells.
        extents: N times (height, width) of the true image in cells, in the top left corner.
        channels: D of the encoding, a multiple of four.
        device: of the result.

    Returns:
        (N, H * W, D). A full turn of the fastest wave spans the true image.
    """

    def encode(cells: int, extent: Tensor) -> Tensor:
        position = (torch.arange(cells, device=device) + 0.5) / (extent[:, None] + 1e-6)
        return sine_encoding(position, channels // 2)

    height, width = size
    rows, columns = torch.tensor(extents, device=device).unbind(1)
    y = encode(height, rows)[:, :, None].expand(-1, -1, width, -1)
    x = encode(width, columns)[:, None].expand(-1, height, -1, -1)
    return torch.cat([y, x], -1).reshape(len(extents), height * width, channels)
