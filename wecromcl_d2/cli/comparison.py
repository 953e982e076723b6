"""The table of `wecromcl reproduce`: measured figures beside the published ones."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import date
from pathlib import Path
from typing import Any

from tabulate import tabulate

from ..data.readers.registry import BENCHMARKS
from ..evaluation.report import package_version
from ..files import replace_file

# Published figures, in percent; docs/BENCHMARKS.md says how certain they are.
# Benchmark -> hmean of the anchors by the nearest-point protocol on training and on test images.
PUBLISHED_ANCHORS = {
    "icdar2013": (93.2, 90.5),
    "icdar2015": (88.6, 83.4),
    "totaltext": (84.3, 80.3),
    "ctw1500": (66.3, 77.7),
}
_SPTS = {
    "icdar2015": {
        "edit_distance_strong": 71.8,
        "edit_distance_weak": 64.7,
        "edit_distance_generic": 59.7,
    },
    "totaltext": {"edit_distance_none": 63.2, "edit_distance_full": 70.7},
}
_SRSTS_A = {
    "icdar2015": {
        "end_to_end_strong": 82.1,
        "end_to_end_weak": 76.1,
        "end_to_end_generic": 68.8,
    },
}
# Spotter -> benchmark -> figure -> hmean of the spotted words.
PUBLISHED_WORDS: Mapping[str, Mapping[str, Mapping[str, float]]] = {
    "spts": _SPTS,
    "spts_official": _SPTS,
    "srsts_a": _SRSTS_A,
    "srsts_a_v2": _SRSTS_A,
    "npts": {
        "icdar2015": {
            "edit_distance_strong": 70.3,
            "edit_distance_weak": 62.7,
            "edit_distance_generic": 57.0,
        },
        "totaltext": {"edit_distance_none": 61.6, "edit_distance_full": 70.6},
    },
}
SPLITS = ("train", "test")
STEM = "table"


@dataclass(frozen=True)
class Row:
    """One figure, all numbers in percent.

    Attributes:
        dataset: the evaluated images, such as `icdar2015_test`.
        stage1: configs of the anchor detector, `official` or `ours`.
        spotter: name of the spotter; empty for figures of the anchors.
        models: `full` or `tiny`.
        figure: name of the metric.
        published: published value; empty if there is none.
        ours: measured value at the threshold that is best on this very set, as published.
        ours_fixed: measured value at the threshold of the config; empty for metrics without one.
        chance: value of random points; empty if not computed.
        images: number of evaluated images.
        published_images: number of images of the published set.
        words: number of words that are not ignored.
        date: of the measurement.
        version: of this package.
    """

    dataset: str
    stage1: str
    spotter: str
    models: str
    figure: str
    published: str
    ours: str
    ours_fixed: str
    chance: str
    images: str
    published_images: str
    words: str
    date: str
    version: str

    def key(self) -> tuple[str, ...]:
        """Identity of the figure: a later row of equal key replaces this one."""
        return (self.dataset, self.stage1, self.spotter, self.models, self.figure)


def parts_of(dataset: str) -> tuple[str, str]:
    """Benchmark and split of a dataset such as `icdar2015_test`."""
    benchmark, _, split = dataset.rpartition("_")
    return benchmark, split


def anchor_rows(dataset: str, metrics: Mapping[str, float], stage1: str, models: str) -> list[Row]:
    """Inside rate and nearest-point hmean of a dataset's anchors, where `metrics` has them."""
    benchmark, split = parts_of(dataset)
    published = dict(zip(SPLITS, PUBLISHED_ANCHORS.get(benchmark, ()), strict=False))
    shared = _shared(dataset, metrics, stage1, "", models)
    rows = []
    for figure, (known, ours, fixed, chance) in {
        "anchors, nearest point": (published.get(split), "sweep_hmean", "hmean", "hmean_chance"),
        "anchors, inside rate": (None, "inside_rate", "", "chance"),
    }.items():
        if ours in metrics:
            numbers = {"ours": ours, "ours_fixed": fixed, "chance": chance}
            measured = {name: _percent(metrics.get(key)) for name, key in numbers.items()}
            row = Row(figure=figure, published=_shown(known), **measured, **shared)
            rows.append(row)
    return rows


def spotting_rows(
    dataset: str,
    metrics: Mapping[str, Mapping[str, float]],
    stage1: str,
    spotter: str,
    models: str,
) -> list[Row]:
    """The hmean of every protocol with every lexicon."""
    published = PUBLISHED_WORDS.get(spotter, {}).get(parts_of(dataset)[0], {})
    return [
        Row(
            figure=figure,
            published=_shown(published.get(figure)),
            ours=_percent(values["sweep_hmean"]),
            ours_fixed=_percent(values["hmean"]),
            chance="",
            **_shared(dataset, values, stage1, spotter, models),
        )
        for figure, values in metrics.items()
    ]


def _shared(
    dataset: str, metrics: Mapping[str, float], stage1: str, spotter: str, models: str
) -> dict[str, Any]:
    benchmark, split = parts_of(dataset)
    count = BENCHMARKS[benchmark].splits[split].count
    return {
        "dataset": dataset,
        "stage1": stage1,
        "spotter": spotter,
        "models": models,
        "images": f"{metrics['images']:.0f}",
        "published_images": "" if count is None else str(count),
        "words": f"{metrics['words']:.0f}",
        "date": date.today().isoformat(),
        "version": package_version(),
    }


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f}"


def _shown(published: float | None) -> str:
    return "" if published is None else f"{published:.1f}"


def update_table(folder: Path, rows: Sequence[Row]) -> list[Path]:
    """Add rows to the table of a folder; they replace rows of equal key.

    Returns:
        The CSV file and the Markdown file.

    Raises:
        ValueError: if the CSV file has other columns.
        OSError: if a file cannot be written.
    """
    paths = [folder / f"{STEM}.csv", folder / f"{STEM}.md"]
    new = {row.key(): row for row in rows}
    kept = {row.key(): new.pop(row.key(), row) for row in read_table(paths[0])}
    all_rows = [*kept.values(), *new.values()]
    text = io.StringIO()
    writer = csv.DictWriter(text, _columns(), lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in all_rows)
    for path, content in zip(paths, (text.getvalue(), format_rows(all_rows) + "\n"), strict=True):
        with replace_file(path) as stream:
            stream.write(content.encode("utf-8"))
    return paths


def read_table(path: Path) -> list[Row]:
    """The rows of a table's CSV file; none without the file.

    Raises:
        ValueError: if it has other columns.
    """
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as stream:
        reader = csv.DictReader(stream)
        if reader.fieldnames != _columns():
            raise ValueError(f"{path} has other columns than this version writes; move it away")
        return [Row(**row) for row in reader]


def format_rows(rows: Iterable[Row]) -> str:
    """A Markdown table."""
    shown = [asdict(row) for row in rows]
    heads = {name: name.replace("_", " ") for name in _columns()}
    return tabulate(shown, headers=heads, tablefmt="github", disable_numparse=True)


def _columns() -> list[str]:
    return [field.name for field in fields(Row)]
