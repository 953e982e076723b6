"""Evaluator of anchors for Detectron2's evaluation loop; the counting rules are in ``matching``."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm

from wecromcl_d2.evaluation.counting import (
    MatchingError,
    Mode,
    PointWords,
    Score,
    Threshold,
    best_score,
    check_mode,
)
from wecromcl_d2.evaluation.matching import (
    NEAREST_POINT_THRESHOLDS,
    AnchorMatch,
    area_share,
    match_anchors,
    score_nearest_points,
    summarize_anchors,
)
from wecromcl_d2.evaluation.report import SWEEP, Result, package_version, write_results
from wecromcl_d2.geometry import polygon_center

logger = logging.getLogger(__name__)

Polygon = Sequence[float]
POINT_RULE = "given point, else mean of the half-way points of the outline's two long sides"
NEAREST_POINT = "nearest point (published stage-1 protocol)"


@dataclass(frozen=True)
class _ImageWords:
    """What is kept of one image: plain numbers and strings only.

    Attributes:
        image_id: The dataset's identity of the image.
        file_name: Where it lies.
        image_size: (height, width) of the original image.
        texts: ``T`` words that count.
        points: ``T`` true points [x, y], None where the dataset knows none.
        polygons: ``T`` flat outlines, None where the dataset knows none.
        predictions: Anchors, without those of words that do not count.
    """

    image_id: int | str
    file_name: str
    image_size: tuple[int, int]
    texts: list[str]
    points: list[list[float] | None]
    polygons: list[Polygon | None]
    predictions: PointWords

    def pointed(self) -> PointWords:
        """The words that have a true point."""
        known = [(t, p) for t, p in zip(self.texts, self.points, strict=True) if p is not None]
        return PointWords.of([t for t, _ in known], [p for _, p in known])

    def outlined(self) -> list[int]:
        """Indices of the words that have an outline."""
        return [index for index, polygon in enumerate(self.polygons) if polygon is not None]


class AnchorEvaluator(DatasetEvaluator):
    """Measures where the anchors of given words lie.

    *Anchor accuracy* over the words with an outline: ``inside_rate``, the share of words whose own
    anchor lies on the word; ``chance``, the rate that random points would reach; ``distance_mean``,
    ``distance_median`` and ``within_*`` in units of the word's box.

    *Nearest point*, the published stage-1 protocol, over the words with a point or an outline:
    ``precision``, ``recall``, ``hmean`` at the fixed ``threshold``; ``sweep_*`` at the threshold of
    0 .. 0.05 that is best on this very set, as published.

    Ignored words and their anchors do not count. Where a dataset has no outlines, or neither points
    nor outlines, the metrics that need them are left out and the log says so.

    Args:
        dataset_name: For the log and the result file.
        output_dir: Where ``anchors.json`` goes, metrics and every image's words, and the table
            ``anchors.csv``; None for nowhere.
        mode: ``"robust"`` or ``"official"``, see ``matching.score_nearest_points``.
        threshold: Score threshold of the nearest-point protocol: a fixed number, or one chosen on a
            validation split by ``counting.choose_threshold``.

    Raises:
        ValueError: If ``mode`` is neither of the two.
    """

    def __init__(
        self,
        dataset_name: str,
        output_dir: str | None = None,
        *,
        mode: Mode = "robust",
        threshold: float | Threshold = 0.0,
    ) -> None:
        check_mode(mode)
        self._dataset_name = dataset_name
        self._output_dir = output_dir
        self._mode: Mode = mode
        self._threshold = threshold if isinstance(threshold, Threshold) else Threshold(threshold)
        self._images: list[_ImageWords] = []

    def reset(self) -> None:
        """Forget all images."""
        self._images = []

    def process(self, inputs: Sequence[dict[str, Any]], outputs: Sequence[dict[str, Any]]) -> None:
        """Keep one batch.

        Args:
            inputs: Dataset dicts with ``texts`` and any of ``points``, ``polygons``, ``ignore``.
            outputs: Per image ``{"instances": Instances}`` with ``pred_points`` (Q, 2), (x, y) in
                pixels of the original image, ``pred_texts`` as given and ``scores`` (Q,).

        Raises:
            MatchingError: If a point or score is not finite.
        """
        self._images.extend(
            _collect(record, output["instances"])
            for record, output in zip(inputs, outputs, strict=True)
        )

    def evaluate(self) -> dict[str, dict[str, float]]:
        """Return ``{"anchors": {metric: number}}`` on the main process, elsewhere nothing.

        Raises:
            MatchingError: In official mode, where the published script would fail.
            OSError: If the result file cannot be written.
        """
        comm.synchronize()
        gathered = comm.gather(self._images, dst=0)
        if not comm.is_main_process():
            return {}
        images = [image for per_rank in gathered for image in per_rank]
        if not images:
            logger.warning("no image of %s was evaluated; there are no metrics", self._dataset_name)
            return {}
        matches = [_match(image) for image in images]
        metrics = self._accuracy(images, matches)
        results = self._nearest_points(images)
        metrics |= _summary(results)
        metrics["images"] = len(images)
        metrics["words"] = sum(len(image.texts) for image in images)
        if self._output_dir is not None:
            self._write(images, matches, metrics, results)
        return {"anchors": metrics}

    def _accuracy(
        self, images: Sequence[_ImageWords], matches: Sequence[AnchorMatch]
    ) -> dict[str, float]:
        metrics = summarize_anchors(matches)
        if not metrics:
            logger.warning(
                "%s has no outlines: inside rate, chance and distances are left out",
                self._dataset_name,
            )
            return {}
        shares = [
            area_share(polygon, image.image_size)
            for image in images
            for polygon in image.polygons
            if polygon is not None
        ]
        metrics["chance"] = float(np.mean(shares))
        missing = sum(int((match.anchor < 0).sum()) for match in matches)
        logger.info(
            "%s, anchor accuracy (own anchor on the word's outline, border included; twins one to "
            "one): inside rate %.4f of %d words, %d of them without an anchor; chance %.4f; "
            "distance from the centre in box sizes, median %.3f, mean %.3f",
            self._dataset_name,
            metrics["inside_rate"],
            len(shares),
            missing,
            metrics["chance"],
            metrics.get("distance_median", float("nan")),
            metrics.get("distance_mean", float("nan")),
        )
        return metrics

    def _nearest_points(self, images: Sequence[_ImageWords]) -> list[Result]:
        """Return the result at the chosen threshold and the best of the sweep, if points allow."""
        truths = dict(enumerate(image.pointed() for image in images))
        if not any(truth.texts for truth in truths.values()):
            logger.warning(
                "%s has neither points nor outlines: precision, recall and hmean are left out",
                self._dataset_name,
            )
            return []
        found = dict(enumerate(image.predictions for image in images))
        thresholds = (self._threshold.value, *NEAREST_POINT_THRESHOLDS)
        chosen, *sweep = score_nearest_points(truths, found, thresholds, self._mode)
        return [
            self._result(chosen, self._threshold.choice, len(images)),
            self._result(sweep[best_score(sweep)], SWEEP, len(images)),
        ]

    def _result(self, score: Score, choice: str, images: int) -> Result:
        result = Result.of(
            score,
            choice,
            dataset=self._dataset_name,
            protocol=NEAREST_POINT,
            mode=self._mode,
            images=images,
        )
        logger.info("%s", result.describe())
        return result

    def _write(
        self,
        images: Sequence[_ImageWords],
        matches: Sequence[AnchorMatch],
        metrics: dict[str, float],
        results: Sequence[Result],
    ) -> None:
        content = {
            "dataset": self._dataset_name,
            "protocols": ["anchor accuracy", NEAREST_POINT],
            "mode": self._mode,
            "lexicon": "none",
            "threshold": self._threshold.value,
            "threshold_choice": f"{self._threshold.choice}; sweep_* is the {SWEEP}",
            "point_rule": POINT_RULE,
            "version": package_version(),
            "metrics": metrics,
            "images": [_details(i, m) for i, m in zip(images, matches, strict=True)],
        }
        paths = write_results(Path(str(self._output_dir)), "anchors", results, content)
        logger.info("wrote %s and %s", *paths)


def _summary(results: Sequence[Result]) -> dict[str, float]:
    """Return the metrics of the chosen threshold and, if there are any, of the sweep."""
    if not results:
        return {}
    chosen, sweep = results
    return chosen.rates() | sweep.rates("sweep_") | {"sweep_threshold": sweep.threshold}


def _collect(record: dict[str, Any], instances: Any) -> _ImageWords:
    """Take from a dataset dict and its output what the metrics need."""
    texts = record["texts"]
    ignore = record.get("ignore") or [False] * len(texts)
    polygons = record.get("polygons") or [None] * len(texts)
    points = list(record.get("points") or [None] * len(texts))
    for index, polygon in enumerate(polygons):
        if points[index] is None and polygon is not None:
            points[index] = polygon_center(polygon).tolist()
    counted = [index for index, skip in enumerate(ignore) if not skip]
    known = {texts[index].lower() for index in counted}
    ignored = {text.lower() for text in texts} - known
    found = list(instances.pred_texts)
    kept = [index for index, text in enumerate(found) if text.lower() not in ignored]
    name = record.get("file_name", "")
    try:
        predictions = PointWords.of(
            [found[index] for index in kept],
            instances.pred_points.detach().cpu().double().numpy()[kept],
            instances.scores.detach().cpu().double().numpy()[kept],
        )
    except MatchingError as error:
        raise MatchingError(f"prediction for image {name!r}: {error}") from error
    return _ImageWords(
        image_id=record.get("image_id", name),
        file_name=name,
        image_size=(record["height"], record["width"]),
        texts=[texts[index] for index in counted],
        points=[points[index] for index in counted],
        polygons=[polygons[index] for index in counted],
        predictions=predictions,
    )


def _match(image: _ImageWords) -> AnchorMatch:
    """Match the anchors of one image to its words with an outline."""
    rows = image.outlined()
    return match_anchors(
        [image.texts[row] for row in rows],
        [polygon for polygon in image.polygons if polygon is not None],
        np.array([image.points[row] for row in rows], dtype=np.float64).reshape(-1, 2),
        image.predictions,
    )


def _details(image: _ImageWords, match: AnchorMatch) -> dict[str, Any]:
    """Return one image's entry of the result file."""
    matched = zip(image.outlined(), match.anchor, match.inside, match.distance, strict=True)
    return {
        "image_id": image.image_id,
        "file_name": image.file_name,
        "texts": image.predictions.texts,
        "points": image.predictions.points.round(3).tolist(),
        "scores": image.predictions.scores.tolist(),
        "words": [
            {
                "text": image.texts[row],
                "anchor": int(anchor) if anchor >= 0 else None,
                "inside": bool(inside),
                "distance": round(float(distance), 4) if np.isfinite(distance) else None,
            }
            for row, anchor, inside, distance in matched
        ],
    }
