"""The exported spotter: from an image to its words.

Letters: A anchors, K sampling points of an anchor, H x W cells. Points inside the model are (x, y)
in cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .model import OnnxModel, scale_image, window_maximum

# What describes the words, beside their texts.
WORD_FIELDS = ("points", "polylines", "scores", "det_scores", "rec_scores")
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
        pixels = self._pixels(image)
        parts = [
            self._read(scale_image(pixels, factor), pixels.shape[:2])
            for factor in self.settings["scales"]
        ]
        level = np.repeat(np.arange(len(parts)), [len(part["texts"]) for part in parts])
        texts = [text for part in parts for text in part["texts"]]
        words = {name: np.concatenate([part[name] for part in parts]) for name in WORD_FIELDS}
        least = self.settings["threshold"] if threshold is None else threshold
        chosen = _without_duplicates(words, texts, level)
        chosen = [i for i in chosen if words["scores"][i] >= least]
        found = {name: values[chosen] for name, values in words.items()}
        scale = np.array(image.shape[1::-1]) / pixels.shape[1::-1] * self.settings["stride"]
        found["points"] = np.clip(found["points"] * scale, 0, image.shape[1::-1])
        found["polylines"] = found["polylines"] * scale
        return {"texts": [texts[i] for i in chosen], **found}

    def _read(self, pixels: np.ndarray, size: tuple[int, ...]) -> dict[str, Any]:
        """Words of an image at one scale, with duplicates, in cells of the image of `size`."""
        padded, valid = self._prepare(pixels)
        feature, confidence = self._run("map", image=padded)
        cells, sure = self._anchors(confidence[0] * valid[0])
        count = self.settings["num_points"]
        if not len(cells):  # graphs cannot reshape empty tensors
            shapes = {"points": (0, 2), "polylines": (0, count, 2)}
            none = {n: np.zeros(shapes.get(n, 0), np.float32) for n in WORD_FIELDS}
            return {"texts": [], **none}
        lines, best, chance = self._run("reading", feature=feature, cells=cells)
        kept = (best > 0) & (best != np.pad(best, ((0, 0), (1, 0)))[:, :-1])
        log = np.where(kept, np.log(chance, where=chance > 0, out=np.zeros_like(chance)), 0)
        length = kept.sum(1)
        read = np.where(length > 0, np.exp(log.sum(1) / np.maximum(length, 1)), 0)
        scores = np.sqrt(sure * read)
        good = np.flatnonzero(scores > self.settings["min_score"])
        number, written = np.arange(count), best > 0
        first = np.where(written, number, count).min(1)
        last = np.where(written, number, -1).max(1)
        lines = _cut(lines[good], first[good], last[good])
        points = cells[good] + np.float32(0.5)
        if self.settings["point"] == "line":
            half = np.full(len(good), (count - 1) / 2)
            points = _cut(lines, half, half)[:, 0]
        grow = np.array([size[1] / pixels.shape[1], size[0] / pixels.shape[0]], np.float32)
        letters = self.settings["characters"]
        return {
            "texts": ["".join(letters[c - 1] for c in best[i][kept[i]]) for i in good],
            "points": points * grow,
            "polylines": lines * grow,
            "scores": scores[good],
            "det_scores": sure[good],
            "rec_scores": read[good],
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
    words: dict[str, np.ndarray], texts: Sequence[str], level: np.ndarray
) -> list[int]:
    """Words to keep, by falling score: of two that lie on each other, the one of higher score.

    Args:
        words: `WORD_FIELDS`.
        texts: of the words.
        level: number of the scale of each word.
    """
    lines, scores, sure = words["polylines"], words["scores"], words["det_scores"]
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
        if level[best] != level[other]:
            return True
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
