"""The exported spotter: from an image to its words.

Letters: A anchors, K sampling points of an anchor, H x W cells. Points inside the model are (x, y)
in cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .model import OnnxModel, window_maximum

# Lines closer than this share of a character's width lie on one word.
SAME_LINE = 0.75
# Of two such words the one of lower score stays only if more than this share of the characters
# differs, and its confidence is not below `WEAK` times the other's.
DIFFERENT = 0.5
WEAK = 0.5


class OnnxSpotter(OnnxModel):
    """Words of an image, as `wecromcl_d2.predictor.Spotter` reads them, without tiles."""

    task = "spotting"

    def __call__(self, image: np.ndarray, threshold: float | None = None) -> dict[str, Any]:
        """Find and read words.

        Args:
            image: (H, W, 3) uint8 RGB.
            threshold: least score of a word; by default that of the config.

        Returns:
            `texts`, and for each of them, best first, `points` (A, 2), `polylines` (A, K, 2),
            `scores`, `det_scores` and `rec_scores` (A,).
        """
        pixels, valid, size = self._prepare(image)
        feature, confidence = self._run("map", image=pixels)
        cells, sure = self._anchors(confidence[0] * valid[0])
        if not len(cells):  # graphs cannot reshape empty tensors
            none, points = np.zeros(0), np.zeros((0, 2))
            empty = dict.fromkeys(("scores", "det_scores", "rec_scores"), none)
            return empty | {"texts": [], "points": points, "polylines": np.zeros((0, 0, 2))}
        lines, best, chance = self._run("reading", feature=feature, cells=cells)
        kept = (best > 0) & (best != np.pad(best, ((0, 0), (1, 0)))[:, :-1])
        log = np.where(kept, np.log(chance, where=chance > 0, out=np.zeros_like(chance)), 0)
        count = kept.sum(1)
        read = np.where(count > 0, np.exp(log.sum(1) / np.maximum(count, 1)), 0)
        scores = np.sqrt(sure * read)
        least = self.settings["threshold"] if threshold is None else threshold
        good = np.flatnonzero(scores > self.settings["min_score"])
        number, written = np.arange(best.shape[1]), best > 0
        first = np.where(written, number, best.shape[1]).min(1)
        last = np.where(written, number, -1).max(1)
        lines = _cut(lines[good], first[good], last[good])
        points = cells[good] + np.float32(0.5)
        if self.settings["point"] == "line":
            half = np.full(len(good), (best.shape[1] - 1) / 2)
            points = _cut(lines, half, half)[:, 0]
        letters = self.settings["characters"]
        texts = ["".join(letters[c - 1] for c in best[i][kept[i]]) for i in good]
        chosen = _without_duplicates(lines, texts, scores[good], sure[good])
        chosen = [i for i in chosen if scores[good[i]] >= least]
        scale = np.array([image.shape[1] / size[1], image.shape[0] / size[0]])
        scale = scale * self.settings["stride"]
        own = good[chosen]
        return {
            "texts": [texts[i] for i in chosen],
            "points": np.clip(points[chosen] * scale, 0, image.shape[1::-1]),
            "polylines": lines[chosen] * scale,
            "scores": scores[own],
            "det_scores": sure[own],
            "rec_scores": read[own],
        }

    def _anchors(self, confidence: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Cells (A, 2), int64, and values (A,) of the local maxima of a map (H, W)."""
        strength = np.where(confidence == window_maximum(confidence, 3), confidence, 0).ravel()
        places = np.flatnonzero(strength > self.settings["min_confidence"])
        places = places[np.argsort(-strength[places], kind="stable")]
        places = places[: self.settings["max_anchors"]].astype(np.int64)
        width = confidence.shape[1]
        return np.stack([places % width, places // width], 1), strength[places]


def _cut(lines: np.ndarray, first: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Lines (A, K, 2) from sample `first` to `last` (A,), again of K points."""
    count = lines.shape[1]
    place = first[:, None] + (last - first)[:, None] * np.linspace(0, 1, count, dtype=np.float32)
    low = np.clip(np.floor(place).astype(int), 0, count - 2)
    share = (place - low)[..., None].astype(np.float32)
    row = np.arange(len(lines))[:, None]
    return lines[row, low] * (1 - share) + lines[row, low + 1] * share


def _without_duplicates(
    lines: np.ndarray, texts: Sequence[str], scores: np.ndarray, sure: np.ndarray
) -> list[int]:
    """Words to keep, by falling score: of two that lie on each other, the one of higher score."""
    length = np.linalg.norm(np.diff(lines, axis=1), axis=2).sum(1)
    width = length / np.array([len(text) for text in texts])
    centers, reach = lines.mean(1), length / 2 + SAME_LINE * width

    def drops(best: int, other: int) -> bool:
        if np.linalg.norm(centers[best] - centers[other]) > reach[best] + reach[other]:
            return False
        gaps = np.linalg.norm(lines[best][:, None] - lines[other], axis=2)
        with np.errstate(divide="ignore", invalid="ignore"):
            own = gaps.min(1).mean() / width[best], gaps.min(0).mean() / width[other]
        if not np.minimum(*own) < SAME_LINE:
            return False
        longest = max(len(texts[best]), len(texts[other]))
        alike = _edit_distance(texts[best], texts[other]) <= DIFFERENT * longest
        return alike or bool(sure[other] < WEAK * sure[best])

    kept: list[int] = []
    for word in np.argsort(-scores, kind="stable").tolist():
        if not any(drops(better, word) for better in kept):
            kept.append(word)
    return kept


def _edit_distance(one: str, other: str) -> int:
    """Least number of insertions, deletions and substitutions between two texts."""
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, start=1):
        before, row[0] = row[0], i
        for j, b in enumerate(other, start=1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (a != b))
    return row[-1]
