"""Selection of records to export, and merging of corrected ones into a label file."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path

from ..datasets import LabelError, Record, read_labels, split_name
from ..images import ImageError, upright_size
from .words import LabelledWord, record_of, words_of

_HEAD = ("file_name", "height", "width")
# Distance in pixels below which two points are the same.
_UNMOVED = 0.01


def read_relative(name: str) -> tuple[list[Record], Path]:
    """The records of a label file with relative file names and with sizes, and their image root.

    Args:
        name: `FILE`, or `FILE@IMAGE_ROOT` if the images are not below the file's folder.

    Raises:
        LabelError: if the file is bad, or an image whose size it does not state cannot be read.
    """
    parts = None if Path(name).is_file() else split_name(name)
    file, folder = parts or (Path(name), None)
    root = file.parent if folder is None else folder
    return [_relative(record, root) for record in read_labels(file, root)], root


def _relative(record: Record, root: Path) -> Record:
    """The record of a dataset dict: its file name relative to the root, with the image's size."""
    path = record["file_name"]
    size: Record = {key: record[key] for key in ("height", "width") if key in record}
    if not size:
        try:
            size["height"], size["width"] = upright_size(path)
        except ImageError as error:
            raise LabelError(f"{error}; its record does not state its size either") from None
    file_name = Path(os.path.relpath(path, root)).as_posix()
    rest = {key: value for key, value in record.items() if key not in _HEAD}
    result: Record = {"file_name": file_name, **size, **rest}
    if result["image_id"] == os.path.splitext(file_name)[0]:
        del result["image_id"]
    return result


def most_doubtful(records: Sequence[Record], percent: float) -> list[Record]:
    """A share of the images, those with the lowest score of a point, by rising lowest score.

    A word without point, unless ignored, has the lowest score of all; images without
    words are last.
    """

    def sureness(record: Record) -> float:
        scores = [
            -1.0 if word.point is None or word.score is None else word.score
            for word in words_of(record)
            if not word.ignore and word.text.strip()
        ]
        return min(scores, default=math.inf)

    return sorted(records, key=sureness)[: math.ceil(len(records) * percent / 100)]


def merge(base: Sequence[Record], corrected: Sequence[Record]) -> list[Record]:
    """Records in which corrected words replace those of the base.

    A corrected word keeps the outline of the base's word of equal text, and the score of a point
    that was not moved. If the labels have weights, corrected points get weight 1.

    Args:
        base: records of a label file.
        corrected: new words of some of its images.

    Raises:
        LabelError: if `base` lacks an image.
    """
    new = {record["file_name"]: record for record in corrected}
    unknown = sorted(new.keys() - {record["file_name"] for record in base})
    if unknown:
        raise LabelError(f"{unknown[0]!r} is corrected, but the label file has no such image")
    weighted = any("point_weights" in record for record in base)
    return [
        _merged(record, new[record["file_name"]], weighted)
        if record["file_name"] in new
        else record
        for record in base
    ]


def _merged(base: Record, corrected: Record, weighted: bool) -> Record:
    left = words_of(base)
    words = []
    for word in words_of(corrected):
        same = next((i for i, own in enumerate(left) if own.text == word.text), None)
        old = LabelledWord(word.text) if same is None else left.pop(same)
        unmoved = (
            word.point is not None
            and old.point is not None
            and math.dist(word.point, old.point) < _UNMOVED
        )
        words.append(
            word._replace(
                score=old.score if word.score is None and unmoved else word.score,
                weight=float(word.point is not None) if weighted else word.weight,
                similarity=old.similarity if unmoved else None,
                polygon=old.polygon if word.polygon is None else word.polygon,
            )
        )
    return record_of(base, words)
