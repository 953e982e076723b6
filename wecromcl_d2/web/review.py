"""Review of the points of a label file: most doubtful first, saved at each step, with undo."""

from __future__ import annotations

import io
import math
import os
import shutil
import threading
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..data.datasets import split_name, write_labels
from ..data.exchange.labels import read_relative
from ..data.exchange.words import LabelledWord, record_of, words_of
from ..data.images import ImageError, read_image, upright_size
from .limits import Limits, RequestError

_POINT_DIGITS = 2
_JPEG_QUALITY = 92


class Review:
    """A label file under review.

    Every change is written at once, as a whole new file in place of the old one. Before the first
    change the file is copied to `FILE.before-review`, unless such a copy is there already.

    Args:
        name: `FILE`, or `FILE@IMAGE_ROOT` if the images are not below the file's folder.
        limits: on the pixels of an image.

    Raises:
        LabelError: if the file is bad.
    """

    def __init__(self, name: str, limits: Limits):
        records, root = read_relative(name)
        parts = None if Path(name).is_file() else split_name(name)
        self.path = parts[0] if parts else Path(name)
        self.root, self.limits = root.resolve(), limits
        self.heads = records
        self.words = [words_of(record) for record in records]
        self.weighted = any("point_weights" in record for record in records)
        self._undo: list[tuple[int, int, LabelledWord]] = []
        self._reviewed: set[tuple[int, int]] = set()
        self._state = self._file_state()
        self._lock = threading.Lock()

    def queue(self, count: int) -> dict[str, Any]:
        """The words, most doubtful first.

        Args:
            count: largest number of words.

        Returns:
            `words`, their `total`, the number `reviewed` since the start, and how many changes can
            be undone, `undo`.
        """
        with self._lock:
            places = [
                (doubt(word), image, index)
                for image, words in enumerate(self.words)
                for index, word in enumerate(words)
                if word.text.strip() and not word.ignore
            ]
            places.sort()
            listed = [self._entry(image, index) for _, image, index in places[:count]]
            return {"words": listed, "total": len(places), **self._progress()}

    def move(self, image: int, index: int, point: Any) -> dict[str, Any]:
        """Give a word a point (x, y), in pixels of the image."""
        height, width = self.heads[self._image(image)]["height"], self.heads[image]["width"]
        if not (isinstance(point, list) and len(point) == 2 and all(map(_is_number, point))):
            raise RequestError(HTTPStatus.BAD_REQUEST, "a point is two numbers [x, y]")
        if not (0 <= point[0] <= width and 0 <= point[1] <= height):
            raise RequestError(
                HTTPStatus.BAD_REQUEST,
                f"the point {point} is outside the image of {width} x {height} pixels",
            )
        place = [round(float(value), _POINT_DIGITS) for value in point]
        return self._change(image, index, lambda word: self._sure(word._replace(point=place)))

    def confirm(self, image: int, index: int) -> dict[str, Any]:
        """Accept the point of a word as it is."""

        def accept(word: LabelledWord) -> LabelledWord:
            if word.point is None:
                raise RequestError(
                    HTTPStatus.BAD_REQUEST, f"{word.text!r} has no point yet; click its place"
                )
            return self._sure(word)

        return self._change(image, index, accept)

    def mark_absent(self, image: int, index: int) -> dict[str, Any]:
        """Mark a word that is not in its image: it keeps its text, but is ignored."""

        def ignore(word: LabelledWord) -> LabelledWord:
            weight = 0.0 if self.weighted else None
            return LabelledWord(word.text, weight=weight, polygon=word.polygon, ignore=True)

        return self._change(image, index, ignore)

    def undo(self) -> dict[str, Any]:
        """Take back the last change."""
        with self._lock:
            if not self._undo:
                raise RequestError(HTTPStatus.CONFLICT, "there is nothing to undo")
            image, index, word = self._undo[-1]
            self._replace(image, index, word)
            self._undo.pop()
            if (image, index) not in {(i, w) for i, w, _ in self._undo}:
                self._reviewed.discard((image, index))
            return {"word": self._entry(image, index), **self._progress()}

    def text(self, image: int, index: int) -> str:
        """The text of a word."""
        return self._word(image, index).text

    def jpeg(self, image: int) -> bytes:
        """The image of a record as an upright JPEG, whatever the format of its file."""
        stream = io.BytesIO()
        Image.fromarray(self.pixels(image)).save(stream, "JPEG", quality=_JPEG_QUALITY)
        return stream.getvalue()

    def pixels(self, image: int) -> np.ndarray:
        """The image of a record, upright RGB.

        Raises:
            RequestError: if the file is outside the image root, unreadable or too large.
        """
        name = self.heads[self._image(image)]["file_name"]
        path = self.root / name
        if not _is_inside(path, self.root):
            raise RequestError(HTTPStatus.NOT_FOUND, f"{name} is outside the image root")
        try:
            height, width = upright_size(path)
            if height * width > self.limits.pixels:
                raise RequestError(
                    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                    f"{name} has {width} x {height} pixels; at most "
                    f"{self.limits.pixels / 1e6:g} million are read",
                )
            return read_image(path)
        except ImageError as error:
            raise RequestError(HTTPStatus.NOT_FOUND, str(error)) from None

    def _sure(self, word: LabelledWord) -> LabelledWord:
        """The word with the marks of a point that a person has seen."""
        weight = 1.0 if self.weighted else None
        return word._replace(score=1.0, weight=weight, similarity=None, ignore=False)

    def _change(
        self, image: int, index: int, change: Callable[[LabelledWord], LabelledWord]
    ) -> dict[str, Any]:
        """Change one word, in the file too."""
        with self._lock:
            old = self._word(image, index)
            self._replace(image, index, change(old))
            self._undo.append((image, index, old))
            self._reviewed.add((image, index))
            return {"word": self._entry(image, index), **self._progress()}

    def _replace(self, image: int, index: int, word: LabelledWord) -> None:
        """Exchange a word in memory and in the file; if the file fails, in neither."""
        old = self.words[image][index]
        self.words[image][index] = word
        try:
            self._save()
        except BaseException:
            self.words[image][index] = old
            raise

    def _save(self) -> None:
        if self._file_state() != self._state:
            raise RequestError(
                HTTPStatus.CONFLICT,
                f"{self.path} was changed by another program; nothing is written over it. Start "
                "wecromcl web again",
            )
        backup = self.path.with_name(f"{self.path.name}.before-review")
        try:
            if not backup.exists():
                shutil.copy2(self.path, backup)
            pairs = zip(self.heads, self.words, strict=True)
            write_labels(self.path, (record_of(head, words) for head, words in pairs))
        except OSError as error:
            raise RequestError(
                HTTPStatus.INTERNAL_SERVER_ERROR, f"{self.path} cannot be written: {error}"
            ) from error
        self._state = self._file_state()

    def _file_state(self) -> tuple[int, int, int]:
        try:
            state = os.stat(self.path)
        except OSError:
            return 0, 0, 0
        return state.st_ino, state.st_size, state.st_mtime_ns

    def _image(self, image: int) -> int:
        if not 0 <= image < len(self.heads):
            raise RequestError(HTTPStatus.NOT_FOUND, f"there is no image {image}")
        return image

    def _word(self, image: int, index: int) -> LabelledWord:
        words = self.words[self._image(image)]
        if not 0 <= index < len(words):
            raise RequestError(HTTPStatus.NOT_FOUND, f"image {image} has no word {index}")
        return words[index]

    def _entry(self, image: int, index: int) -> dict[str, Any]:
        word, head = self.words[image][index], self.heads[image]
        return {
            "image": image,
            "word": index,
            "text": word.text,
            "file_name": head["file_name"],
            "height": head["height"],
            "width": head["width"],
            "point": word.point,
            "ignore": word.ignore,
            "similarity": word.similarity,
            "score": word.score,
            "weight": word.weight,
            "reviewed": (image, index) in self._reviewed,
            "others": [
                other.point
                for place, other in enumerate(self.words[image])
                if place != index and other.point is not None
            ],
        }

    def _progress(self) -> dict[str, int]:
        return {"reviewed": len(self._reviewed), "undo": len(self._undo)}


def doubt(word: LabelledWord) -> float:
    """What words are sorted by: the similarity, or else the weight, or else the score of a point.

    A word without point comes first of all.
    """
    if word.point is None:
        return -math.inf
    values = (word.similarity, word.weight, word.score)
    return next((value for value in values if value is not None), math.inf)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_inside(path: Path, root: Path) -> bool:
    return path.resolve().is_relative_to(root)
