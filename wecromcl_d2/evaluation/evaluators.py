"""Evaluators for Detectron2's evaluation loop: they collect, gather and call the protocols."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm

from wecromcl_d2.evaluation.anchor_run import AnchorImage, run_anchors
from wecromcl_d2.evaluation.counting import (
    MatchingError,
    Mode,
    PointWords,
    Threshold,
    check_mode,
)
from wecromcl_d2.evaluation.report import write_results
from wecromcl_d2.evaluation.spotting import (
    SPTS_THRESHOLD,
    SPTS_THRESHOLDS,
    SpottingProtocol,
    TruthWords,
)
from wecromcl_d2.evaluation.spotting_run import SpottingRun, run_spotting

logger = logging.getLogger(__name__)


class AnchorEvaluator(DatasetEvaluator):
    """Measures where the anchors of given words lie.

    *Anchor accuracy* over the words with an outline: ``inside_rate``, the share of words whose own
    anchor lies on the word; ``chance``, the rate that random points would reach; ``distance_mean``,
    ``distance_median`` and ``within_*`` in units of the word's box.

    *Nearest point*, the published stage-1 protocol, over the words with a point or an outline:
    ``precision``, ``recall``, ``hmean`` at the chosen ``threshold``; ``sweep_*`` at the threshold
    of 0 .. 0.05 that is best on this very set, as published.

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
        self._images: list[AnchorImage] = []

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
        for record, output in zip(inputs, outputs, strict=True):
            truth = TruthWords.from_record(record)
            size = (record["height"], record["width"])
            found = _predictions(record, output["instances"])
            self._images.append(AnchorImage.of(_identity(record), truth, found, size))

    def evaluate(self) -> dict[str, dict[str, float]]:
        """Return ``{"anchors": {metric: number}}`` on the main process, elsewhere nothing.

        Raises:
            MatchingError: In official mode, where the published script would fail.
            OSError: If a result file cannot be written.
        """
        images = _gather(self._images, self._dataset_name)
        if not images:
            return {}
        run = run_anchors(self._dataset_name, images, self._mode, self._threshold)
        if self._output_dir is not None:
            folder = Path(self._output_dir)
            paths = write_results(folder, "anchors", run.results, run.content())
            logger.info("wrote %s and %s", *paths)
        return {"anchors": run.metrics}


class SpottingEvaluator(DatasetEvaluator):
    """Measures which words are found and read, by one or more protocols at once.

    For every protocol: ``precision``, ``recall``, ``hmean`` at ``threshold``; ``sweep_*`` at the
    threshold that is best on this very set, as published; ``images`` and ``words``, those that
    count. A protocol that needs positions is left out where a word has none, and the log says so.

    Args:
        dataset_name: For the log and the result files.
        output_dir: Where ``spotting.json`` and ``spotting.csv`` go; None for nowhere.
        protocols: What to count, by the name of its metrics; by default the SPTS point metric,
            end-to-end and without a lexicon, as ``spotting``.
        threshold: Score threshold: a fixed number, or one chosen on a validation split by
            ``counting.choose_threshold``.
        thresholds: Those of the sweep; by default the published ones of SPTS.
        details: Write every image's words, too.
        worst: How many of the worst images the file lists.

    Raises:
        ValueError: If there is no protocol.
    """

    def __init__(
        self,
        dataset_name: str,
        output_dir: str | None = None,
        *,
        protocols: Mapping[str, SpottingProtocol] | None = None,
        threshold: float | Threshold = SPTS_THRESHOLD,
        thresholds: Sequence[float] = SPTS_THRESHOLDS,
        details: bool = False,
        worst: int = 20,
    ) -> None:
        chosen = {"spotting": SpottingProtocol()} if protocols is None else dict(protocols)
        if not chosen:
            raise ValueError("no protocol; name at least one")
        self._dataset_name = dataset_name
        self._output_dir = output_dir
        self._protocols = chosen
        self._threshold = threshold if isinstance(threshold, Threshold) else Threshold(threshold)
        self._thresholds = thresholds
        self._details = details
        self._worst = worst
        self._images: list[tuple[int | str, TruthWords, PointWords]] = []

    def reset(self) -> None:
        """Forget all images."""
        self._images = []

    def process(self, inputs: Sequence[dict[str, Any]], outputs: Sequence[dict[str, Any]]) -> None:
        """Keep one batch.

        Args:
            inputs: Dataset dicts with ``texts`` and any of ``points``, ``polygons``, ``ignore``.
            outputs: Per image ``{"instances": Instances}`` with ``pred_points`` (Q, 2), (x, y) in
                pixels of the original image, ``pred_texts`` and ``scores`` (Q,).

        Raises:
            MatchingError: If a point or score is not finite.
        """
        for record, output in zip(inputs, outputs, strict=True):
            found = _predictions(record, output["instances"])
            self._images.append((_identity(record), TruthWords.from_record(record), found))

    def evaluate(self) -> dict[str, dict[str, float]]:
        """Return ``{protocol name: {metric: number}}`` on the main process, elsewhere nothing.

        Raises:
            MatchingError: If two images have one identity; in official mode, where the published
                script would fail.
            LexiconError: See ``spotting.score_spotting``.
            OSError: If a result file cannot be written.
        """
        images = _gather(self._images, self._dataset_name)
        if not images:
            return {}
        truths = {identity: truth for identity, truth, _ in images}
        found = {identity: predictions for identity, _, predictions in images}
        if len(truths) != len(images):
            raise MatchingError(f"{len(images)} images have {len(truths)} values of image_id only")
        placed = not any(truth.lacks_points() for truth in truths.values())
        runs: dict[str, SpottingRun] = {}
        for name, protocol in self._protocols.items():
            if protocol.metric == "point" and not placed:
                logger.warning(
                    "%s has words without a position: %s is left out", self._dataset_name, name
                )
                continue
            runs[name] = run_spotting(
                self._dataset_name, truths, found, protocol, self._threshold, self._thresholds
            )
            for result in runs[name].results():
                logger.info("%s", result.describe())
        if self._output_dir is not None:
            self._write(self._output_dir, runs)
        return {name: run.metrics() for name, run in runs.items()}

    def _write(self, folder: str, runs: Mapping[str, SpottingRun]) -> None:
        results = [result for run in runs.values() for result in run.results()]
        extra = {name: run.content(self._worst, self._details) for name, run in runs.items()}
        metrics = {name: run.metrics() for name, run in runs.items()}
        content = {"metrics": metrics, "protocols": extra}
        paths = write_results(Path(folder), "spotting", results, content)
        logger.info("wrote %s and %s", *paths)


def _identity(record: Mapping[str, Any]) -> int | str:
    return record.get("image_id", record.get("file_name", ""))


def _predictions(record: Mapping[str, Any], instances: Any) -> PointWords:
    try:
        return PointWords.of(
            list(instances.pred_texts),
            instances.pred_points.detach().cpu().double().numpy(),
            instances.scores.detach().cpu().double().numpy(),
        )
    except MatchingError as error:
        name = record.get("file_name", "")
        raise MatchingError(f"prediction for image {name!r}: {error}") from error


def _gather(images: list, dataset: str) -> list:
    """Return the images of all ranks on the main process, elsewhere or without images nothing."""
    comm.synchronize()
    gathered = comm.gather(images, dst=0)
    if not comm.is_main_process():
        return []
    images = [image for per_rank in gathered for image in per_rank]
    if not images:
        logger.warning("no image of %s was evaluated; there are no metrics", dataset)
    return images
