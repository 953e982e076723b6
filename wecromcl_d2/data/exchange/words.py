"""Conversion between a record of the label format and one object per word."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ...geometry import Box, bounding_box
from ..datasets import Record


class LabelledWord(NamedTuple):
    """A word of a record.

    Attributes:
        text: transcription.
        point: (x, y) in pixels of the image, if known.
        score: of the point, if known.
        weight: of the point, if the labels have weights.
        polygon: outline `x1, y1, ...`, if known.
        ignore: whether the word is ignored.
        similarity: of the point's region and the word, if known.
    """

    text: str
    point: list[float] | None = None
    score: float | None = None
    weight: float | None = None
    polygon: list[float] | None = None
    ignore: bool = False
    similarity: float | None = None

    @property
    def box(self) -> Box | None:
        """(left, top, right, bottom) of the outline, or the point as a box without area."""
        if self.polygon is not None:
            return bounding_box(self.polygon)
        return None if self.point is None else (*self.point, *self.point)  # type: ignore[return-value]


_FIELDS = {
    "points": "point",
    "point_scores": "score",
    "point_weights": "weight",
    "polygons": "polygon",
    "ignore": "ignore",
    "similarity": "similarity",
}


def words_of(record: Record) -> list[LabelledWord]:
    """The words of a record, in its order."""
    columns = {name: record[key] for key, name in _FIELDS.items() if key in record}
    return [
        LabelledWord(text, **{name: values[i] for name, values in columns.items()})
        for i, text in enumerate(record["texts"])
    ]


def record_of(head: Record, words: Sequence[LabelledWord]) -> Record:
    """A record with the columns that are not empty for all words.

    Args:
        head: its other keys.
        words: of the image.
    """
    record = {key: value for key, value in head.items() if key not in _FIELDS}
    record["texts"] = [word.text for word in words]
    for key, name in _FIELDS.items():
        values = [getattr(word, name) for word in words]
        if name == "weight" and any(value is not None for value in values):
            record[key] = [0.0 if value is None else value for value in values]
        elif any(value is not None and value is not False for value in values):
            record[key] = values
    return record
