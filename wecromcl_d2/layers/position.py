"""Sine encodings of positions."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

# Ratio of the longest wavelength to the shortest, in the limit of many channels.
TEMPERATURE = 10000.0


def cell_centers(height: int, width: int, device: torch.device | None = None) -> Tensor:
    """(H * W, 2) centers (x, y) of a map's cells, row by row; that of the first is (0.5, 0.5)."""
    y = torch.arange(height, device=device) + 0.5
    x = torch.arange(width, device=device) + 0.5
    yy, xx = torch.meshgrid(y, x, indexing="ij")
    return torch.stack([xx, yy], -1).flatten(0, 1)


def wave_exponents(channels: int, device: torch.device | None = None) -> Tensor:
    """Exponents (D,) of `TEMPERATURE`, two equal ones for each wave, from fast to slow."""
    return torch.arange(channels, device=device).div(2, rounding_mode="floor") * 2 / channels


def sine_encoding(angle: Tensor) -> Tensor:
    """Sines of the even channels and cosines of the odd ones; `angle` is (..., D) in radians."""
    return torch.stack([angle[..., 0::2].sin(), angle[..., 1::2].cos()], -1).flatten(-2)


def sine_position(
    size: tuple[int, int],
    extents: Sequence[tuple[int, int]],
    channels: int,
    device: torch.device | None = None,
) -> Tensor:
    """Position encoding of a map: the first half of the channels encodes y, the second x.

    Args:
        size: (height, width) of the map in cells.
        extents: for each of N images its (height, width) in cells, without padding.
        channels: D of the encoding, a multiple of four.
        device: of the result.

    Returns:
        (N, H * W, D). A full turn of the fastest wave spans the image without padding.
    """
    frequency = TEMPERATURE ** -wave_exponents(channels // 2, device)

    def encode(cells: int, extent: Tensor) -> Tensor:
        position = (torch.arange(cells, device=device) + 0.5) / (extent[:, None] + 1e-6)
        return sine_encoding(position[..., None] * (2 * math.pi) * frequency)

    height, width = size
    rows, columns = torch.tensor(extents, device=device).unbind(1)
    y = encode(height, rows)[:, :, None].expand(-1, -1, width, -1)
    x = encode(width, columns)[:, None].expand(-1, height, -1, -1)
    return torch.cat([y, x], -1).reshape(len(extents), height * width, channels)
