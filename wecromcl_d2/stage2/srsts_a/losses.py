"""The losses of SRSTS-A on the confidence map and on the sampling points.

Letters: N images, A anchors, K sampling points, H x W cells; lengths are in cells.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from .targets import ConfidenceTargets

# Huber threshold of `consistency`; beyond it the gradient is constant.
HUBER_DELTA = 1.0
# Least cosine between a step and the whole line, for `order`.
LEAST_COSINE = 0.1
# Least mean step in cells, for `spread`: a word of 20 pixels spans only 5 cells.
LEAST_STEP = 0.15


def focal_loss(
    logits: Tensor, targets: ConfidenceTargets, weights: Tensor
) -> tuple[Tensor, Tensor]:
    """Penalty-reduced focal loss of the confidence map.

    Args:
        logits: (N, H, W).
        targets: of the cells.
        weights: (N, H, W) of the cells' words, used where they are positive.

    Returns:
        The sum over all cells, and the number of positive cells to divide it by.
    """
    p = logits.sigmoid()
    hit = weights * (1 - p).square() * F.logsigmoid(logits)
    miss = (1 - targets.soft) ** 4 * p.square() * F.logsigmoid(-logits)
    loss = torch.where(targets.positive, hit, miss) * targets.counts
    return -loss.sum(), targets.positive.sum()


def dice_loss(logits: Tensor, targets: ConfidenceTargets) -> tuple[Tensor, Tensor]:
    """One minus the overlap of the confidence map with the positive cells, over those that count.

    Returns:
        The sum over the images, and their number to divide it by.
    """
    p = (logits.sigmoid() * targets.counts).flatten(1)
    y = (targets.positive & targets.counts).flatten(1).to(p.dtype)
    overlap = (2 * (p * y).sum(1) + 1) / (p.square().sum(1) + y.sum(1) + 1)
    return (1 - overlap).sum(), overlap.new_tensor(len(overlap))


def line_losses(lines: Tensor, word: Tensor, num_words: int) -> dict[str, Tensor]:
    """Regularisers of the sampling points of each anchor, in place of a ground-truth center line.

    Args:
        lines: (A, K, 2) sampling points.
        word: (A,) number of the anchor's word in the batch.
        num_words: words in the batch.

    Returns:
        For each anchor, (A,):
        `consistency`, the distance to the mean line of the word's anchors;
        `smoothness`, the change between successive steps, relative to their length;
        `order`, for steps that lead backwards;
        `spread`, for lines that collapse.
    """
    counts = torch.bincount(word, minlength=num_words)
    total = lines.new_zeros(num_words, *lines.shape[1:]).index_add_(0, word, lines.detach())
    mean = (total / counts.clamp(min=1)[:, None, None])[word]
    steps = lines[:, 1:] - lines[:, :-1]
    length = steps.norm(dim=-1).mean(1)
    bends = (steps[:, 1:] - steps[:, :-1]).square().sum(-1).mean(1)
    whole = (lines[:, -1] - lines[:, 0])[:, None]
    return {
        "consistency": F.huber_loss(lines, mean, reduction="none", delta=HUBER_DELTA).mean((1, 2)),
        "smoothness": bends / (length.detach().square() + 1),
        "order": F.relu(LEAST_COSINE - F.cosine_similarity(steps, whole, dim=-1)).mean(1),
        "spread": F.relu(LEAST_STEP - length).square(),
    }
