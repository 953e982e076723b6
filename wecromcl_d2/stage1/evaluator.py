"""Evaluation of anchors: the evaluator, and `run_anchors`, which `evaluate` calls for files."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..evaluation.counting import Mode, PointWords, Score, Threshold, best_score, check_mode
from ..evaluation.evaluator import WordEvaluator, identity_of
from ..evaluation.report import SWEEP, Result, package_version, write_results
from ..evaluation.spotting import GTWords
from .matching import (
    NEAREST_POINT_THRESHOLDS,
    AnchorMatch,
    area_share,
    match_anchors,
    score_nearest_points,
    summarize_anchors,
)

logger = logging.getLogger(__name__)

POINT_RULE = "given point, else mean of the midpoints of the outline's two long sides"
# Random points per word for `hmean_chance`.
CHANCE_DRAWS = 5
NEAREST_POINT = "nearest point (published stage-1 protocol)"


class AnchorEvaluator(WordEvaluator):
    """Measures where the anchors of given words lie.

    *Anchor accuracy* over the words with an outline: `inside_rate`, the share of words whose own
    anchor lies on the word; `chance`, the rate that random points would reach; `distance_mean`,
    `distance_median` and `within_*` in units of the word's box.

    *Nearest point*, the published stage-1 protocol, over the words with a point or an outline:
    `precision`, `recall`, `hmean` at the chosen `threshold`; `sweep_*` at the threshold
    of 0 .. 0.05 that is best on this very set, as published; `hmean_chance`, the hmean of random
    points, of which some are always nearest to their word.

    Ignored words and their anchors do not count. Where a dataset has no outlines, or neither points
    nor outlines, the metrics that need them are left out and the log says so.

    Args:
        dataset_name: for the log and the result file.
        output_dir: where `anchors.json` goes, metrics and every image's words, and the table
            `anchors.csv`; None for nowhere.
        mode: `"robust"` or `"official"`, see `matching.score_nearest_points`.
        threshold: score threshold of the nearest-point protocol: a fixed number, or one chosen on a
            validation split by `counting.choose_threshold`.

    Raises:
        ValueError: if `mode` is neither of the two.
    """

    def __init__(
        self,
        dataset_name: str,
        output_dir: str | None = None,
        *,
        mode: Mode = "robust",
        threshold: float | Threshold = 0.0,
    ) -> None:
        super().__init__(dataset_name, output_dir, threshold)
        check_mode(mode)
        self._mode: Mode = mode

    def _entry(self, record: dict[str, Any], gt: GTWords, predictions: PointWords) -> Any:
        size = (record["height"], record["width"])
        return AnchorImage.of(identity_of(record), gt, predictions, size)

    def evaluate(self) -> dict[str, dict[str, float]]:
        """`{"anchors": {metric: number}}` on the main process, elsewhere nothing.

        Raises:
            MatchingError: in official mode, where the published script would fail.
            OSError: if a result file cannot be written.
        """
        images = self._gather()
        if not images:
            return {}
        run = run_anchors(self._dataset_name, images, self._mode, self._threshold)
        if self._output_dir is not None:
            folder = Path(self._output_dir)
            paths = write_results(folder, "anchors", run.results, run.content())
            logger.info("wrote %s and %s", *paths)
        return {"anchors": run.metrics}


@dataclass(frozen=True)
class AnchorImage:
    """The words and anchors of one image, as plain numbers and strings.

    Attributes:
        image_id: the dataset's identity of the image.
        gt: the words that are not ignored.
        predictions: anchors, without those of ignored words.
        image_size: (height, width) of the original image, if known.
    """

    image_id: int | str
    gt: GTWords
    predictions: PointWords
    image_size: tuple[int, int] | None

    @classmethod
    def of(
        cls,
        image_id: int | str,
        gt: GTWords,
        predictions: PointWords,
        image_size: tuple[int, int] | None = None,
    ) -> AnchorImage:
        """An image without its ignored words and without anchors whose text only they have."""
        counted = np.flatnonzero(~gt.ignore).tolist()
        known = {gt.texts[index].lower() for index in counted}
        ignored = {text.lower() for text in gt.texts} - known
        rows = [i for i, text in enumerate(predictions.texts) if text.lower() not in ignored]
        polygons = gt.polygons or [None] * len(gt.texts)
        words = GTWords(
            [gt.texts[index] for index in counted],
            gt.points[counted],
            np.zeros(len(counted), dtype=bool),
            [polygons[index] for index in counted],
            gt.file_name,
        )
        return cls(image_id, words, predictions.take(rows), image_size)

    def pointed(self) -> PointWords:
        """The words that have a ground-truth point."""
        rows = np.flatnonzero(~np.isnan(self.gt.points).any(axis=1)).tolist()
        return PointWords(self.gt.texts, self.gt.points, np.zeros(0)).take(rows)

    def outlined(self) -> list[int]:
        """Indices of the words that have an outline."""
        return [i for i, polygon in enumerate(self.gt.polygons) if polygon is not None]

    def match(self) -> AnchorMatch:
        """Match the anchors to the words with an outline."""
        rows = self.outlined()
        return match_anchors(
            [self.gt.texts[row] for row in rows],
            [polygon for polygon in self.gt.polygons if polygon is not None],
            self.gt.points[rows],
            self.predictions,
        )


@dataclass(frozen=True)
class AnchorRun:
    """The result of `run_anchors`.

    Attributes:
        dataset: name of the set.
        mode: of the nearest-point protocol.
        threshold: of the nearest-point protocol.
        images: the evaluated images.
        matches: their words with an outline, matched.
        accuracy: numbers of anchor accuracy by name; none if the set has no outlines.
        metrics: these and those of the nearest-point protocol.
        results: nearest-point protocol at the chosen threshold and at the best of the sweep; none
            if the set has no positions.
    """

    dataset: str
    mode: Mode
    threshold: Threshold
    images: Sequence[AnchorImage]
    matches: Sequence[AnchorMatch]
    accuracy: dict[str, float]
    metrics: dict[str, float]
    results: Sequence[Result]

    def content(self) -> dict[str, Any]:
        """The content of the result file beside `results`."""
        return {
            "dataset": self.dataset,
            "protocols": ["anchor accuracy", NEAREST_POINT],
            "mode": self.mode,
            "lexicon": "none",
            "threshold": self.threshold.value,
            "threshold_choice": f"{self.threshold.choice}; sweep_* is the {SWEEP}",
            "point_rule": POINT_RULE,
            "version": package_version(),
            "metrics": self.metrics,
            "images": [_details(i, m) for i, m in zip(self.images, self.matches, strict=True)],
        }


def run_anchors(
    dataset: str, images: Sequence[AnchorImage], mode: Mode, threshold: Threshold
) -> AnchorRun:
    """Evaluate anchors by both protocols, without metrics whose ground truth is missing.

    Args:
        dataset: name of the set, for log and results.
        images: at least one image.
        mode: see `matching.score_nearest_points`.
        threshold: of the nearest-point protocol.

    Raises:
        MatchingError: in official mode, where the published script would fail.
    """
    matches = [image.match() for image in images]
    accuracy = _accuracy(dataset, images, matches)
    metrics = dict(accuracy)
    results = _nearest_points(dataset, images, mode, threshold)
    for result, prefix in zip(results, ("", "sweep_"), strict=False):
        logger.info("%s", result.describe())
        metrics |= result.rates(prefix)
    if results:
        metrics["sweep_threshold"] = results[1].threshold
        metrics |= _nearest_point_chance(images)
    metrics["images"] = len(images)
    metrics["words"] = sum(len(image.gt.texts) for image in images)
    return AnchorRun(dataset, mode, threshold, images, matches, accuracy, metrics, results)


def _accuracy(
    dataset: str, images: Sequence[AnchorImage], matches: Sequence[AnchorMatch]
) -> dict[str, float]:
    metrics = summarize_anchors(matches)
    if not metrics:
        logger.warning(
            "%s has no outlines: inside rate, chance and distances are left out", dataset
        )
        return {}
    outlined = [(image, image.gt.polygons[row]) for image in images for row in image.outlined()]
    shares = [
        area_share(polygon, image.image_size)
        for image, polygon in outlined
        if polygon is not None and image.image_size is not None
    ]
    if len(shares) == len(outlined):
        metrics["chance"] = float(np.mean(shares))
    logger.info(
        "%s, anchor accuracy (own anchor on the word's outline, border included; equal words one "
        "to one): inside rate %.4f of %d words, %d of them without an anchor; chance %.4f; "
        "distance from the center in box sizes, median %.3f, mean %.3f",
        dataset,
        metrics["inside_rate"],
        len(outlined),
        sum(int((match.anchor < 0).sum()) for match in matches),
        metrics.get("chance", float("nan")),
        metrics.get("distance_median", float("nan")),
        metrics.get("distance_mean", float("nan")),
    )
    return metrics


def _nearest_points(
    dataset: str, images: Sequence[AnchorImage], mode: Mode, threshold: Threshold
) -> list[Result]:
    ground_truth = dict(enumerate(image.pointed() for image in images))
    if not any(gt.texts for gt in ground_truth.values()):
        logger.warning(
            "%s has neither points nor outlines: precision, recall and hmean are left out", dataset
        )
        return []
    found = dict(enumerate(image.predictions for image in images))
    thresholds = (threshold.value, *NEAREST_POINT_THRESHOLDS)
    chosen, *sweep = score_nearest_points(ground_truth, found, thresholds, mode)

    def result(score: Score, choice: str) -> Result:
        return Result.of(
            score, choice, dataset=dataset, protocol=NEAREST_POINT, mode=mode, images=len(images)
        )

    return [result(chosen, threshold.choice), result(sweep[best_score(sweep)], SWEEP)]


def _nearest_point_chance(images: Sequence[AnchorImage]) -> dict[str, float]:
    """The hmean that one random point per predicted word reaches, over several draws.

    Nothing without the size of every image.
    """
    generator = np.random.default_rng(0)
    ground_truth: dict[tuple[int, int], PointWords] = {}
    found: dict[tuple[int, int], PointWords] = {}
    for index, image in enumerate(images):
        if image.image_size is None:
            return {}
        texts, (height, width) = image.predictions.texts, image.image_size
        gt = image.pointed()
        for draw in range(CHANCE_DRAWS):
            points = generator.uniform((0, 0), (width, height), (len(texts), 2))
            ground_truth[draw, index] = gt
            found[draw, index] = PointWords(texts, points, np.ones(len(texts)))
    (score,) = score_nearest_points(ground_truth, found, (0.0,))
    return {"hmean_chance": score.hmean}


def _details(image: AnchorImage, match: AnchorMatch) -> dict[str, Any]:
    """One image's entry of the result file."""
    matched = zip(image.outlined(), match.anchor, match.inside, match.distance, strict=True)
    return {
        "image_id": image.image_id,
        "file_name": image.gt.file_name,
        "texts": image.predictions.texts,
        "points": image.predictions.points.round(3).tolist(),
        "scores": image.predictions.scores.tolist(),
        "words": [
            {
                "text": image.gt.texts[row],
                "anchor": int(anchor) if anchor >= 0 else None,
                "inside": bool(inside),
                "distance": round(float(distance), 4) if np.isfinite(distance) else None,
            }
            for row, anchor, inside, distance in matched
        ],
    }
