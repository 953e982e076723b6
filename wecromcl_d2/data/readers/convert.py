"""Conversion of ground truth and images to records of the label format."""

from __future__ import annotations

import os
import posixpath
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np

from ...geometry import polygon_center
from ..datasets import LabelError, Record
from ..images import ImageError, read_header, turned_size
from .base import ImageGT, Tally, Word
from .sources import IMAGE_SUFFIXES

_NO_WORD = "images without a word"


class ImageFolder:
    """Finds images by full name or by stem."""

    def __init__(self, path: Path):
        self.path = path
        self._by_stem: dict[str, list[str]] | None = None
        self._found: set[str] = set()

    def find(self, names: tuple[str, ...]) -> str | None:
        """The first of the names that exists, with its suffix; None if none does.

        Raises:
            LabelError: if a stem belongs to several images.
        """
        for name in names:
            if posixpath.splitext(name)[1].lower() in IMAGE_SUFFIXES:
                if os.path.isfile(self.path / name):
                    return name
                continue
            candidates = self._stems().get(name, [])
            if len(candidates) > 1:
                raise LabelError(
                    f"{self.path}: {' and '.join(candidates)} share a name; remove one of them"
                )
            if candidates:
                self._found.add(name)
                return candidates[0]
        return None

    def unused(self) -> list[str]:
        """The images whose stem `find` never got; none if it never got a stem."""
        stems = self._by_stem or {}
        return sorted(name for stem, names in stems.items() if stem not in self._found
                      for name in names)  # fmt: skip

    def _stems(self) -> dict[str, list[str]]:
        if self._by_stem is None:
            self._by_stem = {}
            for name in sorted(os.listdir(self.path)):
                stem, suffix = posixpath.splitext(name)
                is_image = suffix.lower() in IMAGE_SUFFIXES and not name.startswith(".")
                if is_image and os.path.isfile(self.path / name):
                    self._by_stem.setdefault(stem, []).append(name)
        return self._by_stem


def convert(
    ground_truth: Iterable[ImageGT],
    images: ImageFolder,
    tally: Tally,
    *,
    prefix: str = "",
    words_only: bool = False,
    min_length: int = 1,
    decode: bool = False,
) -> Iterator[Record]:
    """One record for each annotated image that exists.

    The ground truth of published sets refers to the stored pixels, but the loader turns an
    image as its EXIF tag says; positions are turned likewise, and sizes are those after turning.

    Args:
        ground_truth: of a reader.
        images: folder of the images.
        tally: counts are added to it.
        prefix: path of the image folder relative to the root of `file_name`.
        words_only: write texts only, without positions and without ignored words.
        min_length: ignore words of fewer characters.
        decode: decode every image completely instead of its header.

    Raises:
        LabelError: if an image has another size than annotated, or its name is ambiguous.
    """
    for gt in ground_truth:
        name = images.find(gt.names)
        if name is None:
            tally.missing.add(gt.names[0])
            continue
        try:
            stored, orientation = read_header(images.path / name, decode)
        except ImageError:
            tally.damaged.add(name)
            continue
        size = turned_size(stored, orientation)
        if gt.size is not None and gt.size not in (stored, size):
            raise LabelError(
                f"{gt.where}: image {name} is {stored[0]} x {stored[1]} pixels high and wide, "
                f"its ground truth says {gt.size[0]} x {gt.size[1]}"
            )
        # The stated size shows whether positions refer to the stored or to the turned image; a
        # square image leaves it open.
        turn = 1 if gt.size is not None and gt.size != stored else orientation
        tally.turned += orientation != 1
        file_name = posixpath.join(prefix, name)
        words = [_placed(word, turn, stored, min_length) for word in gt.words]
        _count(words, file_name, tally)
        record: Record = {"file_name": file_name, "height": size[0], "width": size[1]}
        if gt.image_id is not None:
            record["image_id"] = gt.image_id
        yield record | (_texts(words) if words_only else _columns(words))


def _texts(words: list[Word]) -> Record:
    return {"texts": [word.text for word in words if not word.ignore]}


def _columns(words: list[Word]) -> Record:
    """The label format's lists; positions that no word has are left out."""
    columns: Record = {"texts": [word.text for word in words]}
    if any(word.point is not None for word in words):
        columns["points"] = [word.point for word in words]
    if any(word.polygon is not None for word in words):
        columns["polygons"] = [word.polygon for word in words]
    if any(word.ignore for word in words):
        columns["ignore"] = [word.ignore for word in words]
    return columns


def _placed(word: Word, orientation: int, stored: tuple[int, int], min_length: int) -> Word:
    """The word with its center, turned like its image, and ignored if it is blank or too short."""
    point = word.point
    if point is None and word.polygon is not None:
        point = _center(word.polygon)
    return Word(
        word.text,
        None if word.polygon is None else turned(word.polygon, orientation, stored),
        None if point is None else turned(point, orientation, stored),
        word.ignore or not word.text.strip() or len(word.text) < min_length,
    )


def _center(polygon: list[float]) -> list[float]:
    if len(polygon) == 8:
        # `polygon_center` of four vertices is their mean; computed here, as most words have four.
        return [sum(polygon[0::2]) / 4, sum(polygon[1::2]) / 4]
    return polygon_center(polygon).tolist()


def turned(flat: list[float], orientation: int, size: tuple[int, int]) -> list[float]:
    """Move positions from the stored pixels to the image as it is shown.

    Args:
        flat: `x1, y1, ...` in the stored image.
        orientation: EXIF orientation, 1 to 8.
        size: (height, width) of the stored image.
    """
    if orientation == 1:
        return flat
    height, width = size
    xs, ys = flat[0::2], flat[1::2]
    if orientation in (2, 3, 7, 8):
        xs = [width - x for x in xs]
    if orientation in (3, 4, 6, 7):
        ys = [height - y for y in ys]
    if orientation >= 5:
        xs, ys = ys, xs
    return [value for pair in zip(xs, ys, strict=True) for value in pair]


def _count(words: list[Word], file_name: str, tally: Tally) -> None:
    tally.images += 1
    tally.words += len(words)
    if not words:
        tally.note(_NO_WORD, file_name)
    for word in words:
        tally.ignored += word.ignore
        tally.blank += not word.text.strip()
        if not word.ignore:
            tally.characters.update(unicodedata.normalize("NFC", word.text))
        if word.polygon is not None and word.point is not None:
            tally.outlines += 1
            contour = np.array(word.polygon, dtype=np.float32).reshape(-1, 1, 2)
            x, y = word.point
            tally.outside += cv2.pointPolygonTest(contour, (float(x), float(y)), False) < 0
