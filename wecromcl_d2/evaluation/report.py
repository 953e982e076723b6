"""Results with everything that defines them, as JSON, CSV and a table."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tabulate import tabulate

from ..files import replace_file
from .counting import ImageMatches, Mode, Score, Threshold

SWEEP = "best of a sweep over this very set, as published"


@dataclass(frozen=True)
class Result:
    """One score with everything needed to compare it with another.

    Attributes:
        dataset: name of the evaluated set.
        protocol: what was counted, options included.
        mode: `"robust"` or `"official"`.
        lexicon: name, size and limit of the lexicon, or `"none"`.
        threshold: score threshold.
        threshold_choice: how it was chosen.
        precision: true positives over predictions.
        recall: true positives over ground-truth words.
        hmean: harmonic mean of the two.
        true_positives: predictions that match a ground-truth word.
        ground_truth: number of ground-truth words that are not ignored.
        predictions: number of predictions that are counted at the threshold.
        images: number of images of the set.
        version: version of this package.
    """

    dataset: str
    protocol: str
    mode: Mode
    lexicon: str
    threshold: float
    threshold_choice: str
    precision: float
    recall: float
    hmean: float
    true_positives: int
    ground_truth: int
    predictions: int
    images: int
    version: str

    @classmethod
    def of(
        cls,
        score: Score,
        choice: str,
        *,
        dataset: str,
        protocol: str,
        mode: Mode,
        images: int,
        lexicon: str = "none",
    ) -> Result:
        """Build from a score and what it was counted on; `choice` says why this threshold."""
        return cls(
            dataset=dataset,
            protocol=protocol,
            mode=mode,
            lexicon=lexicon,
            threshold=score.threshold,
            threshold_choice=choice,
            precision=score.precision,
            recall=score.recall,
            hmean=score.hmean,
            true_positives=score.true_positives,
            ground_truth=score.ground_truth,
            predictions=score.predictions,
            images=images,
            version=package_version(),
        )

    def rates(self, prefix: str = "") -> dict[str, float]:
        """Precision, recall and harmonic mean, their names prefixed."""
        return {f"{prefix}{name}": getattr(self, name) for name in ("precision", "recall", "hmean")}

    def describe(self) -> str:
        """All fields in one line."""
        return (
            f"{self.dataset}, {self.protocol}, lexicon {self.lexicon}, mode {self.mode}, threshold "
            f"{self.threshold:g} ({self.threshold_choice}): precision {self.precision:.4f}, recall "
            f"{self.recall:.4f}, hmean {self.hmean:.4f}; {self.true_positives} of "
            f"{self.ground_truth} words, {self.predictions} predictions, {self.images} images; "
            f"version {self.version}"
        )

    def as_dict(self) -> dict[str, Any]:
        """All fields, as they stand in JSON and CSV."""
        return asdict(self)


def package_version() -> str:
    """The version of this package, which imports this file and is thus loaded already."""
    return str(sys.modules["wecromcl_d2"].__version__)


def format_table(results: Sequence[Result]) -> str:
    """A printable table, one row per result, under a line of the fields that all results share."""
    shared = ("dataset", "images", "mode", "version")
    head = [
        f"{name}: {', '.join(dict.fromkeys(str(getattr(r, name)) for r in results))}"
        for name in shared
    ]
    rows = [
        {
            "protocol": r.protocol,
            "lexicon": r.lexicon,
            "threshold": f"{r.threshold:.4g} ({r.threshold_choice})",
            "precision": f"{r.precision:.4f}",
            "recall": f"{r.recall:.4f}",
            "hmean": f"{r.hmean:.4f}",
            "right": r.true_positives,
            "ground truth": r.ground_truth,
            "predictions": r.predictions,
        }
        for r in results
    ]
    table = tabulate(rows, headers="keys", tablefmt="github", disable_numparse=True)
    return "; ".join(head) + "\n" + table


def write_results(
    folder: Path,
    stem: str,
    results: Sequence[Result],
    extra: Mapping[str, Any] | None = None,
) -> list[Path]:
    """Write `stem.json`, the results and `extra`, and `stem.csv`, the results only.

    Returns:
        The two files.

    Raises:
        OSError: if a file cannot be written.
    """
    content = {"results": [result.as_dict() for result in results], **(extra or {})}
    paths = [folder / f"{stem}.json", folder / f"{stem}.csv"]
    write_json(paths[0], content)
    table = io.StringIO()
    writer = csv.DictWriter(table, list(Result.__dataclass_fields__), lineterminator="\n")
    writer.writeheader()
    writer.writerows(result.as_dict() for result in results)
    with replace_file(paths[1]) as stream:
        stream.write(table.getvalue().encode("utf-8", "backslashreplace"))
    return paths


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file atomically; lone surrogates are written as escapes.

    Raises:
        OSError: if the file cannot be written.
    """
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, indent=1)
    with replace_file(path) as stream:
        stream.write(text.encode("utf-8", "backslashreplace"))


def count_errors(matches: ImageMatches, threshold: Threshold) -> tuple[int, int]:
    """Numbers of false positives and of missed ground-truth words of an image."""
    passed = matches.scores >= threshold.value
    hits = int((passed & (matches.matched_gt >= 0)).sum())
    return int((passed & matches.counted).sum()) - hits, matches.ground_truth - hits


def worst_images(
    matches: Mapping[Any, ImageMatches], threshold: Threshold, count: int
) -> list[Any]:
    """The images with the most wrong predictions and missed words, worst first.

    Images without an error are left out; a tie is kept in order.
    """
    errors = {image: sum(count_errors(match, threshold)) for image, match in matches.items()}
    ranked = sorted((image for image in errors if errors[image]), key=lambda i: -errors[i])
    return ranked[:count]


def word_states(
    matches: ImageMatches, texts: Sequence[str | None], threshold: Threshold
) -> tuple[list[str], set[int]]:
    """State of each prediction of an image, and the ground-truth words that were found.

    Args:
        matches: of the predictions that have a text in `texts`.
        texts: every prediction's text after lexicon and filter, None for one left out.
        threshold: predictions of a lower score are left out.

    Returns:
        Per prediction `"right"`, `"wrong"`, `"ignored"`, `"below"` the threshold or
        `"dropped"` by lexicon or filter; and the indices of the ground-truth words that
        were found.
    """
    passed = matches.scores >= threshold.value
    right = passed & (matches.matched_gt >= 0)
    kept = np.select([~passed, right, matches.counted], ["below", "right", "wrong"], "ignored")
    following = iter(kept.tolist())
    states = ["dropped" if text is None else next(following) for text in texts]
    return states, set(matches.matched_gt[right].tolist())
