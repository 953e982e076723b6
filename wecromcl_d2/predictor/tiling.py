"""Tiles of very large images, and the removal of words that were found in several tiles.

Coordinates are pixels of the image that is tiled. Points are (x, y), sizes (height, width).
Letters: T tiles, W words of all tiles, K points of a word's line.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from rapidfuzz import fuzz

from ..stage2.suppression import SAME_LINE

# Tiles start at multiples of this: then the cells of a feature map of stride 32, 16, 8 or 4 cover
# the same pixels as in the whole image.
STEP = 32
# Least width of a character in pixels, for words too short to measure it.
_LEAST_CHARACTER = 8.0
# Least `partial_ratio`, of 100, at which a text counts as a part of another.
_PART_RATIO = 75.0


@dataclass(frozen=True)
class Tile:
    """A rectangle of whole pixels; right and bottom are exclusive."""

    left: int
    top: int
    right: int
    bottom: int


@dataclass(frozen=True)
class Tiling:
    """Size and overlap of tiles.

    Attributes:
        side: largest side of a tile, rounded down to a multiple of `STEP`; at the right and the
            bottom of the image less than `STEP` pixels may be added.
        overlap: least overlap of neighbouring tiles, rounded down likewise. A word that fits into
            it with some space around it is whole in at least one tile.

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
        """Starts and ends of tiles along one side: as few as possible, evenly spread."""
        even = length // STEP * STEP
        if even <= self.side:
            return [(0, length)]
        count = -(-(even - self.overlap) // (self.side - self.overlap))
        span = -(-(even + (count - 1) * self.overlap) // (count * STEP)) * STEP
        starts = [i * (even - span) // (count - 1) // STEP * STEP for i in range(count)]
        return [(start, start + span) for start in starts[:-1]] + [(starts[-1], length)]


@dataclass(frozen=True, eq=False)
class TileWords:
    """Words found in the tiles of one image.

    Attributes:
        tiles: T tiles.
        size: (height, width) of the image.
        owner: (W,) index of the tile in which each word was found.
        texts: W strings.
        points: (W, 2).
        scores: (W,).
        polylines: (W, K, 2) lines through the words; None for a model without lines.
    """

    tiles: list[Tile]
    size: tuple[int, int]
    owner: np.ndarray
    texts: list[str]
    points: np.ndarray
    scores: np.ndarray
    polylines: np.ndarray | None

    def distinct(self, overlap: int) -> np.ndarray:
        """The words to keep: of duplicates the one farthest from the borders of its tile.

        1. The depth of a word is the distance of its line, or without lines of its point, from the
           nearest border between tiles, but at most half the overlap.
        2. Words are visited by falling depth, then by falling score, so that a word cut by a border
           comes after the whole word of the next tile. A word is dropped if it duplicates a word
           already kept that was found in another tile which contains the point of this word.
        3. With lines, two words are duplicates if one line stays close to the other; the texts do
           not matter.
        4. Without lines, two words are duplicates if their points are less than half the overlap
           apart and the texts fit. A word of the largest depth is whole: its text must be equal,
           each of the two points must lie in both tiles, and a kept word has at most one duplicate
           per tile. The text of a word of less depth may also be a part of the kept one's.

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
        """(W,) distance of each word from the nearest border between tiles, or infinite."""
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
        """Whether the line of a word duplicates the line of one of `others`."""
        assert self.polylines is not None
        line, lines = self.polylines[word], self.polylines[others]
        reach = np.array(
            [
                SAME_LINE * _character(own, self.texts[k])
                for own, k in zip(lines, others.tolist(), strict=True)
            ]
        ).reshape(-1, 1)
        # Exact distances only where the lines' boxes are close.
        near = (lines.min(axis=1) - reach < line.max(axis=0)).all(axis=1)
        near &= (lines.max(axis=1) + reach > line.min(axis=0)).all(axis=1)
        return any(_gap(lines[k], line) < reach[k, 0] for k in np.flatnonzero(near).tolist())

    def _nearest_first(self, word: int, others: np.ndarray, reach: float, whole: bool) -> list[int]:
        """Those of `others` within reach whose text fits, nearest first.

        The texts must be equal; unless `whole`, the word's text may be a part of the other.
        """
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
    """Width of a character of a word whose line (K, 2) runs from the first to the last one."""
    length = float(np.linalg.norm(np.diff(line, axis=0), axis=1).sum())
    return max(length / max(len(text) - 1, 1), _LEAST_CHARACTER)


def _gap(one: np.ndarray, other: np.ndarray) -> float:
    """Distance of two lines (K, 2): the smaller of the mean distances from one to the other."""
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
