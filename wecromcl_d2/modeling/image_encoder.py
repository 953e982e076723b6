"""Image encoder: backbone levels become one fused map.

Letters: N images, C channels, L maps, H_l x W_l cells of map l, T cells of all maps together.
"""

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, configurable
from detectron2.layers import Conv2d, ShapeSpec, get_norm
from torch import Tensor, nn

from .deformable_attention import DeformableAttention


class FusionHead(nn.Module):
    """Brings some backbone levels to the stride of the finest one and concatenates them.

    Args:
        levels: names of backbone outputs, coarsest first.
        input_shape: channels and strides of the backbone outputs.
        channels: channels that each level contributes.
        norm: normalisation after each convolution.
    """

    def __init__(
        self, levels: Sequence[str], input_shape: Mapping[str, ShapeSpec], channels: int, norm: str
    ):
        super().__init__()
        strides = {level: input_shape[level].stride or 1 for level in levels}
        self.stride = min(strides.values())
        self.scales = {level: stride // self.stride for level, stride in strides.items()}
        self.convs = nn.ModuleDict(
            {level: _head_conv(input_shape[level].channels, channels, norm) for level in levels}
        )

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        """Return (N, levels * channels, H / stride, W / stride)."""
        maps = []
        for level, scale in self.scales.items():
            x = self.convs[level](features[level])
            if scale > 1:
                x = F.interpolate(x, scale_factor=scale, mode="bilinear", align_corners=True)
            maps.append(x)
        return torch.cat(maps, dim=1)


def _head_conv(in_channels: int | None, out_channels: int, norm: str) -> Conv2d:
    conv = Conv2d(
        in_channels,
        out_channels,
        kernel_size=3,
        padding=1,
        bias=not norm,
        norm=get_norm(norm, out_channels),
        activation=F.relu,
    )
    nn.init.kaiming_normal_(conv.weight)
    return conv


def sine_position(valid: Tensor, channels: int) -> Tensor:
    """Sine position encoding of a map, the first half of the channels for y, the second for x.

    Args:
        valid: (N, H, W), True for the cells of the true image, which fills the top left corner.
        channels: channels of the encoding, a multiple of four.

    Returns:
        (N, H * W, channels). A full turn of the slowest wave spans the true image.
    """
    half = channels // 2
    rows, columns = valid[:, :, 0].sum(1), valid[:, 0].sum(1)
    device = valid.device
    exponent = torch.arange(half, device=device).div(2, rounding_mode="floor") * 2 / half
    frequency = 10000.0**-exponent

    def wave(cells: int, extent: Tensor) -> Tensor:
        position = (torch.arange(cells, device=device) + 0.5) / (extent[:, None] + 1e-6)
        phase = position[..., None] * (2 * math.pi) * frequency
        return torch.stack([phase[..., 0::2].sin(), phase[..., 1::2].cos()], -1).flatten(-2)

    n, height, width = valid.shape
    y = wave(height, rows)[:, :, None].expand(-1, -1, width, -1)
    x = wave(width, columns)[:, None].expand(-1, height, -1, -1)
    return torch.cat([y, x], -1).reshape(n, height * width, channels)


class DeformableEncoderLayer(nn.Module):
    """Deformable self-attention over several maps, then a feed-forward block, both post-norm."""

    def __init__(
        self, *, channels: int, heads: int, maps: int, points: int, feedforward: int, dropout: float
    ):
        super().__init__()
        self.attention = DeformableAttention(
            channels=channels, heads=heads, maps=maps, points=points
        )
        self.norm1 = nn.LayerNorm(channels)
        self.linear1 = nn.Linear(channels, feedforward)
        self.linear2 = nn.Linear(feedforward, channels)
        self.norm2 = nn.LayerNorm(channels)
        self.dropout = nn.Dropout(dropout)
        for linear in (self.linear1, self.linear2):
            nn.init.xavier_uniform_(linear.weight)

    def forward(
        self, x: Tensor, position: Tensor, reference: Tensor, sizes: tuple, valid: Tensor | None
    ) -> Tensor:
        """Transform tokens (N, T, C); positions go into the queries only, never into the values."""
        attended = self.attention(x + position, reference, x, sizes, valid)
        x = self.norm1(x + self.dropout(attended))
        hidden = self.dropout(F.relu(self.linear1(x)))
        return self.norm2(x + self.dropout(self.linear2(hidden)))


class DeformableEncoder(nn.Module):
    """Deformable transformer over several maps; returns the last map.

    Args:
        channels: channels C of every map, a multiple of 32.
        maps: number of maps L.
        layers: number of layers.
        heads: attention heads.
        points: sampling points per head and map.
        feedforward: hidden width of the feed-forward blocks.
        dropout: dropout rate.

    Raises:
        ValueError: if `channels` is not a multiple of 32, the groups of the normalisation.
    """

    def __init__(
        self,
        *,
        channels: int,
        maps: int,
        layers: int,
        heads: int,
        points: int,
        feedforward: int,
        dropout: float,
    ):
        super().__init__()
        if channels % 32:
            raise ValueError(
                f"the deformable encoder needs maps whose channels are a multiple of 32, not "
                f"{channels}; change MODEL.IMAGE_ENCODER.HEAD_CHANNELS"
            )
        self.input_projs = nn.ModuleList(_input_projection(channels) for _ in range(maps))
        self.level_embed = nn.Parameter(torch.randn(maps, channels))
        self.layers = nn.ModuleList(
            DeformableEncoderLayer(
                channels=channels,
                heads=heads,
                maps=maps,
                points=points,
                feedforward=feedforward,
                dropout=dropout,
            )
            for _ in range(layers)
        )

    def forward(self, maps: list[Tensor], valids: list[Tensor]) -> Tensor:
        """Mix the maps.

        Args:
            maps: L tensors (N, C, H_l, W_l).
            valids: L masks (N, H_l, W_l), False in padding.

        Returns:
            (N, C, H_L, W_L), the last map.
        """
        sizes = tuple((m.shape[2], m.shape[3]) for m in maps)
        x = torch.cat(
            [
                proj(m).flatten(2).transpose(1, 2)
                for proj, m in zip(self.input_projs, maps, strict=True)
            ],
            dim=1,
        )
        position = torch.cat(
            [
                sine_position(valid, x.shape[-1]) + embed
                for valid, embed in zip(valids, self.level_embed, strict=True)
            ],
            dim=1,
        )
        reference = _cell_centres(sizes, x.device)[None, :, None].expand(len(x), -1, len(sizes), -1)
        valid = torch.cat([v.flatten(1) for v in valids], dim=1)
        for layer in self.layers:
            x = layer(x, position, reference, sizes, valid)
        height, width = sizes[-1]
        return x[:, -height * width :].transpose(1, 2).unflatten(2, (height, width))


def _input_projection(channels: int) -> nn.Sequential:
    conv = nn.Conv2d(channels, channels, 1)
    nn.init.xavier_uniform_(conv.weight)
    nn.init.zeros_(conv.bias)
    return nn.Sequential(conv, nn.GroupNorm(32, channels))


def _cell_centres(sizes: tuple, device: torch.device) -> Tensor:
    """(T, 2) centres (x, y) of all cells, row-major, each map being the unit square."""
    centres = []
    for height, width in sizes:
        y = (torch.arange(height, device=device) + 0.5) / height
        x = (torch.arange(width, device=device) + 0.5) / width
        yy, xx = torch.meshgrid(y, x, indexing="ij")
        centres.append(torch.stack([xx, yy], -1).flatten(0, 1))
    return torch.cat(centres)


class ImageEncoder(nn.Module):
    """Fuses backbone levels into one map, optionally mixed by a deformable encoder.

    Args:
        input_shape: channels and strides of the backbone outputs.
        maps: for each map the backbone levels it is made of, coarsest first; the last map is
            returned.
        head_channels: channels that each level contributes to a map.
        norm: normalisation of the heads.
        layers: deformable layers; with none, only the last map is computed.
        heads: attention heads.
        points: sampling points per head and map.
        feedforward: hidden width of the feed-forward blocks.
        dropout: dropout rate of the deformable layers.

    Raises:
        ValueError: if a level is unknown or maps differ in channels.
    """

    @configurable
    def __init__(
        self,
        *,
        input_shape: Mapping[str, ShapeSpec],
        maps: Sequence[Sequence[str]],
        head_channels: int,
        norm: str,
        layers: int,
        heads: int,
        points: int,
        feedforward: int,
        dropout: float,
    ):
        super().__init__()
        _check_maps(maps, input_shape)
        used = maps if layers else maps[-1:]
        self.heads = nn.ModuleList(
            FusionHead(levels, input_shape, head_channels, norm) for levels in used
        )
        self.out_channels = head_channels * len(maps[-1])
        self.stride = self.heads[-1].stride
        self.encoder = None
        if layers:
            self.encoder = DeformableEncoder(
                channels=self.out_channels,
                maps=len(maps),
                layers=layers,
                heads=heads,
                points=points,
                feedforward=feedforward,
                dropout=dropout,
            )

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: Mapping[str, ShapeSpec]) -> dict:
        """Read MODEL.IMAGE_ENCODER."""
        keys = cfg.MODEL.IMAGE_ENCODER
        return {
            "input_shape": input_shape,
            "maps": keys.MAPS,
            "head_channels": keys.HEAD_CHANNELS,
            "norm": keys.NORM,
            "layers": keys.LAYERS,
            "heads": keys.HEADS,
            "points": keys.POINTS,
            "feedforward": keys.FEEDFORWARD,
            "dropout": keys.DROPOUT,
        }

    def forward(self, features: Mapping[str, Tensor], valid: Tensor) -> tuple[Tensor, Tensor]:
        """Fuse backbone features.

        Args:
            features: backbone outputs.
            valid: (N, H, W) at input resolution, False in padding.

        Returns:
            (N, C, H / stride, W / stride) map and its (N, H / stride, W / stride) mask; a cell is
            valid if its first pixel is.
        """
        maps = [head(features) for head in self.heads]
        valids = [valid[:, :: head.stride, :: head.stride] for head in self.heads]
        if self.encoder is None:
            return maps[-1], valids[-1]
        return self.encoder(maps, valids), valids[-1]


def _check_maps(maps: Sequence[Sequence[str]], input_shape: Mapping[str, ShapeSpec]) -> None:
    unknown = sorted({level for levels in maps for level in levels} - set(input_shape))
    if unknown or not maps:
        raise ValueError(
            f"MODEL.IMAGE_ENCODER.MAPS names levels {unknown} that the backbone does not have; "
            f"it has {sorted(input_shape)}"
        )
    if len({len(levels) for levels in maps}) > 1:
        raise ValueError(
            f"MODEL.IMAGE_ENCODER.MAPS {list(maps)} must have the same number of levels in each map"
        )
