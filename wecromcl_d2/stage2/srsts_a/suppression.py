"""Which of several readings of one word stays.

Letters: A words of all images, K sampling points; lengths are in cells.
"""

from collections.abc import Sequence

import torch
from rapidfuzz.distance import Levenshtein
from torch import Tensor

# Two lines lie on one word if they are closer than this share of a character's width.
NEAR = 0.75
# Of two readings of one word that differ by more than this share of their characters, the weaker
# one goes only if it is less than half as sure.
DIFFERENT = 0.5
WEAK = 0.5


def trimmed_lines(lines: Tensor, first: Tensor, last: Tensor) -> Tensor:
    """Lines (A, K, 2) from their first to their last written sample, again with K points."""
    steps = torch.linspace(0, 1, lines.shape[1], device=lines.device)
    place = first[:, None] + (last - first)[:, None] * steps
    low = place.floor().long().clamp(max=lines.shape[1] - 2)
    share = (place - low)[..., None]
    row = torch.arange(len(lines), device=lines.device)[:, None]
    return lines[row, low] * (1 - share) + lines[row, low + 1] * share


def line_lengths(lines: Tensor) -> Tensor:
    """(A,) lengths of lines (A, K, 2)."""
    return (lines[:, 1:] - lines[:, :-1]).norm(dim=-1).sum(1)


def line_nms(
    image: Tensor, lines: Tensor, texts: Sequence[str], scores: Tensor, confidence: Tensor
) -> Tensor:
    """Indices of the words that stay, in their given order.

    Of two words of one image whose lines lie on each other, the one with the lower score goes if
    the texts are alike or its confidence is less than half of the other's.

    Args:
        image: (A,) image of each word.
        lines: (A, K, 2) trimmed lines.
        texts: A texts, none of them empty.
        scores: (A,).
        confidence: (A,).
    """
    length = line_lengths(lines)
    width = length / torch.tensor([len(text) for text in texts], device=lines.device)
    first, second = _close_pairs(image, lines, length, width)
    ahead = torch.cdist(lines[first], lines[second])
    reach = torch.minimum(
        ahead.amin(2).mean(1) / width[first], ahead.amin(1).mean(1) / width[second]
    )
    near = reach < NEAR
    pairs = torch.stack([first, second], 1)[near].tolist()
    score, sure = scores.tolist(), confidence.tolist()
    rivals: dict[int, list[int]] = {}
    for a, b in pairs:
        rivals.setdefault(a, []).append(b)
        rivals.setdefault(b, []).append(a)
    gone: set[int] = set()
    for best in sorted(range(len(texts)), key=lambda i: -score[i]):
        if best in gone:
            continue
        for other in rivals.get(best, ()):
            if (score[other], -other) < (score[best], -best) and (
                _alike(texts[best], texts[other]) or sure[other] < WEAK * sure[best]
            ):
                gone.add(other)
    kept = [i for i in range(len(texts)) if i not in gone]
    return torch.tensor(kept, dtype=torch.int64, device=lines.device)


def _close_pairs(
    image: Tensor, lines: Tensor, length: Tensor, width: Tensor
) -> tuple[Tensor, Tensor]:
    """Pairs of words, the first one earlier, that can lie on each other."""
    middle = lines.mean(1)
    apart = torch.cdist(middle, middle)
    reach = length / 2 + NEAR * width
    possible = (image[:, None] == image) & (apart <= reach[:, None] + reach)
    first, second = possible.triu(1).nonzero(as_tuple=True)
    return first, second


def _alike(a: str, b: str) -> bool:
    return Levenshtein.distance(a, b) <= DIFFERENT * max(len(a), len(b))
