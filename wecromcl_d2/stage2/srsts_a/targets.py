"""Targets of the confidence map, from points alone, and the anchors that are read in training.

Letters: N images, M words per image (padded), A anchors, K sampling points, H x W cells. Points are
(x, y) in cells.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ...layers.position import cell_centers

# Radii in cells of the positive disk around a point and of the larger ignored disk; at most these
# shares of the distance to the nearest other point.
POSITIVE_RADIUS, POSITIVE_SHARE = 1.5, 0.4
IGNORE_RADIUS, IGNORE_SHARE = 4.0, 0.5
# At least half the diagonal of a cell, so that the disk contains the center of the point's cell.
LEAST_RADIUS = 0.71
# Least reach, in cells, of a word to both sides of its sampling points.
LEAST_EXTENT = 2.0


@dataclass(frozen=True)
class PaddedTargets:
    """The words of a batch, padded.

    Attributes:
        points: (N, M, 2), float32.
        labels: (N, M, L) int64, padded with 0.
        weights: (N, M) loss weight of the word, from 0 to 1.
        is_positive: (N, M) whether the word's point is a training target.
        is_ignored: (N, M) whether cells around the word's point are neither positive nor negative.
        radii: (N, M) reach of `is_ignored` in cells.
    """

    points: Tensor
    labels: Tensor
    weights: Tensor
    is_positive: Tensor
    is_ignored: Tensor
    radii: Tensor


@dataclass(frozen=True)
class ConfidenceTargets:
    """Targets of the cells.

    Attributes:
        positive: (N, H, W) cells that are anchors.
        counts: (N, H, W) cells that are positive or negative; the others are ignored.
        soft: (N, H, W) Gaussian closeness to the nearest point; down-weights nearby negatives.
        owner: (N, H, W) index of the nearest positive word.
    """

    positive: Tensor
    counts: Tensor
    soft: Tensor
    owner: Tensor


def confidence_targets(
    words: PaddedTargets, size: tuple[int, int], valid: Tensor | None
) -> ConfidenceTargets:
    """Positive, ignored and negative cells from the points of the words.

    Args:
        words: of the batch.
        size: (H, W).
        valid: (N, H, W), False in padding; None if there is none.
    """
    n = len(words.points)
    centers = cell_centers(*size, words.points.device)
    distance = torch.cdist(centers.expand(n, -1, -1), words.points)
    near = _nearest_distance(words)
    positive_radius = (POSITIVE_SHARE * near).clamp(max=POSITIVE_RADIUS).clamp(min=LEAST_RADIUS)
    ignore_radius = (IGNORE_SHARE * near).clamp(max=IGNORE_RADIUS)
    ignore_radius = torch.maximum(ignore_radius, positive_radius)
    own, owner = distance.masked_fill(~words.is_positive[:, None], torch.inf).min(2)
    positive = own <= positive_radius.gather(1, owner)
    reach = ignore_radius.gather(1, owner)
    hidden = ((distance <= words.radii[:, None]) & words.is_ignored[:, None]).any(2)
    counts = positive | ~(hidden | (own <= reach))
    soft = torch.exp(-2 * (own / reach).square()).masked_fill(positive, 1.0)
    shape = (n, *size)
    if valid is not None:
        counts = counts & valid.flatten(1)
        positive = positive & valid.flatten(1)
    return ConfidenceTargets(
        positive.view(shape), counts.view(shape), soft.view(shape), owner.view(shape)
    )


def _nearest_distance(words: PaddedTargets) -> Tensor:
    """(N, M) distance in cells from each point to the nearest other one; infinite without one."""
    there = words.is_positive | words.is_ignored
    distance = torch.cdist(words.points, words.points)
    itself = torch.eye(distance.shape[1], dtype=torch.bool, device=distance.device)
    return distance.masked_fill(itself | ~there[:, None], torch.inf).amin(2)


def choose_anchors(
    targets: ConfidenceTargets, words: PaddedTargets, per_word: int, per_image: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Random positive cells of each word.

    Args:
        targets: of the batch.
        words: of the batch.
        per_word: most cells of a word.
        per_image: most cells of an image; heavy words are more likely to be among them.

    Returns:
        (A,) image, (A,) word in the image and (A, 2) cell (x, y), int64, images ascending. At least
        one cell, of a word of weight 0 if there is no other.
    """
    width, most = targets.owner.shape[2], words.points.shape[1]
    owner = targets.owner.masked_fill(~targets.positive, most).flatten(1)
    priority = torch.rand(owner.shape, device=owner.device)
    # A word's cells in the order of their priority: sort by priority, then, stably, by word.
    order = priority.argsort(1)
    order = order.gather(1, owner.gather(1, order).argsort(dim=1, stable=True))
    owner = owner.gather(1, order)
    first = torch.searchsorted(owner, owner, side="left")
    rank = torch.arange(owner.shape[1], device=owner.device) - first
    chosen = (owner < most) & (rank < per_word)
    weight = words.weights.gather(1, owner.clamp(max=most - 1)).clamp(min=1e-6)
    chance = priority.gather(1, order) ** (1 / weight)
    chance = torch.where(chosen, chance, -1.0)
    kept = chance.topk(min(per_image, chance.shape[1]), dim=1).indices
    mask = torch.zeros_like(chosen).scatter_(1, kept, True) & chosen
    # Without any word, one cell of loss weight 0: with several processes every part of the model
    # must have a gradient.
    mask[0, 0] |= ~mask.any()
    image, place = mask.nonzero(as_tuple=True)
    cell = order[image, place]
    return (
        image,
        owner[image, place].clamp(max=most - 1),
        torch.stack([cell % width, cell // width], 1),
    )


def ignore_extents(
    targets: ConfidenceTargets, image: Tensor, lines: Tensor, radii: Tensor
) -> Tensor:
    """`targets.counts` without the negative cells on words, as far as the words' extent is known.

    A point may lie anywhere on its word, so other cells of the word are not background.

    Args:
        targets: of the batch.
        image: (E,) image of each word.
        lines: (E, K, 2) points along the word.
        radii: (E,) reach of the word to both sides of its line, in cells.

    Returns:
        (N, H, W).
    """
    n, height, width = targets.counts.shape
    x = torch.arange(width, device=lines.device) + 0.5
    y = torch.arange(height, device=lines.device) + 0.5
    across = (lines[:, :, :1] - x).square()
    along = (lines[:, :, 1:] - y).square() - radii.square()[:, None, None]
    on_word = torch.zeros(len(lines), height, width, dtype=torch.bool, device=lines.device)
    for dx, dy in zip(across.unbind(1), along.unbind(1), strict=True):
        on_word |= dx[:, None, :] + dy[:, :, None] <= 0
    covered = torch.zeros(n, height, width, dtype=torch.int32, device=lines.device)
    covered.index_add_(0, image, on_word.int())
    return targets.counts & ((covered == 0) | targets.positive)
