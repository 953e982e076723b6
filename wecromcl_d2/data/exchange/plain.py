"""Labels as a table with one row per word, and as text files in the style of ICDAR 2015."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import PurePosixPath

import cv2
import numpy as np

from ..datasets import LabelError, Record
from ..readers.base import UNREADABLE
from .words import LabelledWord, words_of

COLUMNS = ("image", "text", "x", "y", "score", "weight", "ignore")
# Half the side, in pixels, of the box around a point without outline.
POINT_REACH = 2


def to_csv(records: Sequence[Record]) -> str:
    """Labels as a table; cells of unknown values are empty."""
    stream = io.StringIO(newline="")
    writer = csv.writer(stream)
    writer.writerow(COLUMNS)
    for record in records:
        for word in words_of(record):
            place = word.point or ("", "")
            known = ("" if value is None else value for value in (word.score, word.weight))
            writer.writerow([record["file_name"], word.text, *place, *known, int(word.ignore)])
    return stream.getvalue()


def to_icdar(records: Sequence[Record]) -> tuple[dict[str, str], int]:
    """Name and content of a text file `gt_IMAGE.txt` for each image, and the words left out.

    A line is `x1,y1,...,x4,y4,word` in whole pixels. Outlines of other than four vertices become
    the smallest turned box around them, points without outline a box of 4 pixels. Words without
    either are left out and counted.

    Raises:
        LabelError: if two images have one name.
    """
    files: dict[str, str] = {}
    lost = 0
    for record in records:
        name = f"gt_{PurePosixPath(record['file_name']).stem}.txt"
        if name in files:
            raise LabelError(f"two images would write {name}; ICDAR's files have no folders")
        lines = []
        for word in words_of(record):
            corners = _corners(word)
            lost += corners is None
            if corners is not None:
                text = UNREADABLE if word.ignore else word.text
                lines.append(",".join([*(str(round(c)) for c in corners), text]) + "\n")
        files[name] = "".join(lines)
    return files, lost


def _corners(word: LabelledWord) -> list[float] | None:
    """Four vertices `x1, y1, ...` for a word; None without point and outline."""
    if word.polygon is not None:
        if len(word.polygon) == 8:
            return word.polygon
        vertices = np.array(word.polygon, dtype=np.float32).reshape(-1, 2)
        return cv2.boxPoints(cv2.minAreaRect(vertices)).ravel().tolist()
    if word.point is None:
        return None
    (x, y), r = word.point, POINT_REACH
    return [x - r, y - r, x + r, y - r, x + r, y + r, x - r, y + r]
