"""Image encoders: global self-attention (SPTS) or window attention (SPTSv2).

Letters: I images, D channels, h x w cells, S = h * w.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...layers.position import TEMPERATURE, sine_encoding, wave_exponents
from .transformer import Attention, FeedForward, attend, initialise


def sine_position(valid: Tensor, channels: int) -> Tensor:
    """Sine position encoding of the cells, scaled to 2 pi over each image without padding.

    Args:
        valid: (I, h, w) bool, False for padding right and bottom.
        channels: D; the first half encodes y, the second x.

    Returns:
        (I, h, w, D) float32.
    """
    wavelength = TEMPERATURE ** wave_exponents(channels // 2, valid.device)
    parts = []
    for axis in (1, 2):
        count = valid.cumsum(axis, dtype=torch.float32)
        last = count.narrow(axis, count.shape[axis] - 1, 1)
        angle = count / (last + 1e-6) * (2 * math.pi)
        # Divided as SPTS does; a product with frequencies rounds otherwise.
        parts.append(sine_encoding(angle[..., None] / wavelength))
    return torch.cat(parts, dim=-1)


class GlobalLayer(nn.Module):
    """Pre-norm layer of self-attention over all valid cells."""

    def __init__(self, width: int, heads: int, feedforward: int, dropout: float):
        super().__init__()
        self.attention = Attention(width, heads, dropout)
        self.feedforward = FeedForward(width, feedforward, dropout)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, position: Tensor, seen: Tensor | None) -> Tensor:
        """Transform cells (I, S, D) at positions (I, S, D); `seen` is (I, 1, 1, S) or None."""
        own = self.attention
        y = self.norm1(x)
        q, k = (own.split(project(y + position)) for project in (own.q, own.k))
        x = x + self.dropout(own.mix(q, k, own.split(own.v(y)), seen))
        return x + self.dropout(self.feedforward(self.norm2(x)))


class GlobalEncoder(nn.Module):
    """Encoder of SPTS.

    Args:
        width: channels D.
        heads: attention heads; must divide `width`.
        layers: number of layers; 0 returns the cells unchanged.
        feedforward: hidden channels.
        dropout: rate in training.
    """

    def __init__(self, width: int, heads: int, layers: int, feedforward: int, dropout: float):
        super().__init__()
        self.layers = nn.ModuleList(
            GlobalLayer(width, heads, feedforward, dropout) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width) if layers else nn.Identity()
        initialise(self)

    def forward(self, x: Tensor, position: Tensor, valid: Tensor) -> Tensor:
        """Encode cells.

        Args:
            x: (I, h, w, D).
            position: (I, h, w, D).
            valid: (I, h, w) bool, with a True in each image.

        Returns:
            (I, h, w, D).
        """
        cells, place = x.flatten(1, 2), position.flatten(1, 2)
        seen = valid.flatten(1)[:, None, None]
        for layer in self.layers:
            cells = layer(cells, place, seen)
        return self.norm(cells).view_as(x)


class WindowLayer(nn.Module):
    """Pre-norm layer of attention within square windows, with a relative position bias.

    Padding is masked in all windows; the published code masks it in shifted windows only.

    Args:
        width: channels D.
        heads: attention heads; must divide `width`.
        window: side of a window in cells.
        shift: cells by which the windows are shifted, less than `window`.
        feedforward: hidden channels.
        dropout: rate in training.
        drop_path: rate at which an image skips the layer in training.
    """

    relative: Tensor

    def __init__(
        self,
        width: int,
        heads: int,
        window: int,
        shift: int,
        feedforward: int,
        dropout: float,
        drop_path: float,
    ):
        super().__init__()
        self.attention = Attention(width, heads, 0.0)
        self.feedforward = FeedForward(width, feedforward, dropout, F.gelu)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)
        self.window, self.shift, self.drop_path = window, shift, drop_path
        self.bias = nn.Parameter(torch.empty((2 * window - 1) ** 2, heads))
        cells = torch.cartesian_prod(torch.arange(window), torch.arange(window))
        offset = cells[:, None] - cells[None] + window - 1
        index = offset[..., 0] * (2 * window - 1) + offset[..., 1]
        self.register_buffer("relative", index, persistent=False)

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """Transform cells (I, h, w, D); `valid` (I, h, w) is False for padding."""
        height, width = x.shape[1:3]
        right, bottom = -width % self.window, -height % self.window
        y = F.pad(self.norm1(x), (0, 0, 0, right, 0, bottom))
        seen = F.pad(valid, (0, right, 0, bottom))
        mixed = self._attend(self._partition(y), self._visible(seen))
        y = self._unpartition(mixed, y.shape)[:, :height, :width]
        x = x + self._skip(self.dropout(y))
        return x + self._skip(self.dropout(self.feedforward(self.norm2(x))))

    def _attend(self, windows: Tensor, visible: Tensor) -> Tensor:
        own = self.attention
        q, k, v = (own.split(project(windows)).transpose(1, 2) for project in (own.q, own.k, own.v))
        bias = self.bias[self.relative].permute(2, 0, 1)
        mask = bias.masked_fill(~visible[:, None], -torch.inf)
        return own.out(attend(q, k, v, mask).transpose(1, 2).flatten(2))

    def _partition(self, x: Tensor) -> Tensor:
        """(I, h, w, D) -> (windows, cells of a window, D), shifted."""
        side, x = self.window, x.roll((-self.shift, -self.shift), (1, 2))
        x = x.unflatten(2, (-1, side)).unflatten(1, (-1, side))
        return x.transpose(2, 3).flatten(3, 4).flatten(0, 2)

    def _unpartition(self, windows: Tensor, shape: torch.Size) -> Tensor:
        images, height, width, channels = shape
        side = self.window
        x = windows.view(images, height // side, width // side, side, side, channels)
        x = x.transpose(2, 3).reshape(shape)
        return x.roll((self.shift, self.shift), (1, 2))

    def _visible(self, seen: Tensor) -> Tensor:
        """Mask (windows, cells, cells): valid cells not separated before the shift, and itself."""
        height, width = seen.shape[1:]
        wrapped_y = torch.arange(height, device=seen.device) < self.shift
        wrapped_x = torch.arange(width, device=seen.device) < self.shift
        side = (wrapped_y[:, None] * 2 + wrapped_x).expand(seen.shape)
        side, seen = self._partition(torch.stack([side, seen.long()], dim=-1)).unbind(-1)
        visible = (side[:, :, None] == side[:, None]) & seen.bool()[:, None]
        return visible | torch.eye(visible.shape[-1], dtype=torch.bool, device=seen.device)

    def _skip(self, x: Tensor) -> Tensor:
        if not self.training or self.drop_path == 0:
            return x
        kept = torch.rand(len(x), 1, 1, 1, device=x.device) >= self.drop_path
        return x * kept / (1 - self.drop_path)


class WindowEncoder(nn.Module):
    """Encoder of SPTSv2: window attention, shifted by half a window in every second layer.

    Args:
        width: channels D.
        heads: attention heads; must divide `width`.
        layers: number of layers.
        feedforward: hidden channels.
        dropout: rate in training.
        drop_path: rate at which an image skips the last layer in training; the rates of the earlier
            layers rise linearly from 0.
        window: side of a window in cells; 5 as published.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        layers: int,
        feedforward: int,
        dropout: float,
        drop_path: float,
        window: int = 5,
    ):
        super().__init__()
        rates = torch.linspace(0, drop_path, layers).tolist()
        self.layers = nn.ModuleList(
            WindowLayer(width, heads, window, i % 2 * (window // 2), feedforward, dropout, rate)
            for i, rate in enumerate(rates)
        )
        initialise(self)

    def forward(self, x: Tensor, position: Tensor, valid: Tensor) -> Tensor:
        """Encode cells; see `GlobalEncoder.forward`."""
        x = x + position
        for layer in self.layers:
            x = layer(x, valid)
        return x
