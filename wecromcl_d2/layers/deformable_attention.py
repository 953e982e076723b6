"""Multi-scale deformable attention in plain PyTorch.

Letters: N images, Q queries, M heads, L maps, P points, C channels of a head, H_l x W_l cells of
map l, T cells of all maps together.

Two implementations of the sampling agree to rounding. `sample_by_grid` runs on every device.
`sample_with_embedding_bag` runs on the CPU, where it takes a seventh of the time: the samples of a
query are one bag of `embedding_bag`, which sums rows of a table with vector instructions and
stores no single sample.
"""

import math
import warnings
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

Sizes = tuple[tuple[int, int], ...]

# Queries per pass of `sample_with_embedding_bag`, so that their coordinates fit the CPU's cache.
QUERIES_AT_ONCE = 2048


def sample_maps(value: Tensor, sizes: Sizes, positions: Tensor, weights: Tensor) -> Tensor:
    """Weighted sum of bilinear samples from several maps, by the faster way for the device.

    Args:
        value: (N, T, M, C) values of all maps, row-major, one map after the other.
        sizes: (height, width) in cells of each map.
        positions: (N, Q, M, L, P, 2) sampling points (x, y) in cells of each map, the center of
            the first cell being (0.5, 0.5). Values outside a map are zero.
        weights: (N, Q, M, L, P).

    Returns:
        (N, Q, M * C).
    """
    sample = sample_with_embedding_bag if value.device.type == "cpu" else sample_by_grid
    # Always at least float32: half precision is too coarse for the fractions of a cell.
    with torch.autocast(value.device.type, enabled=False):
        if value.dtype in (torch.bfloat16, torch.float16):
            value = value.float()
        return sample(value, sizes, positions.to(value.dtype), weights.to(value.dtype))


def sample_by_grid(value: Tensor, sizes: Sizes, positions: Tensor, weights: Tensor) -> Tensor:
    """`sample_maps` with one call of PyTorch's grid sampling for each map."""
    n, _, heads, channels = value.shape
    queries, points = positions.shape[1], positions.shape[4]
    scale = positions.new_tensor([(2 / width, 2 / height) for height, width in sizes])
    grids = positions * scale[:, None] - 1
    grids = grids.permute(3, 0, 2, 1, 4, 5).flatten(1, 2)
    shares = weights.permute(3, 0, 2, 1, 4).reshape(len(sizes), n * heads, 1, queries, points)
    output = value.new_zeros(n * heads, channels, queries)
    for level, map_value in enumerate(value.split([h * w for h, w in sizes], dim=1)):
        image = map_value.permute(0, 2, 3, 1).reshape(n * heads, channels, *sizes[level])
        sampled = F.grid_sample(image, grids[level], align_corners=False)
        output = output + (sampled * shares[level]).sum(-1)
    return output.view(n, heads * channels, queries).transpose(1, 2)


def sample_with_embedding_bag(
    value: Tensor, sizes: Sizes, positions: Tensor, weights: Tensor
) -> Tensor:
    """`sample_maps` as sums over rows of a table, for the CPU."""
    return _BagSampling.apply(value, sizes, positions, weights)


class _Table:
    """One image's maps as rows of C numbers, each map inside a border of zeros.

    All maps are stored with the width of the widest, so that of the four cells around a point three
    lie at fixed row offsets, `corners`, from the top left one.
    """

    def __init__(self, sizes: Sizes, heads: int, points: int, dtype: torch.dtype):
        self.sizes, self.heads = sizes, heads
        self.width = max(width for _, width in sizes) + 2
        self.tops = [0]
        for height, _ in sizes:
            self.tops.append(self.tops[-1] + height + 2)
        self.corners = (0, heads, self.width * heads, (self.width + 1) * heads)
        # For each of the M * L * P points of a query: its map's size, and the row of cell (0, 0).
        ends = torch.tensor([(w, h) for h, w in sizes], dtype=dtype)
        self.ends = ends.repeat_interleave(points, 0).repeat(heads, 1).unbind(1)
        first = [(top + 1) * self.width + 1 for top in self.tops[:-1]]
        rows = torch.tensor(first, dtype=torch.int32).repeat_interleave(points) * heads
        self.origins = (rows + torch.arange(heads, dtype=torch.int32)[:, None]).flatten()

    def fill(self, value: Tensor) -> Tensor:
        """Values (T, M, C) -> table (rows, C)."""
        channels = value.shape[-1]
        table = value.new_zeros(self.tops[-1], self.width, self.heads * channels)
        for window, cells in zip(self._windows(table), self._split(value), strict=True):
            window.copy_(cells)
        return table.view(-1, channels)

    def read(self, table: Tensor, value: Tensor) -> None:
        """Copy a table (rows, C) into values (T, M, C)."""
        table = table.view(self.tops[-1], self.width, -1)
        for window, cells in zip(self._windows(table), self._split(value), strict=True):
            cells.copy_(window)

    def _windows(self, table: Tensor) -> Iterator[Tensor]:
        for top, (height, width) in zip(self.tops, self.sizes, strict=False):
            yield table[top + 1 : top + 1 + height, 1 : 1 + width]

    def _split(self, value: Tensor) -> Iterator[Tensor]:
        cells = value.split([height * width for height, width in self.sizes])
        for own, (height, width) in zip(cells, self.sizes, strict=True):
            yield own.view(height, width, -1)

    def locate(self, positions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Rows of the table around sampling points, and the offsets for interpolation.

        Args:
            positions: (Q, M * L * P, 2).

        Returns:
            Three tensors (Q, M * L * P): the row of the top left of the four cells around the
            point, int32, and the point's offset in x and in y from the center of that cell, 0 to
            1. Points outside the map are moved to the nearest place where only the border is read.
        """
        fractions, cells = [], []
        for coordinate, end in zip(positions.unbind(-1), self.ends, strict=True):
            place = (coordinate - 0.5).clamp_(min=-1)
            torch.minimum(place, end, out=place)
            low = torch.minimum(place.floor(), end - 1)
            fractions.append(place.sub_(low))
            cells.append(low.int())
        rows = cells[1].mul_(self.width).add_(cells[0]).mul_(self.heads).add_(self.origins)
        # NaN positions must still give rows inside the table.
        rows.clamp_(0, self.tops[-1] * self.width * self.heads - self.corners[-1] - 1)
        return rows, fractions[0], fractions[1]


def _shares(x: Tensor, y: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Each sample's weight split among its four cells, in the order of `_Table.corners`."""
    bottom = weights * y
    top = weights - bottom
    top_right, bottom_right = top * x, bottom * x
    return top.sub_(top_right), top_right, bottom.sub_(bottom_right), bottom_right


class _BagSampling(torch.autograd.Function):
    """Sampling that stores only its inputs for the backward pass."""

    @staticmethod
    def forward(
        ctx: Any, value: Tensor, sizes: Sizes, positions: Tensor, weights: Tensor
    ) -> Tensor:
        n, _, heads, channels = value.shape
        queries, per_head = weights.shape[1], weights.shape[3] * weights.shape[4]
        layout = _Table(sizes, heads, weights.shape[4], value.dtype)
        output = value.new_empty(n, queries, heads, channels)
        for image in range(n):
            table = layout.fill(value[image])
            for start in range(0, queries, QUERIES_AT_ONCE):
                some = slice(start, start + QUERIES_AT_ONCE)
                rows, x, y = layout.locate(positions[image, some].flatten(1, 3))
                bags = rows.view(-1, per_head)
                target = output[image, some].flatten(0, 1).zero_()
                shares = _shares(x, y, weights[image, some].flatten(1))
                for corner, share in zip(layout.corners, shares, strict=True):
                    target += F.embedding_bag(
                        bags,
                        table[corner:],
                        per_sample_weights=share.view(-1, per_head),
                        mode="sum",
                    )
        ctx.save_for_backward(value, positions, weights)
        ctx.layout = layout
        return output.flatten(2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, Tensor, Tensor]:
        value, positions, weights = ctx.saved_tensors
        grads = torch.empty_like(value), torch.empty_like(positions), torch.empty_like(weights)
        for image in range(len(value)):
            _sampling_gradients(
                ctx.layout,
                grad[image].reshape(-1, value.shape[3]),
                (value[image], positions[image].flatten(1, 3), weights[image].flatten(1)),
                (grads[0][image], grads[1][image].flatten(1, 3), grads[2][image].flatten(1)),
            )
        return grads[0], None, grads[1], grads[2]


def _sampling_gradients(
    layout: _Table, grad: Tensor, inputs: tuple[Tensor, ...], grads: tuple[Tensor, ...]
) -> None:
    """Fill the gradients of one image.

    Args:
        layout: of the image's table.
        grad: (Q * M, C) gradient of the output.
        inputs: values (T, M, C), positions (Q, M * L * P, 2), weights (Q, M * L * P).
        grads: of the same shapes, to be filled.
    """
    value, positions, weights = inputs
    rows, x, y = layout.locate(positions)
    table = layout.fill(value)
    dots = [_dots(rows, table[corner:], grad) for corner in layout.corners]
    top, bottom = torch.lerp(dots[0], dots[1], x), torch.lerp(dots[2], dots[3], x)
    grads[2].copy_(torch.lerp(top, bottom, y))
    slopes = torch.lerp(dots[1] - dots[0], dots[3] - dots[2], y), bottom - top
    for axis, (slope, end) in enumerate(zip(slopes, layout.ends, strict=True)):
        place = positions[..., axis] - 0.5
        inside = (place > -1) & (place < end)
        grads[1][..., axis] = slope * weights * inside
    layout.read(_scatter(layout, rows, _shares(x, y, weights), grad, len(table)), grads[0])


def _dots(rows: Tensor, table: Tensor, grad: Tensor) -> Tensor:
    """Dot product of each row that was read with the output gradient of its query and head.

    Args:
        rows: (Q, M * L * P).
        table: (rows, C).
        grad: (Q * M, C).

    Returns:
        (Q, M * L * P).
    """
    starts = torch.arange(0, rows.numel() + 1, rows.numel() // len(grad), dtype=rows.dtype)
    with warnings.catch_warnings():
        # PyTorch warns once that its sparse CSR tensors are in beta.
        warnings.simplefilter("ignore", UserWarning)
        pattern = torch.sparse_csr_tensor(
            starts,
            rows.flatten(),
            table.new_zeros(rows.numel()),
            size=(len(grad), len(table)),
            check_invariants=False,
        )
        return torch.sparse.sampled_addmm(pattern, grad, table.t()).values().view(rows.shape)


def _scatter(
    layout: _Table, rows: Tensor, shares: tuple[Tensor, ...], grad: Tensor, length: int
) -> Tensor:
    """Gradient (length, C) of the table, by `embedding_bag` with one bag per row of the table."""
    read, order = rows.flatten().sort()
    counts = torch.bincount(read, minlength=length)
    starts = counts.cumsum(0) - counts
    readers = order.div(rows.numel() // len(grad), rounding_mode="floor")
    result = grad.new_zeros(length, grad.shape[1])
    for corner, share in zip(layout.corners, shares, strict=True):
        found = F.embedding_bag(
            readers, grad, starts, per_sample_weights=share.flatten()[order], mode="sum"
        )
        result[corner:] += found[: length - corner]
    return result


class DeformableAttention(nn.Module):
    """Attention of each query to a few learned sampling points of every map.

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
            reference: (Q, L, 2) points (x, y) that the offsets are added to, in cells of each map.
            value: (N, T, C).
            sizes: (height, width) in cells of each map.
            valid: (N, T), False in padding, whose values count as zero.

        Returns:
            (N, Q, C).
        """
        n, queries, _ = query.shape
        value = self.value_proj(value)
        if valid is not None:
            value = value.masked_fill(~valid[..., None], 0.0)
        shape = (n, queries, self.heads, self.maps, self.points)
        # Repeated for each point: the addition is faster over long contiguous rows.
        reference = reference[:, None, :, None].expand(-1, -1, -1, self.points, -1).contiguous()
        positions = reference + self.sampling_offsets(query).view(*shape, 2)
        logits = self.attention_weights(query).view(n * queries * self.heads, -1)
        # On the CPU softmax over dim 0 of the transpose is five times faster than over short rows.
        weights = logits.t().contiguous().softmax(0).t().contiguous()
        values = value.view(n, value.shape[1], self.heads, -1)
        return self.output_proj(sample_maps(values, sizes, positions, weights.view(shape)))
