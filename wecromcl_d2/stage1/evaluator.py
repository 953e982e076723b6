"""Evaluator of stage 1 for Detectron2's evaluation loop."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from detectron2.evaluation import DatasetEvaluator

from ..evaluation.counting import Mode, Threshold, check_mode
from ..evaluation.evaluator import gather_images, identity_of, predictions_of
from ..evaluation.report import write_results
from ..evaluation.spotting import GTWords
from .anchor_run import AnchorImage, run_anchors

logger = logging.getLogger(__name__)


class AnchorEvaluator(DatasetEvaluator):
    """Measures where the anchors of given words lie.

    *Anchor accuracy* over the words with an outline: `inside_rate`, the share of words whose own
    anchor lies on the word; `chance`, the rate that random points would reach; `distance_mean`,
    `distance_median` and `within_*` in units of the word's box.

    *Nearest point*, the published stage-1 protocol, over the words with a point or an outline:
    `precision`, `recall`, `hmean` at the chosen `threshold`; `sweep_*` at the threshold
    of 0 .. 0.05 that is best on this very set, as published.

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
            inputs: dataset dicts with `texts` and any of `points`, `polygons`, `ignore`.
            outputs: per image `{"instances": Instances}` with `pred_points` (Q, 2), (x, y) in
                pixels of the original image, `pred_texts` as given and `scores` (Q,).

        Raises:
            MatchingError: if a point or score is not finite.
        """
        for record, output in zip(inputs, outputs, strict=True):
            truth = GTWords.from_record(record)
            size = (record["height"], record["width"])
            found = predictions_of(record, output["instances"])
            self._images.append(AnchorImage.of(identity_of(record), truth, found, size))

    def evaluate(self) -> dict[str, dict[str, float]]:
        """`{"anchors": {metric: number}}` on the main process, elsewhere nothing.

        Raises:
            MatchingError: in official mode, where the published script would fail.
            OSError: if a result file cannot be written.
        """
        images = gather_images(self._images, self._dataset_name)
        if not images:
            return {}
        run = run_anchors(self._dataset_name, images, self._mode, self._threshold)
        if self._output_dir is not None:
            folder = Path(self._output_dir)
            paths = write_results(folder, "anchors", run.results, run.content())
            logger.info("wrote %s and %s", *paths)
        return {"anchors": run.metrics}
