"""JSON as ABCNet and SPTS read it, the format of CurvedSynText150k: Bezier outlines, coded words.

A word is a list of codes of fixed length. With 96 symbols, codes 0 to 94 are the printable ASCII
characters from the blank on, 95 is an unknown character and 96 padding; with 37, codes 0 to 25 are
`a-z`, 26 to 35 `0-9` and 36 is both.
"""

from __future__ import annotations

import string
from array import array
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..datasets import LabelError
from .base import (
    ImageGT,
    Tally,
    Word,
    box_outline,
    checked_identity,
    checked_name,
    checked_numbers,
    checked_size,
    entries,
    load_json,
    outline,
)

VOCABULARIES = {
    96: "".join(map(chr, range(32, 127))),
    37: string.ascii_lowercase + string.digits,
}

_CONTROL_POINTS = 8
# Points taken of each long side; odd, so that the midpoint of the curve (t = 0.5) is one of them.
_SAMPLES = 7
_CENTER = _SAMPLES // 2
_TIMES = np.linspace(0, 1, _SAMPLES)[:, None]
_BERNSTEIN = np.hstack(
    [(1 - _TIMES) ** 3, 3 * (1 - _TIMES) ** 2 * _TIMES, 3 * (1 - _TIMES) * _TIMES**2, _TIMES**3]
)
_UNLISTED = "annotations of images that are not listed"
_CUT = "words as long as their code, so perhaps cut"
_NO_OUTLINE = "words with fewer than three points"


class _Entry(NamedTuple):
    """An annotation in little memory, as a dataset has a million of them."""

    image: int | str
    text: str
    largest_code: int
    is_cut: bool
    polygon: array | None
    point: tuple[float, float] | None


def read_abcnet(
    path: Path, tally: Tally, encoding: str = "utf-8", vocabulary: int = 96
) -> Iterator[ImageGT]:
    """Read images and annotations; images without annotation come with no word.

    Args:
        path: the file.
        tally: annotations of unlisted images, words that may be cut and missing outlines are
            counted in it.
        encoding: of the file.
        vocabulary: number of symbols, 96 or 37; a single word may be valid in both.

    Raises:
        LabelError: with file and place, or if no code fits the vocabulary.
    """
    if vocabulary not in VOCABULARIES:
        raise LabelError(f"vocabulary {vocabulary}: there are {', '.join(map(str, VOCABULARIES))}")
    content = load_json(path, encoding, partial(_shrink, vocabulary=vocabulary))
    if not isinstance(content, dict) or not isinstance(content.get("annotations"), list):
        raise LabelError(f"{path}: not an object with images and annotations")
    words = _words_by_image(path, content.get("images"), content["annotations"], tally)
    largest = max((e.largest_code for e in content["annotations"]), default=vocabulary)
    # With 96 symbols, padding alone is code 96.
    if vocabulary == 96 and largest < 37:
        raise LabelError(f"{path}: no code is above {largest}; this looks like 37 symbols, not 96")
    for place, image in entries(content["images"], path, "images"):
        identity = image["id"]
        try:
            names = (checked_name(image.get("file_name")),)
            yield ImageGT(place, names, words.pop(identity), checked_size(image), identity)
        except LabelError as error:
            raise LabelError(f"{place}: {error}") from None


def _words_by_image(
    path: Path, images: Any, annotations: list[Any], tally: Tally
) -> dict[int | str, list[Word]]:
    words: dict[int | str, list[Word]] = {}
    for place, image in entries(images, path, "images"):
        try:
            identity = checked_identity(image.get("id"))
        except LabelError as error:
            raise LabelError(f"{place}: id: {error}") from None
        if identity in words:
            raise LabelError(f"{place}: image id {identity!r} occurs twice")
        words[identity] = []
    for index, entry in enumerate(annotations):
        place = f"annotations[{index}]"
        if not isinstance(entry, _Entry):
            raise LabelError(f"{path}: {place} is no object with image_id and rec")
        if entry.image not in words:
            tally.drop(_UNLISTED, place)
            continue
        if entry.is_cut:
            tally.note(_CUT, place)
        if entry.polygon is None:
            tally.note(_NO_OUTLINE, place)
        words[entry.image].append(
            Word(
                entry.text,
                None if entry.polygon is None else entry.polygon.tolist(),
                None if entry.point is None else list(entry.point),
                ignore=not entry.text,
            )
        )
    return words


def _shrink(record: dict[str, Any], vocabulary: int) -> Any:
    """An `_Entry` in place of an annotation; other objects unchanged."""
    if "image_id" not in record or "rec" not in record:
        return record
    try:
        text, largest, is_cut = decode_word(record["rec"], vocabulary)
        polygon, point = _positions(record)
        image = checked_identity(record["image_id"])
    except LabelError as error:
        raise LabelError(f"annotation {record.get('id')!a:.40}: {error}") from None
    return _Entry(image, text, largest, is_cut, polygon, point)


def decode_word(codes: Any, vocabulary: int) -> tuple[str, int, bool]:
    """The text of a coded word, its largest code, and whether it lacks padding.

    Raises:
        LabelError: if it is no list of codes of the vocabulary.
    """
    if not isinstance(codes, list):
        raise LabelError(f"rec is {codes!a:.60}, not a list of codes")
    padding = 96 if vocabulary == 96 else 36
    for code in codes:
        if isinstance(code, bool) or not isinstance(code, int) or not 0 <= code <= padding:
            raise LabelError(f"code {code!a:.40} is outside the vocabulary of {vocabulary}")
    characters = VOCABULARIES[vocabulary]
    is_cut = padding not in codes
    # Among 37 symbols the last is an unknown character, too; both are left out.
    used = codes[: codes.index(padding)] if vocabulary == 96 and not is_cut else codes
    text = "".join(characters[code] for code in used if code < len(characters))
    return text, max(codes, default=-1), is_cut


def bezier_outline(points: list[float]) -> tuple[np.ndarray, np.ndarray]:
    """Sample the two long sides of a word.

    Args:
        points: flat (x, y) of 8 control points: the cubic of one side, then that of the other in
            the reverse direction.

    Returns:
        Outline of shape `(14, 2)`, and the mean of both curves at t = 0.5, shape `(2,)`.
    """
    curves = _BERNSTEIN @ np.asarray(points, dtype=np.float64).reshape(2, 4, 2)
    return curves.reshape(-1, 2), curves[:, _CENTER].mean(axis=0)


def _positions(record: dict[str, Any]) -> tuple[array | None, tuple[float, float] | None]:
    values = record.get("bezier_pts")
    if values is None:
        if record.get("bbox") is None:
            return None, None
        x, y, width, height = checked_numbers(record["bbox"], 4)
        return array("d", box_outline(x, y, x + width, y + height)), None
    numbers = checked_numbers(values, 2 * _CONTROL_POINTS)
    given = len(numbers)
    # SPTS fills up outlines of fewer points with (0, 0).
    while given and numbers[given - 2 : given] == [0, 0]:
        given -= 2
    if given < len(numbers):
        vertices = outline(numbers[:given])
        return None if vertices is None else array("d", vertices), None
    sides, center = bezier_outline(numbers)
    return array("d", np.round(sides, 2).ravel()), (float(center[0]), float(center[1]))
