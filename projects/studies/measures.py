"""What is measured of a run beyond the summary of its trainings."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from detectron2.data import DatasetCatalog

from wecromcl_d2.data.datasets import ensure_registered
from wecromcl_d2.data.records import JoinedRecords

from .points import inside_rate

# Lengths of words, in characters, that are measured apart.
LENGTHS = ((1, 8), (9, 16), (17, 25), (26, 40))


def measure_points(datasets: Sequence[str]) -> dict[str, float]:
    """The share of the training points that lie on their word; nothing without points."""
    for name in datasets:
        ensure_registered(name)
    records = JoinedRecords([DatasetCatalog.get(name) for name in datasets])
    return {"inside_rate": inside_rate(records)} if "points" in records[0] else {}


def rates_by_length(results: Mapping[str, Any]) -> dict[str, float]:
    """Inside rate of the words of each of `LENGTHS`, from the results of an evaluation."""
    words = [word for image in results.get("images", ()) for word in image["words"]]
    rates = {}
    for low, high in LENGTHS:
        inside = [word["inside"] for word in words if low <= len(word["text"]) <= high]
        if inside:
            rates[f"{low}-{high}"] = sum(inside) / len(inside)
    return rates


def rates_by_line(results: Mapping[str, Any]) -> dict[str, float]:
    """Inside rate of the lines of each number of words, likewise; a single word is one, too."""
    inside: dict[int, list[bool]] = {}
    for image in results.get("images", ()):
        for line in image["words"]:
            inside.setdefault(len(line["text"].split()), []).append(line["inside"])
    return {str(count): sum(own) / len(own) for count, own in sorted(inside.items())}


def read_lines(folder: Path) -> list[dict[str, Any]]:
    """Lines of a training's metrics.json; a line that is being written is left out."""
    path = folder / "metrics.json"
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    rows = []
    for line in lines:
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return [row for row in rows if "iteration" in row]
