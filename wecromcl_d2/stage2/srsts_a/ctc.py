"""CTC: which labels fit, the loss, and greedy decoding.

Letters: A words, K samples per word, L labels. Label 0 is the blank, and the padding of targets.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


def fits(labels: Tensor, samples: int) -> Tensor:
    """Which labels (A, L) CTC can align to the samples: equal neighbours need a blank between."""
    repeats = (labels[:, 1:] == labels[:, :-1]) & (labels[:, 1:] > 0)
    return (labels > 0).sum(1) + repeats.sum(1) <= samples


def reading_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """CTC loss of each word, in nats per character.

    Args:
        logits: (A, K, classes).
        labels: (A, L), all of which fit.

    Returns:
        (A,), float32.
    """
    lengths = (labels > 0).sum(1)
    samples = torch.full_like(lengths, logits.shape[1])
    log_probs = logits.float().log_softmax(-1).transpose(0, 1)
    loss = F.ctc_loss(log_probs, labels, samples, lengths, reduction="none", zero_infinity=True)
    return loss / lengths.clamp(min=1)


@dataclass(frozen=True)
class CTCOutput:
    """Greedy decoding of the samples.

    Attributes:
        labels: (A, K), padded with 0.
        probabilities: (A, K) of the labels, padded with 0.
        scores: (A,) geometric mean of the probabilities, 0 for words without a character.
        first: (A,) first sample that is not blank; 0 if all are.
        last: (A,) last sample that is not blank; K - 1 if all are blank.
    """

    labels: Tensor
    probabilities: Tensor
    scores: Tensor
    first: Tensor
    last: Tensor


def read_greedily(logits: Tensor) -> CTCOutput:
    """The most probable class of each sample, repetitions and blanks removed."""
    probs, best = logits.float().softmax(-1).max(-1)
    before = F.pad(best, (1, 0))[:, :-1]
    kept = (best > 0) & (best != before)
    place = torch.where(kept, kept.cumsum(1) - 1, best.shape[1])
    labels = best.new_zeros(len(best), best.shape[1] + 1).scatter_(1, place, best)[:, :-1]
    chances = probs.new_zeros(labels.shape[0], labels.shape[1] + 1)
    chances = chances.scatter_(1, place, probs)[:, :-1]
    count = kept.sum(1)
    total = torch.where(kept, probs.log(), 0.0).sum(1)
    scores = torch.where(count > 0, (total / count.clamp(min=1)).exp(), 0.0)
    number = torch.arange(best.shape[1], device=best.device)
    written = best > 0
    first = torch.where(written, number, best.shape[1]).amin(1)
    last = torch.where(written, number, -1).amax(1)
    nothing = ~written.any(1)
    return CTCOutput(
        labels,
        chances,
        scores,
        first.masked_fill(nothing, 0),
        last.masked_fill(nothing, best.shape[1] - 1),
    )
