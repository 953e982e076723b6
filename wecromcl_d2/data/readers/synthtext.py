"""SynthText-800k: one MATLAB file of several gigabytes, read at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..label_format import MAX_COORDINATE, LabelError
from .base import ImageGT, Tally, Word, checked_name, checked_text
from .matlab import load_variables, numbers, rows

_MISMATCH = "images whose words and boxes differ in number"


def read_synthtext(path: Path, tally: Tally) -> Iterator[ImageGT]:
    """Read `imnames`, `wordBB` and `txt` of `gt.mat` image by image.

    The three columns are in memory at once, some 500 MiB in all for 100,000 images.
    Coordinates are rounded to a hundredth of a pixel.

    Args:
        path: the file.
        tally: images whose words and boxes differ in number are counted in it.

    Raises:
        LabelError: with file and image number.
    """
    number = 0
    try:
        columns = load_variables(path, ("imnames", "wordBB", "txt"))
        if any(column.dtype != object for column in columns):
            raise LabelError("imnames, wordBB and txt are not all cells")
        if len({column.size for column in columns}) > 1:
            raise LabelError("imnames, wordBB and txt differ in length")
        for name, boxes, text in zip(*(column.ravel(order="F") for column in columns), strict=True):
            number += 1
            gt = _image_gt(f"{path}: image {number}", "".join(rows(name)), boxes, text)
            if gt is None:
                tally.drop(_MISMATCH, "".join(rows(name)))
            else:
                yield gt
    except LabelError as error:
        place = f"{path}: image {number}" if number else f"{path}"
        raise LabelError(f"{place}: {error}") from None


def _image_gt(place: str, name: str, boxes: np.ndarray, text: np.ndarray) -> ImageGT | None:
    # Boxes of one word are an array (2, 4) of x and y of 4 corners, of W > 1 words (2, 4, W).
    flat = numbers(boxes)
    if flat and boxes.shape[:2] != (2, 4):
        raise LabelError(f"wordBB has shape {boxes.shape}, not 2 x 4 x words")
    texts = [word for row in rows(text) for word in row.split()]
    if 8 * len(texts) != len(flat):
        return None
    words = []
    for index, word in enumerate(texts):
        corners = flat[8 * index : 8 * index + 8]
        if not all(abs(value) <= MAX_COORDINATE for value in corners):
            raise LabelError(f"wordBB holds {corners}, no coordinates")
        words.append(Word(checked_text(word), [round(value, 2) for value in corners]))
    return ImageGT(place, (checked_name(name),), words)
