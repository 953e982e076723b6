"""Non-maximum suppression of predicted words, by their lines or by their points.

Letters: A words of all images, N words of one image, K points of a line. `line_nms` measures in
widths of a character, so lines may be in any unit.
"""

from collections.abc import Callable, Iterable, Sequence

import torch
from rapidfuzz.distance import Levenshtein
from torch import Tensor

# Two lines closer than this share of a character's width lie on the same word.
SAME_LINE = 0.75
# If two texts differ by more than this share of their characters, the one of lower score is dropped
# only if its confidence is below `WEAK` times the other's.
DIFFERENT = 0.5
WEAK = 0.5


def greedy_nms(
    scores: Sequence[float],
    pairs: Iterable[tuple[int, int]],
    drops: Callable[[int, int], bool],
) -> list[int]:
    """Visit words by falling score; each one that is still kept drops its duplicates.

    Args:
        scores: of the words; of equal scores the earlier word comes first.
        pairs: indices of words that lie on each other, each pair once, in any order.
        drops: given a kept word and a word of lower score that lies on it, whether the latter is a
            duplicate.

    Returns:
        Indices of the words that are kept, ascending.
    """
    neighbors: dict[int, list[int]] = {}
    for a, b in pairs:
        neighbors.setdefault(a, []).append(b)
        neighbors.setdefault(b, []).append(a)
    dropped: set[int] = set()
    for best in sorted(range(len(scores)), key=lambda i: -scores[i]):
        if best in dropped:
            continue
        for other in neighbors.get(best, ()):
            if (scores[other], -other) < (scores[best], -best) and drops(best, other):
                dropped.add(other)
    return [i for i in range(len(scores)) if i not in dropped]


def point_nms(points: Tensor, texts: Sequence[str], scores: Tensor, distance: float) -> Tensor:
    """Words to keep: of equal texts closer than `distance`, the one of highest score.

    Args:
        points: (N, 2).
        texts: N texts.
        scores: (N,).
        distance: in the unit of the points.

    Returns:
        Indices, ascending.
    """
    gaps = torch.linalg.vector_norm(points[:, None] - points, dim=-1)
    pairs = (gaps < distance).triu(1).nonzero().tolist()
    kept = greedy_nms(scores.tolist(), pairs, lambda best, other: texts[best] == texts[other])
    return torch.tensor(kept, dtype=torch.int64, device=points.device)


def trimmed_lines(lines: Tensor, first: Tensor, last: Tensor) -> Tensor:
    """Cut lines (A, K, 2) to first..last (A,), sample numbers; resample them to K points."""
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
    image: Tensor,
    scale: Tensor,
    lines: Tensor,
    texts: Sequence[str],
    scores: Tensor,
    confidence: Tensor,
) -> Tensor:
    """Words to keep: of two that lie on each other, the one of higher score.

    The other is dropped if it was read at another scale, if the texts are alike or if its
    confidence is below half of the kept one's.

    Args:
        image: (A,) image of each word.
        scale: (A,) number of the scale that each word was read at.
        lines: (A, K, 2) trimmed lines.
        texts: A texts, none of them empty.
        scores: (A,).
        confidence: (A,).

    Returns:
        Indices, ascending.
    """
    length = line_lengths(lines)
    width = length / torch.tensor([len(text) for text in texts], device=lines.device)
    first, second = _close_pairs(image, lines, length, width)
    distance = torch.cdist(lines[first], lines[second])
    reach = torch.minimum(
        distance.amin(2).mean(1) / width[first], distance.amin(1).mean(1) / width[second]
    )
    pairs = torch.stack([first, second], 1)[reach < SAME_LINE].tolist()
    sure, level = confidence.tolist(), scale.tolist()

    def drops(best: int, other: int) -> bool:
        a, b = texts[best], texts[other]
        is_alike = Levenshtein.distance(a, b) <= DIFFERENT * max(len(a), len(b))
        return level[best] != level[other] or is_alike or sure[other] < WEAK * sure[best]

    kept = greedy_nms(scores.tolist(), pairs, drops)
    return torch.tensor(kept, dtype=torch.int64, device=lines.device)


def _close_pairs(
    image: Tensor, lines: Tensor, length: Tensor, width: Tensor
) -> tuple[Tensor, Tensor]:
    """Pairs of words of one image, the first one earlier, whose lines may be close enough."""
    center = lines.mean(1)
    distance = torch.cdist(center, center)
    reach = length / 2 + SAME_LINE * width
    possible = (image[:, None] == image) & (distance <= reach[:, None] + reach)
    first, second = possible.triu(1).nonzero(as_tuple=True)
    return first, second
