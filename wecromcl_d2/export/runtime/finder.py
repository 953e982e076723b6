"""The exported anchor detector: from an image and its words to the points of the words.

Letters: Q words, P peaks of a map, H x W cells. Points inside the model are (x, y) in cells.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .model import OnnxModel, resize_maps, scale_image, window_maximum

# Further peaks of each word, for words that need a place of their own.
SPARE_PEAKS = 5


@dataclass(frozen=True)
class Scale:
    """Words in an image at one scale.

    Attributes:
        maps: (Q, H, W).
        similarity: (Q,).
        size: width and height of the image at this scale, in cells.
    """

    maps: np.ndarray
    similarity: np.ndarray
    size: np.ndarray

    def on_grid(self, other: Scale, word: int) -> np.ndarray:
        """The map of a word on the grid of another scale's maps."""
        own, grid = self.maps[word : word + 1], other.maps.shape[1:]
        if own.shape[1:] == grid:
            return own[0]
        return resize_maps(own, grid)[0] * (own.size / (grid[0] * grid[1]))


class OnnxAnchorFinder(OnnxModel):
    """Anchors of given words, as `wecromcl_d2.predictor.AnchorFinder` finds them."""

    task = "anchors"

    def __call__(self, image: np.ndarray, words: Sequence[str]) -> dict[str, Any]:
        """Find words.

        Args:
            image: (H, W, 3) uint8 RGB.
            words: of the image; those without a character of the alphabet are left out.

        Returns:
            `words`, and for each of them `points` (Q, 2), `scores` (Q,), `similarity` (Q,) and
            `maps` (Q, H, W).
        """
        keys = {word: self._key(word) for word in words}
        given = [word for word in words if keys[word]]
        if not given:
            none = np.zeros(0, np.float32)
            empty = {"words": [], "points": np.zeros((0, 2)), "maps": np.zeros((0, 0, 0))}
            return empty | {"scores": none, "similarity": none}
        own = [keys[word] for word in given]
        queries, texts = self._run("words", labels=self._labels(own))
        pixels = self._pixels(image)
        scales = [
            self._activate(scale_image(pixels, factor), queries, texts)
            for factor in self.settings["scales"]
        ]
        points, scores, best = self._decode(scales, own)
        maps = np.stack([scales[k].on_grid(scales[0], q) for q, k in enumerate(best)])
        return {
            "words": given,
            "points": np.minimum(points * image.shape[1::-1], image.shape[1::-1]),
            "scores": scores,
            "similarity": np.stack([scale.similarity for scale in scales])[best, range(len(own))],
            "maps": maps,
        }

    def _activate(self, pixels: np.ndarray, queries: np.ndarray, texts: np.ndarray) -> Scale:
        """The words in an image at one scale."""
        padded, valid = self._prepare(pixels)
        maps, similarity = self._run(
            "maps", image=padded, valid=valid, queries=queries, texts=texts
        )
        stride, (height, width) = self.settings["stride"], pixels.shape[:2]
        maps = maps[:, : -(-height // stride), : -(-width // stride)]
        return Scale(maps, similarity, np.array([width / stride, height / stride]))

    def _key(self, word: str) -> str:
        """The word as the model reads it."""
        folded = unicodedata.normalize("NFC", word)
        if self.settings["case_fold"]:
            folded = unicodedata.normalize("NFC", folded.casefold())
        known = self.settings["characters"]
        return "".join(c for c in folded if c in known)[: self.settings["max_length"]]

    def _labels(self, keys: Sequence[str]) -> np.ndarray:
        labels = np.zeros((len(keys), self.settings["max_length"]), np.int64)
        for row, key in zip(labels, keys, strict=True):
            row[: len(key)] = [1 + self.settings["characters"].index(c) for c in key]
        return labels

    def _decode(
        self, scales: Sequence[Scale], keys: Sequence[str]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Points (Q, 2) as shares of the image's sides, values and scales (Q,) of the anchors.

        Each word has its anchor from the scale at which it is most similar.
        """
        best = np.stack([scale.similarity for scale in scales]).argmax(0)
        row, size = np.arange(len(keys)), np.stack([scale.size for scale in scales])
        ranks = [keys[:i].count(key) for i, key in enumerate(keys)]
        distance = self.settings["anchor_distance"]
        count = max(ranks) + 1 + (SPARE_PEAKS if distance else 0)
        found = [self._peaks(scale.maps, count) for scale in scales]
        points, scores = (np.stack(values)[best, row] for values in zip(*found, strict=True))
        # Peaks of maps of different sizes compare by their height over a flat map.
        cells = np.array([scale.maps[0].size for scale in scales])[best, None]
        if distance:
            places = points * (size[0] / size)[best][:, None]
            ranks = _distinct(places, scores.astype(np.float64) * cells, keys, distance)
        shares = points[row, ranks].astype(np.float64) / size[best]
        return shares, scores[row, ranks], best

    def _peaks(self, maps: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Points in cells (Q, P, 2) and values (Q, P) of the strongest peaks."""
        window = self.settings["peak_window"]
        points, scores = _find_peaks(maps, count, window, self.settings["peak_ties"] == "first")
        missing = count - scores.shape[1]  # of a map of few cells
        if missing > 0:
            points = np.concatenate([points, points[:, :1].repeat(missing, 1)], 1)
            scores = np.pad(scores, ((0, 0), (0, missing)))
        if self.settings["anchor"] == "mean":
            points = _centroids(maps, points, window)
        return points, scores


def _find_peaks(
    maps: np.ndarray, count: int, window: int, first: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Strongest local maxima of maps (Q, H, W): points (Q, P, 2), values (Q, P)."""
    number, height, width = maps.shape
    is_peak = maps == window_maximum(maps, window)
    if first:  # of equal cells in a window the first one
        order = np.arange(height * width, 0, -1).reshape(height, width) * is_peak
        is_peak &= order == window_maximum(order, window)
    values = np.where(is_peak, maps, 0).reshape(number, -1)
    count = min(count, values.shape[1])
    cells = np.argsort(-values, axis=1, kind="stable")[:, :count]
    scores = np.take_along_axis(values, cells, 1)
    if first:
        cells = np.where(scores > 0, cells, cells[:, :1])
    return np.stack([cells % width, cells // width], -1) + np.float32(0.5), scores


def _centroids(maps: np.ndarray, points: np.ndarray, window: int) -> np.ndarray:
    """Centroids of the maps' values in windows around peaks (Q, P, 2)."""
    reach, steps = window // 2, np.arange(window)
    cells = (points - 0.5).astype(int)
    rows = (cells[..., 1, None] + steps)[..., :, None]
    columns = (cells[..., 0, None] + steps)[..., None, :]
    around = np.pad(maps, ((0, 0), (reach, reach), (reach, reach)))
    share = around[np.arange(len(maps))[:, None, None, None], rows, columns]
    offset = (steps - reach).astype(maps.dtype)
    moved = np.stack([share.sum(-2) @ offset, share.sum(-1) @ offset], -1)
    total = np.maximum(share.sum((-2, -1)), np.finfo(maps.dtype).tiny)
    return points + moved / total[..., None]


def _distinct(
    points: np.ndarray, scores: np.ndarray, keys: Sequence[str], distance: float
) -> list[int]:
    """For each word the number of a peak that is far enough from those of the others, if any."""
    chosen: dict[int, int] = {}
    taken: list[np.ndarray] = []
    found = [(-float(scores[q, p]), keys[q], q, p) for q, p in np.argwhere(scores > 0).tolist()]
    for _, _, q, p in sorted(found):
        near = (math.dist(points[q, p], place) < distance for place in taken)
        if q not in chosen and not any(near):
            chosen[q] = p
            taken.append(points[q, p])
    return [chosen.get(q, 0) for q in range(len(keys))]
