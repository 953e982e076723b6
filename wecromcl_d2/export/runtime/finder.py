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
        candidates: (Q, P) similarities of the surroundings of the P strongest peaks, or None.
        size: width and height of the image at this scale, in cells.
    """

    maps: np.ndarray
    similarity: np.ndarray
    candidates: np.ndarray | None
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
        maps, similarity, feature = self._run(
            "maps", image=padded, valid=valid, queries=queries, texts=texts
        )
        stride, (height, width) = self.settings["stride"], pixels.shape[:2]
        maps = maps[:, : -(-height // stride), : -(-width // stride)]
        candidates = None
        if self.settings["peak_candidates"] > 1:
            candidates = self._compare_peaks(maps, feature[0], texts)
            similarity = candidates.max(1)
        return Scale(maps, similarity, candidates, np.array([width / stride, height / stride]))

    def _compare_peaks(
        self, maps: np.ndarray, feature: np.ndarray, texts: np.ndarray
    ) -> np.ndarray:
        """Similarities (Q, P) of words and the surroundings of their maps' strongest peaks."""
        number, window = self.settings["peak_candidates"], self.settings["peak_window"]
        points, scores = self._strongest(maps, number)
        share = _windows(maps, points, window)
        share /= np.maximum(share.sum((-2, -1), keepdims=True), np.finfo(maps.dtype).tiny)
        seen = feature[:, : maps.shape[1], : maps.shape[2]]
        rows, columns = _window_cells(points, window)
        values = _bordered(seen, window)[:, rows, columns]
        pooled = (share * values).sum((-2, -1)).reshape(len(feature), -1).T
        (similarity,) = self._run("windows", pooled=pooled, texts=texts.repeat(number, 0))
        return np.where(scores > 0, similarity.reshape(scores.shape), np.float32(-1))

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
        found = [self._ranked(scale, count) for scale in scales]
        points, scores, worth = (np.stack(values)[best, row] for values in zip(*found, strict=True))
        if distance:
            places = points * (size[0] / size)[best][:, None]
            ranks = _distinct(places, worth, keys, distance)
        shares = points[row, ranks].astype(np.float64) / size[best]
        return shares, scores[row, ranks], best

    def _ranked(self, scale: Scale, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Points in cells (Q, P, 2), values (Q, P) and worth (Q, P) of peaks, best first.

        Peaks of maps of different sizes compare by their height over a flat map, candidates by
        their similarity, which comes first.
        """
        number = 0 if scale.candidates is None else scale.candidates.shape[1]
        points, scores = self._strongest(scale.maps, max(count, number))
        if self.settings["anchor"] == "mean":
            points = _centroids(scale.maps, points, self.settings["peak_window"])
        contrast = scores.astype(np.float64) * scale.maps[0].size
        if scale.candidates is None:
            return points, scores, contrast
        worth = contrast / (1 + contrast)
        worth[:, :number] = np.where(scores[:, :number] > 0, 2.0 + scale.candidates, 0)
        order = np.argsort(-worth, axis=1, kind="stable")[:, :count]
        points = np.take_along_axis(points, order[..., None], 1)
        return points, np.take_along_axis(scores, order, 1), np.take_along_axis(worth, order, 1)

    def _strongest(self, maps: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Cell centers (Q, P, 2) and values (Q, P) of the strongest peaks."""
        window = self.settings["peak_window"]
        points, scores = _find_peaks(maps, count, window, self.settings["peak_ties"] == "first")
        missing = count - scores.shape[1]  # of a map of few cells
        if missing > 0:
            points = np.concatenate([points, points[:, :1].repeat(missing, 1)], 1)
            scores = np.pad(scores, ((0, 0), (0, missing)))
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
    share = _windows(maps, points, window)
    offset = (np.arange(window) - window // 2).astype(maps.dtype)
    moved = np.stack([share.sum(-2) @ offset, share.sum(-1) @ offset], -1)
    total = np.maximum(share.sum((-2, -1)), np.finfo(maps.dtype).tiny)
    return points + moved / total[..., None]


def _windows(maps: np.ndarray, points: np.ndarray, window: int) -> np.ndarray:
    """The maps' values (Q, P, window, window) around peaks (Q, P, 2), zero outside of the maps."""
    rows, columns = _window_cells(points, window)
    return _bordered(maps, window)[np.arange(len(maps))[:, None, None, None], rows, columns]


def _bordered(maps: np.ndarray, window: int) -> np.ndarray:
    """Maps (.., H, W) with zeros around them, as far as a window reaches."""
    reach = window // 2
    return np.pad(maps, ((0, 0), (reach, reach), (reach, reach)))


def _window_cells(points: np.ndarray, window: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the windows around points, in maps with such a border."""
    cells, steps = (points - 0.5).astype(int), np.arange(window)
    rows = (cells[..., 1, None] + steps)[..., :, None]
    return rows, (cells[..., 0, None] + steps)[..., None, :]


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
