"""Weights of anchors that are used as labels.

Stage 1 finds an anchor for every readable word, right or wrong. Two numbers tell them apart: the
score, the value of the map's peak, low where a word could be in several places, and the similarity
of region and text, low where the word was not recognised. Their scales depend on the number of
cells and on the training, so both are ranked within the whole dataset, and the confidence of an
anchor follows from its ranks. The weight of an anchor lies in 0 .. 1; 0 stands for "text known,
location unknown".

Letters: `P` anchors or words of one image. Points are (x, y) in pixels of the original image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

# Percentiles of all confidences up to which the weight is 0, and from which on it is 1. They are
# low, because most anchors of low confidence are right all the same, and their words hard to read.
PERCENTILES = (2.0, 15.0)
# Anchors of two different words closer than this, in pixels, collide: at most one can be right.
COLLISION_DISTANCE = 4.0
# Anchors of a lower weight are reported as doubtful.
LOW_WEIGHT = 0.5
WEIGHT_DECIMALS = 4

# Outcomes of a word. With an anchor: weight at least LOW_WEIGHT; lower weight; weight 0 by its
# confidence; weight 0 by a collision with an anchor of higher confidence. Without: the map has
# fewer peaks than the image has copies of the word; no character is in the charset; the word is
# ignored.
OUTCOMES = ("kept", "low_weight", "zero", "collision", "no_peak", "unreadable", "ignored")

Limits = tuple[float, float]
Point = list[float]


@dataclass(frozen=True)
class LabelledImage:
    """One image and the anchors of its `P` words.

    Attributes:
        record: dataset dict of the source, with its ground truth, if any.
        points: anchors, None for a word without one.
        scores: values of the maps' peaks, None for a word without anchor.
        similarity: cosine of region and text, None for a word that is not in `asked_words`.
        confidence: see `anchor_confidence`, None for a word without anchor.
        weights: in 0 .. 1.
        outcomes: one of `OUTCOMES` for each word.
    """

    record: dict[str, Any]
    points: list[Point | None]
    scores: list[float | None]
    similarity: list[float | None]
    confidence: list[float | None]
    weights: list[float]
    outcomes: list[str]

    def label(self, file_name: str) -> dict[str, Any]:
        """The record with found points in place of any given ones.

        Args:
            file_name: the image, relative to the image root of the new label file.
        """
        found = {
            "points": self.points,
            "point_scores": self.scores,
            "similarity": self.similarity,
            "point_weights": self.weights,
        }
        return {**self.record, "file_name": file_name, **found}


def anchor_confidence(
    scores: Sequence[float] | np.ndarray, similarity: Sequence[float] | np.ndarray
) -> np.ndarray:
    """`p (1 + 2 s) / 3` with the ranks p of the score and s of the similarity, from 0 to 1.

    A low score alone makes an anchor doubtful, a high one needs a high similarity beside it;
    docs/RESULTS.md compares the measures.

    Args:
        scores: of all `P` anchors of the set.
        similarity: of the same anchors.

    Returns:
        float64 of shape `(P,)`; equal numbers rank alike.
    """
    # Imported here: it costs 1.8 s of CPU, which every command would pay.
    from scipy.stats import rankdata

    p, s = ((rankdata(values) - 0.5) / max(1, len(values)) for values in (scores, similarity))
    return np.asarray(p * (1 + 2 * s) / 3)


def percentile_limits(
    confidence: Sequence[float] | np.ndarray, percentiles: Sequence[float] = PERCENTILES
) -> Limits:
    """The confidences where the weight starts to rise and where it reaches 1.

    Args:
        confidence: of all anchors of the set; without any the limits are 0.
        percentiles: of the confidence, low and high, from 0 to 100.
    """
    if not len(confidence):
        return 0.0, 0.0
    low, high = np.percentile(confidence, percentiles)
    return float(low), float(high)


def confidence_weights(confidence: Sequence[float] | np.ndarray, limits: Limits) -> np.ndarray:
    """`clip((confidence - low) / (high - low), 0, 1)`, float64 of shape `(P,)`.

    Where both limits are one number, confidences below it weigh 0 and the others 1.

    Args:
        confidence: of `P` anchors.
        limits: see `percentile_limits`.
    """
    values = np.asarray(confidence, dtype=np.float64)
    low, high = limits
    if high <= low:
        return (values >= high).astype(np.float64)
    with np.errstate(over="ignore"):
        return np.clip((values - low) / (high - low), 0.0, 1.0)


def find_collisions(
    points: Sequence[Sequence[float]] | np.ndarray,
    confidence: Sequence[float] | np.ndarray,
    keys: Sequence[str],
) -> np.ndarray:
    """Which anchors collide with an anchor of another word that has a higher confidence.

    Of two different words closer than `COLLISION_DISTANCE` the one with the lower confidence is
    marked, of equal ones the later one. Equal words never collide.

    Args:
        points: `P` anchors.
        confidence: of the `P` anchors.
        keys: `P` words as the model reads them.

    Returns:
        Bool of shape `(P,)`.
    """
    places = np.asarray(points, dtype=np.float64).reshape(-1, 2)
    values = np.asarray(confidence, dtype=np.float64)
    words = np.array(list(keys), dtype=object)
    rank = np.empty(len(values), dtype=int)
    rank[np.argsort(-values, kind="stable")] = np.arange(len(values))
    distance = np.linalg.norm(places[:, None] - places[None], axis=2)
    colliding = (distance < COLLISION_DISTANCE) & (words[:, None] != words[None])
    return (colliding & (rank[None] < rank[:, None])).any(axis=1)


def weigh_anchors(
    points: Sequence[Sequence[float] | None],
    confidence: Sequence[float | None],
    keys: Sequence[str],
    ignore: Sequence[bool],
    limits: Limits,
) -> tuple[list[float], list[str]]:
    """Weights and outcomes of the words of one image.

    Args:
        points: `P` anchors, None for a word without one.
        confidence: of the `P` words, None for one without anchor.
        keys: `P` words as the model reads them, empty without any character of the charset.
        ignore: whether each of the `P` words is ignored.
        limits: see `percentile_limits`.

    Returns:
        `P` weights, 0 for a word without anchor, and `P` of `OUTCOMES`.
    """
    found = [row for row, point in enumerate(points) if point is not None]
    sure = np.array([confidence[row] for row in found], dtype=np.float64)
    collides = find_collisions(
        np.array([points[row] for row in found]), sure, [keys[row] for row in found]
    )
    values = np.round(np.where(collides, 0.0, confidence_weights(sure, limits)), WEIGHT_DECIMALS)
    weights = dict(zip(found, values.tolist(), strict=True))
    colliding = {row for row, yes in zip(found, collides, strict=True) if yes}

    def outcome(row: int) -> str:
        if ignore[row]:
            return "ignored"
        if not keys[row]:
            return "unreadable"
        if row not in weights:
            return "no_peak"
        if row in colliding:
            return "collision"
        if not weights[row]:
            return "zero"
        return "low_weight" if weights[row] < LOW_WEIGHT else "kept"

    rows = range(len(points))
    return [weights.get(row, 0.0) for row in rows], [outcome(row) for row in rows]
