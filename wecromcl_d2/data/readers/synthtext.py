"""SynthText-800k: one MATLAB file of several gigabytes, read image by image."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ..datasets import MAX_COORDINATE, LabelError
from .base import Tally, Truth, Word, checked_name, checked_text
from .matlab import MatArray, iterate_cells

_MISMATCH = "images whose words and boxes differ in number"


def read_synthtext(path: Path, tally: Tally) -> Iterator[Truth]:
    """Read `imnames`, `wordBB` and `txt` of `gt.mat` side by side.

    Memory does not grow with the number of images. Coordinates are rounded to a hundredth of a
    pixel.

    Args:
        path: the file.
        tally: takes the images whose words and boxes differ in number.

    Raises:
        LabelError: with file and image number.
    """
    number = 0
    try:
        columns = (iterate_cells(path, name) for name in ("imnames", "wordBB", "txt"))
        for name, boxes, text in zip(*columns, strict=True):
            number += 1
            truth = _truth(f"{path}: image {number}", name, boxes, text)
            if truth is None:
                tally.drop(_MISMATCH, "".join(name.rows()))
            else:
                yield truth
    except LabelError as error:
        raise LabelError(f"{path}: image {max(number, 1)}: {error}") from None
    except ValueError:
        raise LabelError(f"{path}: imnames, wordBB and txt differ in length") from None


def _truth(place: str, name: MatArray, boxes: MatArray, text: MatArray) -> Truth | None:
    # A box array of one word has two dimensions, of several three: x and y, corner, word.
    if boxes.numbers and boxes.shape[:2] != (2, 4):
        raise LabelError(f"wordBB has shape {boxes.shape}, not 2 x 4 x words")
    texts = [word for row in text.rows() for word in row.split()]
    if 8 * len(texts) != len(boxes.numbers):
        return None
    words = []
    for index, word in enumerate(texts):
        corners = boxes.numbers[8 * index : 8 * index + 8]
        if not all(abs(value) <= MAX_COORDINATE for value in corners):
            raise LabelError(f"wordBB holds {corners}, no coordinates")
        words.append(Word(checked_text(word), [round(value, 2) for value in corners]))
    return Truth(place, (checked_name("".join(name.rows())),), words)
