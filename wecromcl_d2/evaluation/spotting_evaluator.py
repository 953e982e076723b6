"""Evaluator of spotted words for Detectron2's evaluation loop; the rules are in ``spotting``."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm

from wecromcl_d2.evaluation.counting import MatchingError, PointWords, Threshold
from wecromcl_d2.evaluation.report import write_results
from wecromcl_d2.evaluation.spotting import SPTS_THRESHOLD, SpottingProtocol, TruthWords
from wecromcl_d2.evaluation.spotting_run import SpottingRun, run_spotting

logger = logging.getLogger(__name__)

_Images = dict[Any, tuple[TruthWords, PointWords]]


class SpottingEvaluator(DatasetEvaluator):
    """Measures which words are found and read, by one or more protocols at once.

    For every protocol: ``precision``, ``recall``, ``hmean`` at the chosen threshold; ``sweep_*`` at
    the threshold that is best on this very set, as published; ``images`` and ``words``, those that
    count. A protocol that needs positions is left out where a word has none, and the log says so.

    Args:
        dataset_name: For the log and the result files.
        output_dir: Where ``spotting.json`` and ``spotting.csv`` go; None for nowhere.
        protocols: What to count, by the name of its metrics; by default the SPTS point metric,
            end-to-end and without a lexicon, as ``spotting``.
        threshold: Score threshold: a fixed number, or one chosen on a validation split by
            ``counting.choose_threshold``.
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
        self._details = details
        self._worst = worst
        self._images: _Images = {}

    def reset(self) -> None:
        """Forget all images."""
        self._images = {}

    def process(self, inputs: Sequence[dict[str, Any]], outputs: Sequence[dict[str, Any]]) -> None:
        """Keep one batch.

        Args:
            inputs: Dataset dicts with ``texts`` and any of ``points``, ``polygons``, ``ignore``.
            outputs: Per image ``{"instances": Instances}`` with ``pred_points`` (Q, 2), (x, y) in
                pixels of the original image, ``pred_texts`` and ``scores`` (Q,).

        Raises:
            MatchingError: If a point or score is not finite, or an image comes twice.
        """
        for record, output in zip(inputs, outputs, strict=True):
            image = record.get("image_id", record.get("file_name"))
            if image in self._images:
                raise MatchingError(f"image {image!r} was evaluated before; give it its own id")
            instances = output["instances"]
            try:
                found = PointWords.of(
                    list(instances.pred_texts),
                    instances.pred_points.detach().cpu().double().numpy(),
                    instances.scores.detach().cpu().double().numpy(),
                )
            except MatchingError as error:
                raise MatchingError(f"prediction for image {image!r}: {error}") from error
            self._images[image] = TruthWords.from_record(record), found

    def evaluate(self) -> dict[str, dict[str, float]]:
        """Return ``{protocol name: {metric: number}}`` on the main process, elsewhere nothing.

        Raises:
            MatchingError: In official mode, where the published script would fail.
            LexiconError: See ``spotting.score_spotting``.
            OSError: If a result file cannot be written.
        """
        comm.synchronize()
        gathered = comm.gather(self._images, dst=0)
        if not comm.is_main_process():
            return {}
        images: _Images = {}
        for per_rank in gathered:
            images.update(per_rank)
        if not images:
            logger.warning("no image of %s was evaluated; there are no metrics", self._dataset_name)
            return {}
        truths = {image: truth for image, (truth, _) in images.items()}
        found = {image: predictions for image, (_, predictions) in images.items()}
        placed = not any(truth.lacks_points() for truth in truths.values())
        runs: dict[str, SpottingRun] = {}
        for name, protocol in self._protocols.items():
            if protocol.metric == "point" and not placed:
                logger.warning(
                    "%s has words without a position: %s is left out", self._dataset_name, name
                )
                continue
            runs[name] = run_spotting(self._dataset_name, truths, found, protocol, self._threshold)
            for result in runs[name].results():
                logger.info("%s", result.describe())
        if self._output_dir is not None:
            self._write(runs)
        return {name: _metrics(run) for name, run in runs.items()}

    def _write(self, runs: Mapping[str, SpottingRun]) -> None:
        results = [result for run in runs.values() for result in run.results()]
        extra = {
            name: {
                "worst_images": run.worst(self._worst),
                **({"images": run.details()} if self._details else {}),
            }
            for name, run in runs.items()
        }
        paths = write_results(Path(str(self._output_dir)), "spotting", results, extra)
        logger.info("wrote %s and %s", *paths)


def _metrics(run: SpottingRun) -> dict[str, float]:
    chosen, sweep = run.results()
    counts = {"images": float(chosen.images), "words": float(chosen.truths)}
    rates = chosen.rates() | {"threshold": chosen.threshold} | sweep.rates("sweep_")
    return rates | {"sweep_threshold": sweep.threshold} | counts
