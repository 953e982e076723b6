"""The three heads of SRSTS-A: confidence map, sampling points and recognition.

Letters: N images, A anchors, K sampling points per anchor, C channels, H x W cells. Positions
(x, y) are in cells; the center of the first cell is (0.5, 0.5).
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from detectron2.layers import Conv2d
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from ...config import check_choice
from ...layers.backbone import conv_norm_relu

# Initial confidence, as in focal loss: few cells are anchors.
PRIOR = 0.01
# Standard deviation of the sampler's last weights, small so that all initial lines are alike.
SAMPLER_STD = 1e-3


def conv_tower(in_channels: int, channels: Sequence[int], norm: str) -> nn.Sequential:
    """3x3 convolutions, each with normalisation and ReLU."""
    widths = pairwise([in_channels, *channels])
    return nn.Sequential(*(conv_norm_relu(*width, norm, norm_bias=0.0) for width in widths))


class AnchorHead(nn.Module):
    """Logit of the confidence that a cell is an anchor of a word."""

    def __init__(self, in_channels: int, channels: int, norm: str):
        super().__init__()
        self.tower = conv_tower(in_channels, [channels], norm)
        self.logit = nn.Conv2d(channels, 1, 1)
        nn.init.normal_(self.logit.weight, std=0.01)
        assert self.logit.bias is not None
        nn.init.constant_(self.logit.bias, -torch.tensor((1 - PRIOR) / PRIOR).log().item())

    def forward(self, feature: Tensor) -> Tensor:
        """Fused map (N, C, H, W) -> logits (N, H, W)."""
        return self.logit(self.tower(feature)).squeeze(1)


class Sampler(nn.Module):
    """For each cell, the offsets of K sampling points along the word that the cell lies on.

    Args:
        in_channels: of the fused map.
        channels: of the convolutions.
        num_points: K, at least 2.
        norm: normalisation of the convolutions.
        reach: half the length, in cells, of the horizontal line of points that an untrained sampler
            predicts. With 0 all points would sample the same feature, and the recogniser would
            only learn to predict blanks.
    """

    def __init__(
        self,
        in_channels: int,
        channels: Sequence[int],
        num_points: int,
        *,
        norm: str,
        reach: float = 8.0,
    ):
        super().__init__()
        self.num_points = num_points
        self.tower = conv_tower(in_channels, channels, norm)
        self.offset = nn.Conv2d(channels[-1], 2 * num_points, 1)
        self.pointwise = norm in ("", "BN", "SyncBN", "FrozenBN", "nnSyncBN", "naiveSyncBN")
        nn.init.normal_(self.offset.weight, std=SAMPLER_STD)
        line = torch.zeros(num_points, 2)
        line[:, 0] = torch.linspace(-reach, reach, num_points)
        assert self.offset.bias is not None
        with torch.no_grad():
            self.offset.bias.copy_(line.flatten())

    def resize_weights(self, weights: dict[str, Any], prefix: str) -> None:
        """Interpolate a checkpoint's weights along the line if it has another number of points."""
        count = len(self.offset.weight) // 2
        for name in ("weight", "bias"):
            key = f"{prefix}offset.{name}"
            if key in weights and len(weights[key]) != 2 * count:
                pairs = torch.as_tensor(weights[key]).unflatten(0, (-1, 2))
                weights[key] = resample_line(pairs, count).flatten(0, 1)

    def dense(self, feature: Tensor, image: Tensor, cells: Tensor) -> Tensor:
        """Positions of the sampling points of some cells, computed from the whole map.

        Args:
            feature: fused map (N, C, H, W).
            image: (A,) image of each anchor.
            cells: (A, 2) anchors (x, y), whole numbers, int64.

        Returns:
            (A, K, 2).
        """
        offsets = self.offset(self.tower(feature))
        return self._place(offsets[image, :, cells[:, 1], cells[:, 0]], cells)

    def patch(self, feature: Tensor, image: Tensor, cells: Tensor) -> Tensor:
        """The same as `dense`, computed from patches around the anchors; for inference.

        Convolutions pad the map with zeros, so cells of a patch outside the map are set to zero
        before each layer.
        """
        assert self.pointwise and not self.training
        height, width = feature.shape[-2:]
        reach = len(self.tower)
        steps = torch.arange(-reach, reach + 1, device=feature.device)
        y = (cells[:, 1, None] + steps)[:, :, None].expand(-1, -1, len(steps))
        x = (cells[:, 0, None] + steps)[:, None, :].expand(-1, len(steps), -1)
        inside = ((y >= 0) & (y < height) & (x >= 0) & (x < width))[:, None]
        rows = feature.permute(0, 2, 3, 1)
        patches = rows[image[:, None, None], y.clamp(0, height - 1), x.clamp(0, width - 1)]
        values = patches.permute(0, 3, 1, 2)
        for layer in self.tower:
            assert isinstance(layer, Conv2d) and layer.activation is not None
            values = F.conv2d(values * inside, layer.weight, layer.bias)
            values = layer.activation(values if layer.norm is None else layer.norm(values))
            inside = inside[..., 1:-1, 1:-1]
        return self._place(self.offset(values).flatten(1), cells)

    def _place(self, offsets: Tensor, cells: Tensor) -> Tensor:
        return offsets.unflatten(1, (-1, 2)).float() + (cells[:, None] + 0.5)


def sample_points(feature: Tensor, image: Tensor, positions: Tensor) -> Tensor:
    """Bilinear samples; positions outside the map are moved to its border.

    Args:
        feature: (N, C, H, W).
        image: (A,) image of each line of points.
        positions: (A, K, 2).

    Returns:
        (A, K, C).
    """
    height, width = feature.shape[-2:]
    # A cell is a row of a table, and a sample the weighted sum of the four rows around it.
    table = feature.permute(0, 2, 3, 1).flatten(0, 2).to(positions.dtype)
    last = positions.new_tensor([width - 1, height - 1])
    place = torch.minimum((positions - 0.5).clamp(min=0), last)
    low = place.detach().floor()
    right, down = (place - low)[..., None].unbind(2)
    across, along = torch.cat([1 - right, right], 2), torch.cat([1 - down, down], 2)
    # Positions that are NaN must still index rows of the table.
    x, y = low.long().clamp(min=0)[..., None].unbind(2)
    columns = torch.cat([x, (x + 1).clamp(max=width - 1)], 2)
    rows = torch.cat([y, (y + 1).clamp(max=height - 1)], 2) + height * image[:, None, None]
    cells = rows[..., None] * width + columns[..., None, :]
    shares = along[..., None] * across[..., None, :]
    samples = F.embedding_bag(
        cells.view(-1, 4), table, per_sample_weights=shares.view(-1, 4), mode="sum"
    )
    return samples.view(*positions.shape[:2], -1)


def resample_line(values: Tensor, count: int) -> Tensor:
    """Linear interpolation of (K, ...) values at equal steps to (count, ...); the ends stay."""
    flat = values.flatten(1).float().T[None]
    resampled = F.interpolate(flat, count, mode="linear", align_corners=True)[0].T
    return resampled.reshape(count, *values.shape[1:]).to(values.dtype)


class Recognizer(nn.Module):
    """Reads the features at a word's sampling points.

    Args:
        in_channels: of the fused map.
        channels: of the tower's convolutions; the last is the width of the sequence block.
        num_points: K.
        num_classes: characters and the blank.
        sequence: "self_attn", "bilstm" or "none".
        layers: of the sequence block.
        heads: of its attention.
        norm: normalisation of the tower.

    Raises:
        ValueError: for an unknown `sequence`.
    """

    def __init__(
        self,
        in_channels: int,
        channels: Sequence[int],
        *,
        num_points: int,
        num_classes: int,
        sequence: str,
        layers: int,
        heads: int,
        norm: str,
    ):
        super().__init__()
        width = channels[-1]
        self.tower = conv_tower(in_channels, channels, norm)
        blocks = {"self_attn": SelfAttentionBlock, "bilstm": LSTMBlock, "none": NoBlock}
        check_choice("MODEL.SRSTS_A.SEQUENCE", sequence, blocks)
        self.sequence = blocks[sequence](width, num_points, layers, heads)
        self.classifier = nn.Linear(width, num_classes)

    def forward(self, feature: Tensor, image: Tensor, positions: Tensor) -> Tensor:
        """Logits (A, K, classes) of the samples at `positions`; see `sample_points`."""
        samples = sample_points(self.tower(feature), image, positions)
        return self.classifier(self.sequence(samples, positions))


class SelfAttentionBlock(nn.Module):
    """Pre-norm transformer over the samples of a word.

    A learned embedding of the sample's index and one of its position relative to the center of
    the line are added once.
    """

    def __init__(self, width: int, num_points: int, layers: int, heads: int):
        super().__init__()
        self.number = nn.Parameter(torch.randn(num_points, width) * 0.02)
        self.place = nn.Linear(2, width, bias=False)
        nn.init.normal_(self.place.weight, std=0.02)
        layer = nn.TransformerEncoderLayer(
            width, heads, 4 * width, dropout=0.0, batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)

    def resize_weights(self, weights: dict[str, Any], prefix: str) -> None:
        """Interpolate a checkpoint's embeddings if it has another number of points."""
        key = f"{prefix}number"
        if key in weights and len(weights[key]) != len(self.number):
            weights[key] = resample_line(torch.as_tensor(weights[key]), len(self.number))

    def forward(self, samples: Tensor, positions: Tensor) -> Tensor:
        """Relate samples (A, K, C) at positions (A, K, 2) to each other."""
        place = positions - positions.mean(1, keepdim=True)
        placed = samples + self.number + self.place(place.to(samples.dtype))
        # No fused kernel for so few samples: on a CPU its backward pass in bfloat16 takes five
        # times as long.
        with sdpa_kernel(SDPBackend.MATH):
            return self.layers(placed)


class LSTMBlock(nn.Module):
    """Bidirectional LSTM over the samples of a word."""

    def __init__(self, width: int, num_points: int, layers: int, heads: int):
        super().__init__()
        self.lstm = nn.LSTM(width, width // 2, layers, batch_first=True, bidirectional=True)

    def forward(self, samples: Tensor, positions: Tensor) -> Tensor:
        """Relate samples (A, K, C) to each other."""
        return self.lstm(samples)[0]


class NoBlock(nn.Module):
    """Identity: each sample is classified by itself."""

    def __init__(self, width: int, num_points: int, layers: int, heads: int):
        super().__init__()

    def forward(self, samples: Tensor, positions: Tensor) -> Tensor:
        """The samples, unchanged."""
        return samples
