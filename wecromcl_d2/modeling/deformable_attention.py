"""Multi-scale deformable attention in plain PyTorch.

Letters: N images, Q queries, M heads, L maps, P points, C channels, H_l x W_l cells of map l.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Sizes = tuple[tuple[int, int], ...]


def sample_maps(value: Tensor, sizes: Sizes, locations: Tensor, weights: Tensor) -> Tensor:
    """Weighted sum of bilinear samples from several maps.

    Args:
        value: (N, sum H_l W_l, M, C) values of all maps, row-major, one map after the other.
        sizes: (height, width) in cells of each map.
        locations: (N, Q, M, L, P, 2) sampling points (x, y); the unit square covers the map.
            Outside of it everything is zero.
        weights: (N, Q, M, L, P), summing to one over the last two axes.

    Returns:
        (N, Q, M * C).
    """
    n, _, heads, channels = value.shape
    queries, points = locations.shape[1], locations.shape[4]
    grids = (2 * locations - 1).permute(3, 0, 2, 1, 4, 5).flatten(1, 2)
    shares = weights.permute(3, 0, 2, 1, 4).reshape(len(sizes), n * heads, 1, queries, points)
    output = value.new_zeros(n * heads, channels, queries)
    for level, map_value in enumerate(value.split([h * w for h, w in sizes], dim=1)):
        image = map_value.permute(0, 2, 3, 1).reshape(n * heads, channels, *sizes[level])
        sampled = F.grid_sample(image, grids[level], align_corners=False)
        output = output + (sampled * shares[level]).sum(-1)
    return output.view(n, heads * channels, queries).transpose(1, 2)


class DeformableAttention(nn.Module):
    """Each query reads a few learned points of every map.

    Args:
        channels: width of queries and values; a multiple of `heads`.
        heads: attention heads M.
        maps: number of maps L.
        points: sampling points P per head and map.

    Raises:
        ValueError: if `channels` is not a multiple of `heads`.
    """

    def __init__(self, *, channels: int, heads: int, maps: int, points: int):
        super().__init__()
        if channels % heads:
            raise ValueError(
                f"{channels} channels cannot be shared by {heads} heads; "
                "choose MODEL.IMAGE_ENCODER.HEADS so that it divides the channels of a map"
            )
        self.heads, self.maps, self.points = heads, maps, points
        self.sampling_offsets = nn.Linear(channels, heads * maps * points * 2)
        self.attention_weights = nn.Linear(channels, heads * maps * points)
        self.value_proj = nn.Linear(channels, channels)
        self.output_proj = nn.Linear(channels, channels)
        self._reset_parameters()

    def _reset_parameters(self) -> None:
        """Offsets start as rays in `heads` directions, point p being p + 1 cells away."""
        nn.init.zeros_(self.sampling_offsets.weight)
        angle = torch.arange(self.heads) * (2 * math.pi / self.heads)
        ray = torch.stack([angle.cos(), angle.sin()], -1)
        ray = ray / ray.abs().amax(-1, keepdim=True)
        steps = torch.arange(1.0, self.points + 1)
        offsets = ray[:, None, None] * steps[None, None, :, None]
        with torch.no_grad():
            self.sampling_offsets.bias.copy_(offsets.expand(-1, self.maps, -1, -1).flatten())
        nn.init.zeros_(self.attention_weights.weight)
        nn.init.zeros_(self.attention_weights.bias)
        for linear in (self.value_proj, self.output_proj):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)

    def forward(
        self,
        query: Tensor,
        reference: Tensor,
        value: Tensor,
        sizes: Sizes,
        valid: Tensor | None = None,
    ) -> Tensor:
        """Attend from `query` to the maps in `value`.

        Args:
            query: (N, Q, C).
            reference: (N, Q, L, 2) points (x, y) from which offsets count; the unit square covers
                the (padded) map.
            value: (N, sum H_l W_l, C).
            sizes: (height, width) in cells of each map.
            valid: (N, sum H_l W_l), False where a cell is padding and reads as zero.

        Returns:
            (N, Q, C).
        """
        n, queries, _ = query.shape
        value = self.value_proj(value)
        if valid is not None:
            value = value.masked_fill(~valid[..., None], 0.0)
        shape = (n, queries, self.heads, self.maps, self.points)
        offsets = self.sampling_offsets(query).view(*shape, 2)
        scale = query.new_tensor([(w, h) for h, w in sizes])
        locations = reference[:, :, None, :, None] + offsets / scale[None, None, None, :, None]
        weights = self.attention_weights(query).view(n, queries, self.heads, -1).softmax(-1)
        sampled = sample_maps(
            value.view(n, value.shape[1], self.heads, -1), sizes, locations, weights.view(shape)
        )
        return self.output_proj(sampled)
