"""Very large images in overlapping tiles, and their words put together again.

Everything is in pixels of the image that is cut up. Points are (x, y), sizes (height, width).
Letters: T tiles, W words of all tiles, K points of a word's line.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from rapidfuzz import fuzz

from ..stage2.suppression import SAME_LINE

# Tiles start at multiples of this, so that every cell of a network of this stride or less covers
# the same pixels as in the whole image.
STEP = 32
# Least width of a character in pixels, for words too short to measure it.
_LEAST_CHARACTER = 8.0
# How well, of 100, a cut word must fit somewhere into the whole one.
_PART_RATIO = 75.0


@dataclass(frozen=True)
class Tile:
    """A rectangle of whole pixels; right and bottom lie outside."""

    left: int
    top: int
    right: int
    bottom: int


@dataclass(frozen=True)
class Tiling:
    """How large images are cut up.

    Attributes:
        side: largest side of a tile, rounded down to a multiple of `STEP`; at the right and the
            bottom of the image less than `STEP` pixels may be added.
        overlap: that neighbouring tiles have at least, rounded down likewise. A word, and some
            space around it, must fit into it to be read whole wherever it lies.

    Raises:
        ValueError: if the overlap is below `STEP` or above half the side.
    """

    side: int = 2048
    overlap: int = 512

    def __post_init__(self) -> None:
        for name in ("side", "overlap"):
            object.__setattr__(self, name, getattr(self, name) // STEP * STEP)
        if not STEP <= self.overlap <= self.side // 2:
            raise ValueError(
                f"tiles of {self.side} pixels with an overlap of {self.overlap}: the overlap must "
                f"be {STEP} pixels or more, and half a tile or less"
            )

    def split(self, size: tuple[int, int]) -> list[Tile]:
        """Tiles that cover an image of a (height, width), row by row; one if it is small enough."""
        rows, columns = (self._spans(length) for length in size)
        return [Tile(left, top, right, bottom) for top, bottom in rows for left, right in columns]

    def _spans(self, length: int) -> list[tuple[int, int]]:
        """Starts and ends along one side, evenly spread, as short as their number allows."""
        even = length // STEP * STEP
        if even <= self.side:
            return [(0, length)]
        count = -(-(even - self.overlap) // (self.side - self.overlap))
        span = -(-(even + (count - 1) * self.overlap) // (count * STEP)) * STEP
        starts = [i * (even - span) // (count - 1) // STEP * STEP for i in range(count)]
        return [(start, start + span) for start in starts[:-1]] + [(starts[-1], length)]


@dataclass(frozen=True, eq=False)
class TileWords:
    """Words that were found in tiles.

    Attributes:
        tiles: T tiles.
        size: (height, width) of the image.
        owner: (W,) the tile that each word was found in.
        texts: W strings.
        points: (W, 2).
        scores: (W,).
        polylines: (W, K, 2) lines through the words; None if the model gives none.
    """

    tiles: list[Tile]
    size: tuple[int, int]
    owner: np.ndarray
    texts: list[str]
    points: np.ndarray
    scores: np.ndarray
    polylines: np.ndarray | None

    def distinct(self, overlap: int) -> np.ndarray:
        """The words to keep: each only once, and from the tile that sees most around it.

        1. A word's depth is the least distance of its line, or without lines of its point, from
           the borders between tiles, but at most half the overlap.
        2. Words are taken the deepest first, then by score, so that a word that a border cuts comes
           after the whole one of the tile beyond. A word is dropped if it is the same as one taken
           before, of another tile that also holds its point.
        3. With lines, words are the same if one line keeps close to the other, whatever was read.
        4. Without, their points must be less than half the overlap apart. Words as deep as can be
           are whole: they must have equal texts, each point must lie in both tiles, and a word is
           the same as one of each other tile only. The text of any other may be a part.

        Args:
            overlap: of the tiles, see `Tiling`.

        Returns:
            Indices of the words, ascending.
        """
        depth = np.minimum(self._clearance(), overlap / 2)
        seen = np.stack([_inside(tile, self.points) for tile in self.tiles])
        kept = np.zeros(len(self.texts), bool)
        taken: set[tuple[int, int]] = set()
        for word in np.lexsort((-self.scores, -depth)).tolist():
            tile = int(self.owner[word])
            others = kept & (self.owner != tile) & seen[self.owner, word]
            if self.polylines is not None:
                kept[word] = not self._on_one_line(word, np.flatnonzero(others))
                continue
            whole = depth[word] == overlap / 2
            if whole:
                others &= seen[tile]
            same = self._nearest_first(word, np.flatnonzero(others), overlap / 2, whole)
            if whole:
                same = [other for other in same if (other, tile) not in taken]
            kept[word] = not same
            taken.update((other, tile) for other in same[:1])
        return np.flatnonzero(kept)

    def _clearance(self) -> np.ndarray:
        """(W,) distance of each word from the nearest border between tiles; infinite without."""
        lines = self.points[:, None] if self.polylines is None else self.polylines
        height, width = self.size
        edges = np.array(
            [
                (
                    tile.left if tile.left > 0 else -np.inf,
                    tile.top if tile.top > 0 else -np.inf,
                    tile.right if tile.right < width else np.inf,
                    tile.bottom if tile.bottom < height else np.inf,
                )
                for tile in self.tiles
            ]
        )[self.owner]
        before = lines.min(axis=1) - edges[:, :2]
        behind = edges[:, 2:] - lines.max(axis=1)
        return np.minimum(before, behind).min(axis=1)

    def _on_one_line(self, word: int, others: np.ndarray) -> bool:
        """Whether the line of a word and that of any of some others are one."""
        assert self.polylines is not None
        line, lines = self.polylines[word], self.polylines[others]
        reach = np.array(
            [
                SAME_LINE * _character(own, self.texts[k])
                for own, k in zip(lines, others.tolist(), strict=True)
            ]
        ).reshape(-1, 1)
        # Boxes that keep apart spare most of the exact distances.
        near = (lines.min(axis=1) - reach < line.max(axis=0)).all(axis=1)
        near &= (lines.max(axis=1) + reach > line.min(axis=0)).all(axis=1)
        return any(_gap(lines[k], line) < reach[k, 0] for k in np.flatnonzero(near).tolist())

    def _nearest_first(self, word: int, others: np.ndarray, reach: float, whole: bool) -> list[int]:
        """Which of some words within reach read the same, or if not `whole` more, nearest first."""
        distance = np.linalg.norm(self.points[others] - self.points[word], axis=1)
        near = others[np.argsort(distance, kind="stable")][: int((distance < reach).sum())]
        text = self.texts[word]
        return [
            k
            for k in near.tolist()
            if self.texts[k] == text or (not whole and _is_part(text, self.texts[k]))
        ]


def _inside(tile: Tile, points: np.ndarray) -> np.ndarray:
    x, y = points.T
    return (x >= tile.left) & (x <= tile.right) & (y >= tile.top) & (y <= tile.bottom)


def _character(line: np.ndarray, text: str) -> float:
    """Width of a character of a word whose line (K, 2) runs from its first to its last."""
    length = float(np.linalg.norm(np.diff(line, axis=0), axis=1).sum())
    return max(length / max(len(text) - 1, 1), _LEAST_CHARACTER)


def _gap(one: np.ndarray, other: np.ndarray) -> float:
    """How far two lines (K, 2) keep apart, on the average over the one that keeps closer."""
    return min(_mean_distance(one, other), _mean_distance(other, one))


def _mean_distance(points: np.ndarray, line: np.ndarray) -> float:
    """Mean distance of points (M, 2) from a line (K, 2)."""
    if len(line) == 1:
        return float(np.linalg.norm(points - line, axis=1).mean())
    start, step = line[:-1], np.diff(line, axis=0)
    squares = np.maximum((step**2).sum(axis=1), np.finfo(np.float64).tiny)
    along = ((points[:, None] - start) * step).sum(axis=2) / squares
    nearest = start + np.clip(along, 0, 1)[..., None] * step
    return float(np.linalg.norm(points[:, None] - nearest, axis=2).min(axis=1).mean())


def _is_part(text: str, whole: str) -> bool:
    return len(text) <= len(whole) and fuzz.partial_ratio(text, whole) >= _PART_RATIO
