"""One evaluation of spotted words from beginning to end: counts, results, details, worst images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .counting import Claims, PointWords, Score, Threshold, best_score, count_claims
from .report import SWEEP, Result, count_errors, word_states, worst_images
from .spotting import SPTS_THRESHOLDS, GTWords, SpottingProtocol, claim_words


@dataclass(frozen=True)
class SpottingRun:
    """What `run_spotting` found.

    Attributes:
        dataset: name of the set.
        protocol: what was counted.
        threshold: the chosen threshold.
        thresholds: those of the sweep.
        truths: true words by image.
        predictions: predicted words by image.
        claims: claims by image.
        texts: every prediction's text after lexicon and filter, None for one left out, by image.
    """

    dataset: str
    protocol: SpottingProtocol
    threshold: Threshold
    thresholds: Sequence[float]
    truths: Mapping[Any, GTWords]
    predictions: Mapping[Any, PointWords]
    claims: Mapping[Any, Claims]
    texts: Mapping[Any, Sequence[str | None]]

    def result(self) -> Result:
        """The result at the chosen threshold."""
        (score,) = count_claims(self.claims.values(), [self.threshold.value])
        return self._result(score, self.threshold.choice)

    def sweep(self) -> list[Result]:
        """The results at all thresholds of the sweep."""
        scores = count_claims(self.claims.values(), self.thresholds)
        best = best_score(scores)
        return [
            self._result(score, SWEEP if index == best else "sweep over this very set")
            for index, score in enumerate(scores)
        ]

    def results(self) -> tuple[Result, Result]:
        """The results at the chosen threshold and at the best one of the sweep."""
        best = next(result for result in self.sweep() if result.threshold_choice == SWEEP)
        return self.result(), best

    def metrics(self) -> dict[str, float]:
        """The numbers of `results` by name."""
        chosen, sweep = self.results()
        counts = {"images": float(chosen.images), "words": float(chosen.truths)}
        rates = chosen.rates() | {"threshold": chosen.threshold} | sweep.rates("sweep_")
        return rates | {"sweep_threshold": sweep.threshold} | counts

    def content(self, worst: int, details: bool) -> dict[str, Any]:
        """What a result file states beside the results: worst images, all on request."""
        listed: dict[str, Any] = {"worst_images": self.worst(worst)}
        return listed | ({"images": self.details()} if details else {})

    def worst(self, count: int) -> list[dict[str, Any]]:
        """The images with the most errors at the chosen threshold, worst first."""
        return [self._errors(image) for image in worst_images(self.claims, self.threshold, count)]

    def details(self) -> list[dict[str, Any]]:
        """Every image's predictions and true words and what became of them.

        The entries have `texts`, `points` and `scores` and are thus predictions again.
        """
        return [self.image_details(image) for image in self.claims]

    def image_details(self, image: Any) -> dict[str, Any]:
        """One image's entry of `details`."""
        empty = PointWords([], np.zeros((0, 2)), np.zeros(0))
        found = self.predictions.get(image, empty)
        truth = self.truths.get(image)
        states, hits = word_states(self.claims[image], self.texts.get(image, []), self.threshold)
        words = [] if truth is None else zip(truth.texts, truth.ignore.tolist(), strict=True)
        return self._errors(image) | {
            "texts": list(found.texts),
            "points": found.points.round(3).tolist(),
            "scores": found.scores.tolist(),
            "read_as": list(self.texts.get(image, [])),
            "states": states,
            "words": [
                {"text": text, "found": index in hits, "ignore": ignore}
                for index, (text, ignore) in enumerate(words)
            ],
        }

    def _errors(self, image: Any) -> dict[str, Any]:
        wrong, missed = count_errors(self.claims[image], self.threshold)
        truth = self.truths.get(image)
        name = "" if truth is None else truth.file_name
        return {"image_id": image, "file_name": name, "wrong": wrong, "missed": missed}

    def _result(self, score: Score, choice: str) -> Result:
        return Result.of(
            score,
            choice,
            dataset=self.dataset,
            protocol=self.protocol.describe(),
            mode=self.protocol.mode,
            images=len(self.truths),
            lexicon=self.protocol.describe_lexicon(),
        )


def run_spotting(
    dataset: str,
    truths: Mapping[Any, GTWords],
    predictions: Mapping[Any, PointWords],
    protocol: SpottingProtocol,
    threshold: Threshold,
    thresholds: Sequence[float] = SPTS_THRESHOLDS,
) -> SpottingRun:
    """Evaluate spotted words by one protocol.

    Args:
        dataset: name of the set, for the results.
        truths: true words by image.
        predictions: predicted words by image.
        protocol: what is counted.
        threshold: where predictions start to count.
        thresholds: those of the sweep.

    Raises:
        MatchingError: see `spotting.score_spotting`.
        LexiconError: see `spotting.score_spotting`.
    """
    lowest = min(threshold.value, *thresholds)
    claims, texts = claim_words(truths, predictions, protocol, lowest)
    return SpottingRun(dataset, protocol, threshold, thresholds, truths, predictions, claims, texts)
