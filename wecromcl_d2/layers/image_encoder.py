"""Image encoder: fuses the levels of the backbone into one map.

Letters: N images, C channels, L maps, H_l x W_l cells of map l, T cells of all maps together.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .backbone import conv_norm_relu
from .deformable_attention import DeformableAttention
from .position import cell_centers, sine_position

# Grids of batches with at most this many cells are cached; larger ones are computed each time.
MOST_TOKENS_KEPT = 2**16


class FusionHead(nn.Module):
    """Convolves backbone levels, upsamples them to the finest stride and concatenates them.

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
            {level: conv_norm_relu(input_shape[level].channels, channels, norm) for level in levels}
        )

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        """(N, levels * channels, H / stride, W / stride)."""
        maps = []
        for level, scale in self.scales.items():
            x = self.convs[level](features[level])
            if scale > 1:
                x = F.interpolate(x, scale_factor=scale, mode="bilinear", align_corners=True)
            maps.append(x)
        return torch.cat(maps, dim=1)


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
        """The last Q of the tokens (N, T, C), transformed; Q is the length of `reference`.

        The position encoding (N or 1, Q, C) is added to the queries only, not to the values.
        """
        own = x[:, -len(reference) :]
        attended = self.attention(own + position, reference, x, sizes, valid)
        x = self.norm1(own + self.dropout(attended))
        hidden = self.dropout(F.relu(self.linear1(x)))
        return self.norm2(x + self.dropout(self.linear2(hidden)))


class DeformableEncoder(nn.Module):
    """Deformable transformer over the cells of several maps, of which it returns the last.

    Args:
        channels: channels C of every map, a multiple of 32.
        maps: number of maps L.
        layers: number of layers.
        heads: attention heads.
        points: sampling points per head and map.
        feedforward: hidden width of the feed-forward blocks.
        dropout: dropout rate.
        checkpoint: keep only the layers' inputs for the backward pass and compute the rest again.

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
        checkpoint: bool = False,
    ):
        super().__init__()
        if channels % 32:
            raise ValueError(
                f"the deformable encoder needs maps whose channels are a multiple of 32, not "
                f"{channels}; change MODEL.IMAGE_ENCODER.HEAD_CHANNELS"
            )
        self.checkpoint = checkpoint
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

    def forward(
        self, maps: list[Tensor], extents: list[list[tuple[int, int]]], valid: Tensor | None
    ) -> Tensor:
        """The last map after all layers.

        Args:
            maps: L tensors (N, C, H_l, W_l).
            extents: for each map the (height, width) of the N images in cells, without padding.
            valid: (N, T), False in padding; None if there is none.

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
        cells = [height * width for height, width in sizes]
        waves, reference = _grids(sizes, extents, x.shape[-1], x.device)
        position = torch.cat(
            [w + e for w, e in zip(waves.split(cells, dim=1), self.level_embed, strict=True)], dim=1
        )
        for layer in self.layers:
            if layer is self.layers[-1]:
                # The last layer only updates the tokens of the last map: no others are returned.
                position, reference = position[:, -cells[-1] :], reference[-cells[-1] :]
            if self.checkpoint and torch.is_grad_enabled():
                x = checkpoint(layer, x, position, reference, sizes, valid, use_reentrant=False)
            else:
                x = layer(x, position, reference, sizes, valid)
        return x.transpose(1, 2).unflatten(2, sizes[-1])


def _input_projection(channels: int) -> nn.Sequential:
    conv = nn.Conv2d(channels, channels, 1)
    assert conv.bias is not None
    nn.init.xavier_uniform_(conv.weight)
    nn.init.zeros_(conv.bias)
    return nn.Sequential(conv, nn.GroupNorm(32, channels))


def _grids(
    sizes: tuple, extents: list[list[tuple[int, int]]], channels: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Position encoding (N or 1, T, C) and reference points (T, L, 2) of all cells.

    Args:
        sizes: (height, width) of each map.
        extents: for each map those of the N images; if all N are equal, the encoding is (1, T, C).
        channels: C.
        device: of the results.
    """
    alike = all(len(set(own)) == 1 for own in extents)
    key = tuple(tuple(own[:1] if alike else own) for own in extents)
    tokens = len(key[0]) * sum(height * width for height, width in sizes)
    compute = _kept_grids if tokens <= MOST_TOKENS_KEPT else _kept_grids.__wrapped__
    return compute(sizes, key, channels, device)


@lru_cache(maxsize=4)
def _kept_grids(
    sizes: tuple, extents: tuple, channels: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    # Cached tensors may be reused in training, so they must not be inference tensors.
    with torch.inference_mode(False), torch.no_grad():
        waves = [
            sine_position(size, own, channels, device)
            for size, own in zip(sizes, extents, strict=True)
        ]
        centers = []
        for height, width in sizes:
            own = cell_centers(height, width, device)
            own[:, 0] /= width
            own[:, 1] /= height
            centers.append(own)
        scale = torch.tensor([(width, height) for height, width in sizes], device=device)
        return torch.cat(waves, dim=1), torch.cat(centers)[:, None] * scale


class ImageEncoder(nn.Module):
    """Fuses backbone levels into maps, and the maps into one by a deformable encoder.

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
        checkpoint: keep only the deformable layers' inputs for the backward pass.

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
        checkpoint: bool = False,
    ):
        super().__init__()
        _check_maps(maps, input_shape)
        used = maps if layers else maps[-1:]
        fusion = [FusionHead(levels, input_shape, head_channels, norm) for levels in used]
        self.heads = nn.ModuleList(fusion)
        self.out_channels = head_channels * len(maps[-1])
        self.strides = [head.stride for head in fusion]
        self.stride = self.strides[-1]
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
                checkpoint=checkpoint,
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
            "checkpoint": keys.CHECKPOINT,
        }

    def forward(
        self, features: Mapping[str, Tensor], image_sizes: Sequence[tuple[int, int]] | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Fuse backbone features.

        Args:
            features: backbone outputs.
            image_sizes: (height, width) of the N images in pixels, without the padding to the right
                and below. None: there is no padding.

        Returns:
            (N, C, H / stride, W / stride) map and its (N, H / stride, W / stride) mask, False in
            padding, or None if there is none; a cell is padding if its first pixel is.
        """
        maps = [head(features) for head in self.heads]
        if image_sizes is None:
            extents = [[(m.shape[2], m.shape[3])] * len(m) for m in maps]
        else:
            extents = [
                [(-(-h // stride), -(-w // stride)) for h, w in image_sizes]
                for stride in self.strides
            ]
        valids = _valid_cells(maps, extents)
        mask = None if valids is None else valids[-1]
        if self.encoder is None:
            return maps[-1], mask
        flat = None if valids is None else torch.cat([v.flatten(1) for v in valids], dim=1)
        return self.encoder(maps, extents, flat), mask


def _valid_cells(maps: list[Tensor], extents: list[list[tuple[int, int]]]) -> list[Tensor] | None:
    """For each map (N, H, W), False in padding; None if there is no padding in any map."""
    if all(set(own) == {tuple(m.shape[-2:])} for m, own in zip(maps, extents, strict=True)):
        return None
    valids = []
    for m, own in zip(maps, extents, strict=True):
        valid = torch.zeros(len(m), *m.shape[-2:], dtype=torch.bool, device=m.device)
        for mask, (height, width) in zip(valid, own, strict=True):
            mask[:height, :width] = True
        valids.append(valid)
    return valids


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
