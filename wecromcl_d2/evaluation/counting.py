"""What all protocols share: words with points, claims on true words, counts and rates.

A protocol decides, image by image, which prediction claims which true word. The rest is the same
everywhere: a true word is won by its best claim, so one pass gives the counts at every threshold.

Letters: `T` true words, `P` predictions of one image. Points are (x, y) in pixels of the
original image.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

import numpy as np

logger = logging.getLogger(__name__)

Mode = Literal["robust", "official"]


class MatchingError(ValueError):
    """Truths or predictions that a protocol cannot count."""


@dataclass(frozen=True)
class PointWords:
    """Words of one image, each with a point.

    Attributes:
        texts: `n` strings.
        points: float64 of shape `(n, 2)`, (x, y).
        scores: float64 of shape `(s,)`; `s < n` where the source left scores out.
    """

    texts: Sequence[str]
    points: np.ndarray
    scores: np.ndarray

    @classmethod
    def of(
        cls, texts: Sequence[str], points: Sequence | np.ndarray, scores: Sequence | np.ndarray = ()
    ) -> PointWords:
        """Build from plain lists or arrays.

        Raises:
            MatchingError: if the lengths differ or a number is not finite.
        """
        array = np.asarray(points, dtype=np.float64).reshape(-1, 2)
        values = np.asarray(scores, dtype=np.float64).reshape(-1)
        if len(array) != len(texts) or len(values) > len(texts):
            raise MatchingError(f"{len(texts)} texts, {len(array)} points, {len(values)} scores")
        if not (np.isfinite(array).all() and np.isfinite(values).all()):
            raise MatchingError("a point or score is not finite; the model has diverged")
        return cls(list(texts), array, values)

    def take(self, rows: Sequence[int], texts: Sequence[str] | None = None) -> PointWords:
        """The words of some rows in ascending order, with other texts if given."""
        chosen = np.array(rows, dtype=int)
        kept = [self.texts[row] for row in rows] if texts is None else texts
        return PointWords(kept, self.points[chosen], self.scores[chosen[chosen < len(self.scores)]])


@dataclass(frozen=True)
class Score:
    """Counts over a data set at one score threshold, and the rates they give."""

    threshold: float
    true_positives: int
    truths: int
    predictions: int

    @property
    def precision(self) -> float:
        """True positives over predictions; 0 without a true positive."""
        return self.true_positives / self.predictions if self.true_positives else 0.0

    @property
    def recall(self) -> float:
        """True positives over truths; 0 without a true positive."""
        return self.true_positives / self.truths if self.true_positives else 0.0

    @property
    def hmean(self) -> float:
        """Harmonic mean of precision and recall; 0 without a true positive."""
        if not self.true_positives:
            return 0.0
        return 2 * self.precision * self.recall / (self.precision + self.recall)


@dataclass(frozen=True)
class Threshold:
    """A score threshold and how it was chosen, which every result states."""

    value: float
    choice: str = "fixed"


@dataclass(frozen=True)
class Claims:
    """What the predictions of one image claim, at every threshold at once.

    Attributes:
        truths: how many true words count.
        scores: `(P,)` scores, infinite where the source has none.
        counted: `(P,)` whether the prediction counts at all.
        won: `(P,)` index of the true word that the prediction wins, -1 for none. No two
            predictions win the same word, so this holds at any threshold.
    """

    truths: int
    scores: np.ndarray
    counted: np.ndarray
    won: np.ndarray


class _HasTexts(Protocol):
    @property
    def texts(self) -> Sequence[str]:
        """The true words."""


Image = TypeVar("Image", bound=Hashable)
Truth = TypeVar("Truth", bound=_HasTexts)


def claim_images(
    truths: Mapping[Image, Truth],
    predictions: Mapping[Image, PointWords],
    claim: Callable[[Truth, PointWords, np.ndarray], Claims],
    lowest: float,
    mode: Mode,
) -> dict[Image, Claims]:
    """Apply a protocol's rule to every image of the truth and to every image with predictions.

    Args:
        truths: true words by image.
        predictions: predicted words by image.
        claim: the rule: true words, predictions and their `(P,)` completed scores.
        lowest: the lowest threshold that will be counted.
        mode: in robust mode predictions on an image without a true word are false positives and a
            missing score passes every threshold; in official mode either is an error.

    Raises:
        MatchingError: see `mode`.
        ValueError: if `mode` is neither of the two.
    """
    check_mode(mode)
    none = PointWords([], np.zeros((0, 2)), np.zeros(0))
    claims: dict[Image, Claims] = {}
    strays = unscored = 0
    for image in [*truths, *(image for image in predictions if image not in truths)]:
        found, truth = predictions.get(image, none), truths.get(image)
        missing = len(found.texts) - len(found.scores)
        if missing and mode == "official":
            raise MatchingError(f"image {image!r}: {missing} predictions have no score")
        unscored += missing
        scores = np.concatenate([found.scores, np.full(missing, np.inf)])
        if truth is not None and truth.texts:
            claims[image] = claim(truth, found, scores)
            continue
        if (scores >= lowest).any():
            if mode == "official":
                raise MatchingError(f"image {image!r} has predictions but no true word")
            strays += 1
        claims[image] = Claims(
            0, scores, np.ones(len(scores), dtype=bool), np.full(len(scores), -1)
        )
    if unscored:
        logger.warning("%d predictions have no score: they pass every threshold", unscored)
    if strays:
        logger.warning("%d images have predictions but no true word: false positives", strays)
    return claims


def check_mode(mode: str) -> None:
    """Refuse anything but the two modes.

    Raises:
        ValueError: if `mode` is neither `"robust"` nor `"official"`.
    """
    if mode not in ("robust", "official"):
        raise ValueError(f"mode is {mode!r}; use 'robust' or 'official'")


def best_claims(wanted: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Give each true word to its best claim, the first in order on a tie.

    Args:
        wanted: `(P,)` index of the true word that each prediction could win, -1 for none.
        scores: `(P,)`.

    Returns:
        `(P,)` index of the true word that each prediction wins, -1 for none.
    """
    won = np.full(len(wanted), -1)
    taken = set()
    for index in np.argsort(-scores, kind="stable"):
        if wanted[index] >= 0 and wanted[index] not in taken:
            taken.add(wanted[index])
            won[index] = wanted[index]
    return won


def count_claims(claims: Iterable[Claims], thresholds: Sequence[float]) -> list[Score]:
    """Count claims over a data set; a score equal to a threshold passes it.

    Returns:
        One `Score` per threshold, in the given order.
    """
    claims = list(claims)
    hits = joined([c.scores[c.won >= 0] for c in claims])
    counted = joined([c.scores[c.counted] for c in claims])
    truths = sum(c.truths for c in claims)
    return [
        Score(float(t), int((hits >= t).sum()), truths, int((counted >= t).sum()))
        for t in thresholds
    ]


def best_score(scores: Sequence[Score]) -> int:
    """The index of the highest harmonic mean, the last one on a tie, as published."""
    return max(range(len(scores)), key=lambda index: (scores[index].hmean, index))


def choose_threshold(
    claims: Iterable[Claims], thresholds: Sequence[float], dataset: str
) -> Threshold:
    """Choose the threshold of the highest harmonic mean on a validation split.

    Args:
        claims: claims on the validation split, not on the set to be reported.
        thresholds: candidates.
        dataset: name of the split, which the choice states.
    """
    scores = count_claims(claims, thresholds)
    return Threshold(scores[best_score(scores)].threshold, f"best on validation split {dataset}")


def joined(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Concatenate one-dimensional arrays, of which there may be none."""
    return np.concatenate([np.zeros(0), *arrays])
