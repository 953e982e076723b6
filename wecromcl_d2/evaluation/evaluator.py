"""Evaluation of spotted words: the evaluator, and `run_spotting`, which `evaluate` calls."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm

from .counting import (
    ImageMatches,
    MatchingError,
    PointWords,
    Score,
    Threshold,
    best_score,
    count_matches,
)
from .report import (
    SWEEP,
    Result,
    count_errors,
    format_table,
    word_states,
    worst_images,
    write_results,
)
from .spotting import SPTS_THRESHOLD, SPTS_THRESHOLDS, GTWords, SpottingProtocol, match_words

logger = logging.getLogger(__name__)

# Worst images that a result file lists.
WORST = 20


def gather_images(images: list[Any], dataset_name: str) -> list[Any]:
    """The entries of all ranks on the main process, elsewhere or without images nothing."""
    comm.synchronize()
    gathered = [image for per_rank in comm.gather(images, dst=0) for image in per_rank]
    if not gathered and comm.is_main_process():
        logger.warning("no image of %s was evaluated; there are no metrics", dataset_name)
    return gathered


class WordEvaluator(DatasetEvaluator):
    """Base of both evaluators: keeps the words and the predictions of every image.

    Args:
        dataset_name: for the log and the result files.
        output_dir: where these go; None for nowhere.
        threshold: least score of a prediction.
    """

    def __init__(
        self, dataset_name: str, output_dir: str | None, threshold: float | Threshold
    ) -> None:
        self._dataset_name = dataset_name
        self._output_dir = output_dir
        self._threshold = threshold if isinstance(threshold, Threshold) else Threshold(threshold)
        self._images: list[Any] = []

    def reset(self) -> None:
        """Forget all images."""
        self._images = []

    def process(self, inputs: Sequence[dict[str, Any]], outputs: Sequence[dict[str, Any]]) -> None:
        """Keep one batch.

        Args:
            inputs: dataset dicts with `texts` and any of `points`, `polygons`, `ignore`.
            outputs: per image `{"instances": Instances}` with `pred_points` (Q, 2), (x, y) in
                pixels of the original image, `pred_texts` and `scores` (Q,).

        Raises:
            MatchingError: if a point or score is not finite.
        """
        for record, output in zip(inputs, outputs, strict=True):
            found = predictions_of(record, output["instances"])
            self._images.append(self._entry(record, GTWords.from_record(record), found))

    def _entry(self, record: dict[str, Any], gt: GTWords, predictions: PointWords) -> Any:
        """What is kept of an image."""
        raise NotImplementedError

    def _gather(self) -> list[Any]:
        return gather_images(self._images, self._dataset_name)


class SpottingEvaluator(WordEvaluator):
    """Measures which words are found and read, by one or more protocols at once.

    For every protocol: `precision`, `recall`, `hmean` at `threshold`; `sweep_*` at the
    threshold that is best on this very set, as published; `images` and `words`, the
    numbers of those that count. A protocol that needs positions is left out, with a warning, if a
    word has none.

    Args:
        dataset_name: for the log and the result files.
        output_dir: where `spotting.json` and `spotting.csv` go; None for nowhere.
        protocols: what to count, by the name of its metrics; by default the SPTS point metric,
            end-to-end and without a lexicon, as `spotting`.
        threshold: score threshold: a fixed number, or one chosen on a validation split by
            `counting.choose_threshold`.
        thresholds: those of the sweep; by default the published ones of SPTS.
        details: write every image's words, too.

    Raises:
        ValueError: if there is no protocol.
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
    ) -> None:
        chosen = {"spotting": SpottingProtocol()} if protocols is None else dict(protocols)
        if not chosen:
            raise ValueError("no protocol; name at least one")
        super().__init__(dataset_name, output_dir, threshold)
        self._protocols = chosen
        self._thresholds = thresholds
        self._details = details

    def _entry(self, record: dict[str, Any], gt: GTWords, predictions: PointWords) -> Any:
        return identity_of(record), gt, predictions

    def evaluate(self) -> dict[str, dict[str, float]]:
        """`{protocol name: {metric: number}}` on the main process, elsewhere nothing.

        Raises:
            MatchingError: if two images have one identity; in official mode, where the published
                script would fail.
            LexiconError: see `spotting.score_spotting`.
            OSError: if a result file cannot be written.
        """
        images = self._gather()
        if not images:
            return {}
        ground_truth = {identity: gt for identity, gt, _ in images}
        found = {identity: predictions for identity, _, predictions in images}
        if len(ground_truth) != len(images):
            raise MatchingError(
                f"{len(images)} images have {len(ground_truth)} values of image_id only"
            )
        placed = not any(gt.lacks_points() for gt in ground_truth.values())
        runs: dict[str, SpottingRun] = {}
        for name, protocol in self._protocols.items():
            if protocol.metric == "point" and not placed:
                logger.warning(
                    "%s has words without a position: %s is left out", self._dataset_name, name
                )
                continue
            runs[name] = run_spotting(
                self._dataset_name, ground_truth, found, protocol, self._threshold, self._thresholds
            )
        pairs = {name: run.results() for name, run in runs.items()}
        results = [result for pair in pairs.values() for result in pair]
        metrics = {name: _metrics(*pair) for name, pair in pairs.items()}
        logger.info("%s", format_table(results))
        if self._output_dir is not None:
            extra = {name: run.content(WORST, self._details) for name, run in runs.items()}
            content = {"metrics": metrics, "protocols": extra}
            paths = write_results(Path(self._output_dir), "spotting", results, content)
            logger.info("wrote %s and %s", *paths)
        return metrics


def _metrics(chosen: Result, best: Result) -> dict[str, float]:
    """The numbers at the chosen threshold and at the best one of the sweep, by name."""
    counts = {"images": float(chosen.images), "words": float(chosen.ground_truth)}
    rates = chosen.rates() | {"threshold": chosen.threshold} | best.rates("sweep_")
    return rates | {"sweep_threshold": best.threshold} | counts


@dataclass(frozen=True)
class SpottingRun:
    """The result of `run_spotting`.

    Attributes:
        dataset: name of the set.
        protocol: what was counted.
        threshold: the chosen threshold.
        thresholds: those of the sweep.
        ground_truth: words by image.
        predictions: predicted words by image.
        matches: of the predictions with their words, by image.
        texts: every prediction's text after lexicon and filter, None for one left out, by image.
    """

    dataset: str
    protocol: SpottingProtocol
    threshold: Threshold
    thresholds: Sequence[float]
    ground_truth: Mapping[Any, GTWords]
    predictions: Mapping[Any, PointWords]
    matches: Mapping[Any, ImageMatches]
    texts: Mapping[Any, Sequence[str | None]]

    def result(self) -> Result:
        """The result at the chosen threshold."""
        (score,) = count_matches(self.matches.values(), [self.threshold.value])
        return self._result(score, self.threshold.choice)

    def sweep(self) -> list[Result]:
        """The results at all thresholds of the sweep."""
        scores = count_matches(self.matches.values(), self.thresholds)
        best = best_score(scores)
        return [
            self._result(score, SWEEP if index == best else "sweep over this very set")
            for index, score in enumerate(scores)
        ]

    def results(self) -> tuple[Result, Result]:
        """The results at the chosen threshold and at the best one of the sweep."""
        best = next(result for result in self.sweep() if result.threshold_choice == SWEEP)
        return self.result(), best

    def content(self, worst: int, details: bool) -> dict[str, Any]:
        """The content of a result file beside the results: the worst images, or all, too."""
        listed: dict[str, Any] = {"worst_images": self.worst(worst)}
        return listed | ({"images": self.details()} if details else {})

    def worst(self, count: int) -> list[dict[str, Any]]:
        """The images with the most errors at the chosen threshold, worst first."""
        return [self._errors(image) for image in worst_images(self.matches, self.threshold, count)]

    def details(self) -> list[dict[str, Any]]:
        """Every image's predictions and ground-truth words with their states, see `word_states`.

        The entries have `texts`, `points` and `scores`, so `evaluate` can read them as predictions.
        """
        return [self.image_details(image) for image in self.matches]

    def image_details(self, image: Any) -> dict[str, Any]:
        """One image's entry of `details`."""
        found = self.predictions.get(image, PointWords.of([], []))
        gt = self.ground_truth.get(image)
        states, hits = word_states(self.matches[image], self.texts.get(image, []), self.threshold)
        words: Iterable[tuple] = ()
        if gt is not None:
            polygons = gt.polygons or [None] * len(gt.texts)
            words = zip(gt.texts, gt.ignore.tolist(), polygons, strict=True)
        return self._errors(image) | {
            "texts": list(found.texts),
            "points": found.points.round(3).tolist(),
            "scores": found.scores.tolist(),
            "read_as": list(self.texts.get(image, [])),
            "states": states,
            "words": [
                {"text": text, "found": index in hits, "ignore": ignore, "polygon": polygon}
                for index, (text, ignore, polygon) in enumerate(words)
            ],
        }

    def _errors(self, image: Any) -> dict[str, Any]:
        wrong, missed = count_errors(self.matches[image], self.threshold)
        gt = self.ground_truth.get(image)
        name = "" if gt is None else gt.file_name
        return {"image_id": image, "file_name": name, "wrong": wrong, "missed": missed}

    def _result(self, score: Score, choice: str) -> Result:
        return Result.of(
            score,
            choice,
            dataset=self.dataset,
            protocol=self.protocol.describe(),
            mode=self.protocol.mode,
            images=len(self.ground_truth),
            lexicon=self.protocol.describe_lexicon(),
        )


def run_spotting(
    dataset: str,
    ground_truth: Mapping[Any, GTWords],
    predictions: Mapping[Any, PointWords],
    protocol: SpottingProtocol,
    threshold: Threshold,
    thresholds: Sequence[float] = SPTS_THRESHOLDS,
) -> SpottingRun:
    """Evaluate spotted words by one protocol.

    Args:
        dataset: name of the set, for the results.
        ground_truth: words by image.
        predictions: predicted words by image.
        protocol: what is counted.
        threshold: where predictions start to count.
        thresholds: those of the sweep.

    Raises:
        MatchingError: see `spotting.score_spotting`.
        LexiconError: see `spotting.score_spotting`.
    """
    lowest = min(threshold.value, *thresholds)
    matches, texts = match_words(ground_truth, predictions, protocol, lowest)
    return SpottingRun(
        dataset, protocol, threshold, thresholds, ground_truth, predictions, matches, texts
    )


def identity_of(record: Mapping[str, Any]) -> int | str:
    """Identity of an image within its dataset: `image_id`, or else its file name."""
    return record.get("image_id", record.get("file_name", ""))


def predictions_of(record: Mapping[str, Any], instances: Any) -> PointWords:
    """A model's predictions for one image as NumPy arrays.

    Raises:
        MatchingError: if a point or score is not finite; the message names the image.
    """
    try:
        return PointWords.of(
            list(instances.pred_texts),
            instances.pred_points.detach().cpu().double().numpy(),
            instances.scores.detach().cpu().double().numpy(),
        )
    except MatchingError as error:
        name = record.get("file_name", "")
        raise MatchingError(f"prediction for image {name!r}: {error}") from error
