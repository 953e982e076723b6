"""Matches between predictions and ground-truth words, and the rates counted from them.

A protocol decides, image by image, to which ground-truth word a prediction belongs. Of several
predictions of one word the one with the highest score is its match. That choice does not depend on
the threshold, so one pass over the images gives the counts at every threshold.

Letters: `T` ground-truth words, `P` predictions of one image. Points are (x, y) in pixels of the
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
    """Ground truth or predictions that a protocol cannot count."""


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
    """Counts over a dataset at one score threshold, and the rates they give.

    Attributes:
        threshold: predictions with a lower score are left out.
        true_positives: matches with a ground-truth word.
        ground_truth: number of ground-truth words that are not ignored.
        predictions: number of predictions that are counted.
    """

    threshold: float
    true_positives: int
    ground_truth: int
    predictions: int

    @property
    def precision(self) -> float:
        """True positives over predictions; 0 without a true positive."""
        return self.true_positives / self.predictions if self.true_positives else 0.0

    @property
    def recall(self) -> float:
        """True positives over ground-truth words; 0 without a true positive."""
        return self.true_positives / self.ground_truth if self.true_positives else 0.0

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
class ImageMatches:
    """Matches of the predictions of one image, valid for every threshold.

    Attributes:
        ground_truth: number of ground-truth words that are not ignored.
        scores: `(P,)` scores, infinite where the source has none.
        counted: `(P,)` False for predictions that are neither true nor false positives, such as
            those of ignored words.
        matched_gt: `(P,)` index of the ground-truth word that the prediction matches, -1 for none;
            each word is matched once at most.
    """

    ground_truth: int
    scores: np.ndarray
    counted: np.ndarray
    matched_gt: np.ndarray


class _HasTexts(Protocol):
    @property
    def texts(self) -> Sequence[str]:
        """The ground-truth words."""


Image = TypeVar("Image", bound=Hashable)
GT = TypeVar("GT", bound=_HasTexts)


def match_images(
    ground_truth: Mapping[Image, GT],
    predictions: Mapping[Image, PointWords],
    match: Callable[[GT, PointWords, np.ndarray], ImageMatches],
    lowest: float,
    mode: Mode,
) -> dict[Image, ImageMatches]:
    """The matches of every image with ground truth or predictions, by a protocol's rule.

    Args:
        ground_truth: words by image.
        predictions: predicted words by image.
        match: the rule, called with ground truth, predictions and their `(P,)` scores, where
            missing scores are infinite.
        lowest: lowest threshold at which the matches will be counted.
        mode: in robust mode predictions on an image without ground truth are false positives and a
            missing score passes every threshold; in official mode either is an error.

    Raises:
        MatchingError: see `mode`.
        ValueError: if `mode` is neither of the two.
    """
    check_mode(mode)
    none = PointWords.of([], [])
    matches: dict[Image, ImageMatches] = {}
    without_gt = unscored = 0
    for image in [*ground_truth, *(image for image in predictions if image not in ground_truth)]:
        found, gt = predictions.get(image, none), ground_truth.get(image)
        missing = len(found.texts) - len(found.scores)
        if missing and mode == "official":
            raise MatchingError(f"image {image!r}: {missing} predictions have no score")
        unscored += missing
        scores = np.concatenate([found.scores, np.full(missing, np.inf)])
        if gt is not None and gt.texts:
            matches[image] = match(gt, found, scores)
            continue
        if (scores >= lowest).any():
            if mode == "official":
                raise MatchingError(f"image {image!r} has predictions but no ground truth")
            without_gt += 1
        matches[image] = ImageMatches(
            0, scores, np.ones(len(scores), dtype=bool), np.full(len(scores), -1)
        )
    if unscored:
        logger.warning("%d predictions have no score: they pass every threshold", unscored)
    if without_gt:
        logger.warning(
            "%d images with predictions have no ground truth: false positives", without_gt
        )
    return matches


def check_mode(mode: str) -> None:
    """Check that `mode` is one of the two.

    Raises:
        ValueError: if `mode` is neither `"robust"` nor `"official"`.
    """
    if mode not in ("robust", "official"):
        raise ValueError(f"mode is {mode!r}; use 'robust' or 'official'")


def best_matches(candidates: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Match each ground-truth word to its prediction of the highest score, the first on a tie.

    Args:
        candidates: `(P,)` index of the ground-truth word that each prediction belongs to, -1 for
            none.
        scores: `(P,)`.

    Returns:
        `(P,)` index of the ground-truth word that each prediction matches, -1 for none.
    """
    matched_gt = np.full(len(candidates), -1)
    taken = set()
    for index in np.argsort(-scores, kind="stable"):
        if candidates[index] >= 0 and candidates[index] not in taken:
            taken.add(candidates[index])
            matched_gt[index] = candidates[index]
    return matched_gt


def count_matches(matches: Iterable[ImageMatches], thresholds: Sequence[float]) -> list[Score]:
    """Count matches over a dataset; a score equal to a threshold passes it.

    Returns:
        One `Score` per threshold, in the given order.
    """
    matches = list(matches)
    hits = joined([m.scores[m.matched_gt >= 0] for m in matches])
    counted = joined([m.scores[m.counted] for m in matches])
    ground_truth = sum(m.ground_truth for m in matches)
    return [
        Score(float(t), int((hits >= t).sum()), ground_truth, int((counted >= t).sum()))
        for t in thresholds
    ]


def best_score(scores: Sequence[Score]) -> int:
    """The index of the highest harmonic mean, the last one on a tie, as published."""
    return max(range(len(scores)), key=lambda index: (scores[index].hmean, index))


def choose_threshold(
    matches: Iterable[ImageMatches], thresholds: Sequence[float], dataset: str
) -> Threshold:
    """Choose the threshold of the highest harmonic mean on a validation split.

    Args:
        matches: matches on the validation split, not on the set to be reported.
        thresholds: candidates.
        dataset: name of the split, which the choice states.
    """
    scores = count_matches(matches, thresholds)
    return Threshold(scores[best_score(scores)].threshold, f"best on validation split {dataset}")


def joined(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Concatenate one-dimensional arrays, of which there may be none."""
    return np.concatenate([np.zeros(0), *arrays])
