"""The loss of SRSTS-A: its terms, their weights and their schedules.

Letters: N images, M words per image, A anchors of all images, K sampling points, H x W cells.
"""

import torch
import torch.nn.functional as F
from detectron2.utils import comm
from detectron2.utils.events import get_event_storage, has_event_storage
from torch import Tensor

from ...config import check_choice
from ..suppression import line_lengths, trimmed_lines
from .ctc import CTCOutput, fits, read_greedily, reading_loss
from .losses import dice_loss, focal_loss, line_losses
from .targets import LEAST_EXTENT, ConfidenceTargets, PaddedTargets, ignore_extents


class Criterion:
    """All losses of a batch.

    Args:
        max_iter: length of the training in iterations, to which the schedules refer.
        confidence: loss of the confidence map, "focal" or "dice".
        extent_warmup: share of the training after which predicted lines determine the extent of
            words.
        confidence_weight: weight of the confidence loss.
        reading_weight: weight of the CTC loss.
        consistency_weight: weight of `consistency`, see `line_losses`; this weight and the next
            three fall linearly to half during the training.
        smoothness_weight: weight of `smoothness`.
        order_weight: weight of `order`.
        spread_weight: weight of `spread`.

    Raises:
        ValueError: for an unknown `confidence`.
    """

    def __init__(
        self,
        *,
        max_iter: int,
        confidence: str = "focal",
        extent_warmup: float = 0.2,
        confidence_weight: float = 1.0,
        reading_weight: float = 1.0,
        consistency_weight: float = 0.1,
        smoothness_weight: float = 0.05,
        order_weight: float = 0.05,
        spread_weight: float = 0.05,
    ):
        check_choice("MODEL.SRSTS_A.LOSS.CONFIDENCE", confidence, ("focal", "dice"))
        self.max_iter, self.confidence, self.extent_warmup = max_iter, confidence, extent_warmup
        self.confidence_weight, self.reading_weight = confidence_weight, reading_weight
        self.line_weights = {
            "consistency": consistency_weight,
            "smoothness": smoothness_weight,
            "order": order_weight,
            "spread": spread_weight,
        }

    def __call__(
        self,
        words: PaddedTargets,
        targets: ConfidenceTargets,
        logits: Tensor,
        anchors: tuple[Tensor, Tensor, Tensor],
        lines: Tensor,
        read: Tensor,
    ) -> dict[str, Tensor]:
        """All losses of a batch.

        Args:
            words: of the batch.
            targets: of the cells.
            logits: (N, H, W) of the confidence.
            anchors: image, word and cell of each anchor, see `choose_anchors`.
            lines: (A, K, 2) sampling points.
            read: (A, K, classes) logits of the characters.
        """
        image, word, _ = anchors
        number = image * words.points.shape[1] + word
        labels, weights = words.labels[image, word], words.weights[image, word]
        # The mean over words of the means over their anchors.
        weights = weights / torch.bincount(number, minlength=words.weights.numel())[number]
        readable = fits(labels, read.shape[1])
        sizes = torch.stack([(weights * readable).sum(), weights.sum()])
        readable_size, size = _mean_over_ranks(sizes).clamp(min=1e-6)
        reading = reading_loss(read, labels * readable[:, None]) * readable
        result = {"loss_reading": self.reading_weight * (reading * weights).sum() / readable_size}
        progress = get_event_storage().iter / self.max_iter if has_event_storage() else 0.0
        fade = 1 - progress / 2
        for name, loss in line_losses(lines, number, words.weights.numel()).items():
            result[f"loss_{name}"] = fade * self.line_weights[name] * (loss * weights).sum() / size
        reading_now = read_greedily(read.detach())
        if progress >= self.extent_warmup:
            targets = _with_extents(targets, words, anchors, logits, lines, reading_now)
        owner_weight = words.weights.gather(1, targets.owner.flatten(1)).view_as(logits)
        if self.confidence == "focal":
            total, count = focal_loss(logits, targets, owner_weight)
        else:
            total, count = dice_loss(logits, targets)
        count = _mean_over_ranks(count.float()).clamp(min=1)
        result["loss_confidence"] = self.confidence_weight * total / count
        _log(reading_now, labels, readable)
        return result


def _with_extents(
    targets: ConfidenceTargets,
    words: PaddedTargets,
    anchors: tuple[Tensor, Tensor, Tensor],
    logits: Tensor,
    lines: Tensor,
    reading: CTCOutput,
) -> ConfidenceTargets:
    """Targets without the background cells that lie along the predicted lines of the words."""
    image, word, cells = anchors
    # Each word's line is that of its most confident anchor.
    order = logits.detach()[image, cells[:, 1], cells[:, 0]].argsort()
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order), device=order.device)
    most = targets.owner.new_full((len(logits) * words.points.shape[1],), -1)
    number = image * words.points.shape[1] + word
    most = most.scatter_reduce(0, number, rank, "amax")
    best = order[most[most >= 0]]
    trimmed = trimmed_lines(lines.detach()[best], reading.first[best], reading.last[best])
    characters = (words.labels[image[best], word[best]] > 0).sum(1).clamp(min=1)
    radii = (line_lengths(trimmed) / characters).clamp(min=LEAST_EXTENT)
    counts = ignore_extents(targets, image[best], trimmed, radii)
    return ConfidenceTargets(targets.positive, counts, targets.soft, targets.owner)


def _log(reading: CTCOutput, labels: Tensor, readable: Tensor) -> None:
    """Log the share of sampled anchors whose text is right, and the labels too long for CTC."""
    if not has_event_storage():
        return
    storage = get_event_storage()
    width = max(labels.shape[1], reading.labels.shape[1])
    said = F.pad(reading.labels, (0, width - reading.labels.shape[1]))
    right = (said == F.pad(labels, (0, width - labels.shape[1]))).all(1)
    storage.put_scalar("read_right", right.float().mean() if len(right) else 0.0)
    storage.put_scalar("too_long", (~readable).sum())


def _mean_over_ranks(x: Tensor) -> Tensor:
    """The mean over all processes, so that their mean loss is that of the joint batch."""
    if comm.get_world_size() > 1:
        torch.distributed.all_reduce(x)
        x = x / comm.get_world_size()
    return x
