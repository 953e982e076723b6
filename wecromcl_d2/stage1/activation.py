"""Soft activation maps: where does an image show a text? And the anchor points they give.

Letters: N images, Q texts per image, C channels of the fused map, D channels of a text feature,
H x W cells.
"""

import math
from collections.abc import Sequence
from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class TextActivation(nn.Module):
    """One-head cross-attention from texts to an image (Sec. 3.2 of the paper).

    With the projected map X = W_c F the paper has

        M = softmax((W_q t + b_q)^T (W_k X + b_k) / sqrt(D)),    p = W_o (W_v X M + b_v) + b_o.

    Everything between text and map is linear, so the products are taken the other way round:
    the query is carried back through W_k and W_c onto the C channels of F, and F itself is pooled
    before W_c, W_v and W_o see it. Exact, and D-channel maps are never made. The key bias shifts
    all cells of a map alike, which the softmax ignores; it is kept, frozen, as a published weight.

    Args:
        in_channels: channels C of the fused map.
        channels: channels D of text feature, keys and values.
    """

    def __init__(self, *, in_channels: int, channels: int):
        super().__init__()
        self.channel_proj = nn.Linear(in_channels, channels, bias=False)
        self.q_proj = nn.Linear(channels, channels)
        self.k_proj = nn.Linear(channels, channels)
        self.k_proj.bias.requires_grad_(False)
        self.v_proj = nn.Linear(channels, channels)
        self.out_proj = nn.Linear(channels, channels)

    def project_queries(self, text: Tensor) -> Tensor:
        """Carry text features (..., D) back onto the fused map's channels: (..., C)."""
        query = self.q_proj(text) / math.sqrt(text.shape[-1])
        return query @ self.k_proj.weight @ self.channel_proj.weight

    def forward(self, queries: Tensor, feature: Tensor, valid: Tensor | None = None) -> Tensor:
        """Soft activation maps.

        Args:
            queries: (N, Q, C) folded queries, or (Q, C) if all images are asked for the same texts.
            feature: (N, C, H, W) fused map.
            valid: (N, H, W), False for cells that get no activation.

        Returns:
            (N, Q, H, W), each map non-negative with sum one.
        """
        n, _, height, width = feature.shape
        logits = queries @ feature.flatten(2)
        if valid is not None:
            logits = logits.masked_fill(~valid.reshape(n, 1, -1), -math.inf)
        return logits.softmax(-1).unflatten(-1, (height, width))

    def pool(self, maps: Tensor, feature: Tensor) -> Tensor:
        """Region features (N, Q, D): the image's values weighted by the maps (N, Q, H, W)."""
        pooled = maps.flatten(2) @ feature.flatten(2).transpose(1, 2)
        return self.out_proj(self.v_proj(self.channel_proj(pooled)))


def find_peaks(maps: Tensor, count: int, window: int, ties: str = "first") -> tuple[Tensor, Tensor]:
    """The strongest local maxima of each map.

    A cell is a peak if it is the maximum of the window around it. A map with fewer peaks than asked
    gives some of value zero.

    Args:
        maps: (..., H, W) non-negative maps.
        count: peaks per map.
        window: side of the window in cells, odd.
        ties: of equal cells in one window, "first" takes the first in reading order, and peaks
            that do not exist repeat the strongest; "all" takes all of them, and peaks that do not
            exist lie anywhere.

    Returns:
        (..., count, 2) peaks (x, y) in cells, the centre of the first cell being (0.5, 0.5), and
        (..., count) their values, strongest first.
    """
    height, width = maps.shape[-2:]
    flat = maps.reshape(-1, height, width)
    is_peak = flat == window_maximum(flat, window)
    if ties == "first":
        # Exact in float32: a map has far fewer than 2**24 cells.
        order = torch.arange(height * width, 0, -1, device=maps.device, dtype=torch.float32)
        order = order.view(height, width) * is_peak
        is_peak &= order == window_maximum(order, window)
    values = torch.where(is_peak, flat, flat.new_zeros(())).flatten(1)
    scores, cells = values.topk(min(count, values.shape[1]), dim=-1)
    if scores.shape[1] < count:
        scores = F.pad(scores, (0, count - scores.shape[1]))
        cells = F.pad(cells, (0, count - cells.shape[1]))
    if ties == "first":
        cells = torch.where(scores > 0, cells, cells[:, :1])
    points = torch.stack([cells % width, cells.div(width, rounding_mode="floor")], -1) + 0.5
    return points.view(*maps.shape[:-2], count, 2), scores.view(*maps.shape[:-2], count)


def window_maximum(x: Tensor, window: int) -> Tensor:
    """The maximum of the window around each cell of (..., H, W) non-negative maps.

    Rows, then columns, as whole-map comparisons: some twenty times faster on a CPU than pooling,
    which does not use its vector instructions for one channel.

    Args:
        x: maps.
        window: side in cells, odd.
    """
    reach = window // 2
    for dim, padding in ((-1, (reach, reach)), (-2, (0, 0, reach, reach))):
        padded = F.pad(x, padding)
        x = reduce(torch.maximum, (padded.narrow(dim, i, x.shape[dim]) for i in range(window)))
    return x


def mean_of_peaks(maps: Tensor, points: Tensor, window: int) -> Tensor:
    """The mean place of what lies in a window around each peak.

    A peak's cell may lie at a word's edge; the weight around it lies on the word.

    Args:
        maps: (Q, H, W) non-negative maps.
        points: (Q, P, 2) cell centres (x, y), see `find_peaks`.
        window: side of the window in cells, odd.

    Returns:
        (Q, P, 2) points in cells; a peak whose window holds nothing stays where it is.
    """
    reach = window // 2
    cells = (points - 0.5).long()
    steps = torch.arange(window, device=maps.device)
    rows = (cells[..., 1, None] + steps)[..., :, None]
    columns = (cells[..., 0, None] + steps)[..., None, :]
    around = F.pad(maps, (reach,) * 4)
    share = around[torch.arange(len(maps), device=maps.device)[:, None, None, None], rows, columns]
    total = share.sum((-2, -1))
    offset = (steps - reach).to(maps.dtype)
    x = (share.sum(-2) * offset).sum(-1)
    y = (share.sum(-1) * offset).sum(-1)
    tiny = torch.finfo(maps.dtype).tiny
    return points + torch.stack([x, y], -1) / total.clamp(min=tiny)[..., None]


def assign_distinct_peaks(
    points: Tensor, scores: Tensor, texts: Sequence[str], distance: float
) -> list[int]:
    """Choose a peak for each word of an image so that no two words are in one place.

    The surest peak of all is taken first; then peaks near it are no longer free.

    Args:
        points: (Q, P, 2) peaks in cells.
        scores: (Q, P) their values, strongest first; 0 where there is no further peak.
        texts: Q words; of equal peaks the one whose word comes first in the alphabet is taken
            first, so that the order of the words does not matter.
        distance: least one between two words, in cells.

    Returns:
        For each word the index of its peak; the strongest if none of its peaks is free.
    """
    places, values = points.tolist(), scores.tolist()
    peaks = [
        (-score, texts[q], q, p)
        for q, own in enumerate(values)
        for p, score in enumerate(own)
        if score > 0
    ]
    chosen: dict[int, int] = {}
    for _, _, q, p in sorted(peaks):
        taken = (places[other][peak] for other, peak in chosen.items())
        if q not in chosen and all(math.dist(places[q][p], place) >= distance for place in taken):
            chosen[q] = p
    return [chosen.get(q, 0) for q in range(len(values))]
