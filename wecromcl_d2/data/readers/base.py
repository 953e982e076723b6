"""Shared by all readers: the words they yield, counts, and checks of numbers and strings.

A reader turns the ground truth of one split into `ImageGT`s. A fault of a source ends in a
`LabelError` that names file and line, or in a count of the `Tally`.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from ..label_format import MAX_COORDINATE, MIN_POLYGON_VERTICES, LabelError, is_text

UNREADABLE = "###"
_NUMBER = re.compile(r"[ \t]*[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?[ \t]*", re.ASCII)
_MOST_NAMES_SHOWN = 5


class Word(NamedTuple):
    """One annotated text.

    Attributes:
        text: transcription as in the source.
        polygon: outline `x1, y1, ...` in the source's order of vertices; None if unknown.
        point: center (x, y) where the source gives it; None to derive it from the outline.
        ignore: whether the source marks the text as not to be evaluated.
    """

    text: str
    polygon: list[float] | None = None
    point: list[float] | None = None
    ignore: bool = False


class ImageGT(NamedTuple):
    """The annotation of one image.

    Attributes:
        where: place in the source, for messages.
        names: names that the image may have in the image folder, best first. One with an image
            suffix means that file, one without any image file of that stem.
        words: its texts.
        size: (height, width) if the source states it.
        image_id: identity that the source gives the image, if any.
    """

    where: str
    names: tuple[str, ...]
    words: list[Word]
    size: tuple[int, int] | None = None
    image_id: int | str | None = None


@dataclass
class Names:
    """Number of things of a kind, and the names of the first ones."""

    count: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, name: str) -> None:
        """Count one more."""
        self.count += 1
        if len(self.first) < _MOST_NAMES_SHOWN:
            self.first.append(name)

    def __str__(self) -> str:
        dots = ", ..." if self.count > len(self.first) else ""
        return f"{self.count}" + (f" ({', '.join(self.first)}{dots})" if self.first else "")


@dataclass
class Tally:
    """Counts of one conversion. Words are those of the images that were written.

    Attributes:
        images: images written.
        words: texts of these images, ignored ones included.
        ignored: texts that are not evaluated, blank ones included.
        blank: texts without a visible character.
        outlines: texts with an outline.
        outside: texts whose center lies outside their outline.
        turned: images that the loader turns because of their EXIF tag; their positions were
            turned likewise.
        characters: how often each character occurs in the texts that are not ignored.
        missing: annotated images that do not exist.
        damaged: images that cannot be read.
        dropped: other things left out, by reason.
        notes: things kept that may be faults, by kind.
    """

    images: int = 0
    words: int = 0
    ignored: int = 0
    blank: int = 0
    outlines: int = 0
    outside: int = 0
    turned: int = 0
    characters: Counter[str] = field(default_factory=Counter)
    missing: Names = field(default_factory=Names)
    damaged: Names = field(default_factory=Names)
    dropped: dict[str, Names] = field(default_factory=dict)
    notes: dict[str, Names] = field(default_factory=dict)

    def drop(self, reason: str, name: str) -> None:
        """Count a thing that was left out."""
        self.dropped.setdefault(reason, Names()).add(name)

    def note(self, kind: str, name: str) -> None:
        """Count a thing that may be a fault."""
        self.notes.setdefault(kind, Names()).add(name)


def decode_text(data: bytes, encoding: str = "utf-8") -> str:
    """Decode a text file's bytes, without its byte-order mark.

    Raises:
        LabelError: if the bytes are of another encoding or hold a NUL; the message starts with the
            line number.
    """
    try:
        text = data.decode("utf-8-sig" if encoding == "utf-8" else encoding)
    except LookupError:
        raise LabelError(f"1: {encoding!r} is no encoding of text") from None
    except UnicodeError as error:
        start = error.start if isinstance(error, UnicodeDecodeError) else 0
        line = data[:start].count(b"\n") + 1
        raise LabelError(
            f"{line}: not {encoding}; save the file as UTF-8 or name its encoding"
        ) from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise LabelError(f"{line}: a NUL character; the file is damaged or of another encoding")
    return text


def load_text(path: Path, encoding: str = "utf-8") -> str:
    """Read and decode a whole file.

    Raises:
        LabelError: naming the file, and the line that cannot be decoded.
    """
    try:
        return decode_text(path.read_bytes(), encoding)
    except OSError as error:
        raise LabelError(f"{path}: cannot be read: {error.strerror}") from None
    except LabelError as error:
        raise LabelError(f"{path}:{error}") from None


def iterate_lines(path: Path, encoding: str = "utf-8", newline: str = "") -> Iterator[str]:
    """Lines of a text file, decoded one by one; `newline` as `open` takes it.

    Raises:
        LabelError: as `load_text` does.
    """
    try:
        utf8 = "utf-8-sig" if encoding == "utf-8" else encoding
        with open(path, encoding=utf8, newline=newline) as stream:
            for line in stream:
                if "\0" in line:
                    raise UnicodeError("a NUL character")
                yield line
    except OSError as error:
        raise LabelError(f"{path}: cannot be read: {error.strerror}") from None
    except (UnicodeError, LookupError):
        load_text(path, encoding)  # names the line
        raise


def parse_lines(text: str, parse: Callable[[str], Word]) -> list[Word]:
    """Parse every line that is not blank; errors start with the line number."""
    words = []
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                words.append(parse(line.removesuffix("\r")))
            except LabelError as error:
                raise LabelError(f"{number}: {error}") from None
    return words


def parse_numbers(fields: Sequence[str]) -> list[float]:
    """Decimal numbers, whole ones as integers.

    Raises:
        LabelError: if a field is no plain number or one beyond the label format's bound.
    """
    values: list[float] = []
    for text in fields:
        if not _NUMBER.fullmatch(text):
            raise LabelError(f"{text!a:.40} is not a number")
        values.append(_bounded(float(text)))
    return values


def _bounded(value: float) -> float:
    if not abs(value) <= MAX_COORDINATE:
        raise LabelError(
            f"{value!r:.40} is no coordinate; none is beyond {MAX_COORDINATE:.0e} pixels"
        )
    return int(value) if value == int(value) else value


def checked_numbers(values: Any, count: int | None = None) -> list[float]:
    """A list of finite numbers from JSON, whole ones as integers.

    Raises:
        LabelError: if it is no list of numbers, has another length than `count`, or one of them
            is too large.
    """
    if not isinstance(values, list) or (count is not None and len(values) != count):
        wanted = "a list of numbers" if count is None else f"a list of {count} numbers"
        raise LabelError(f"{values!a:.60} is not {wanted}")
    numbers = []
    for value in values:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise LabelError(f"{value!a:.40} is not a number")
        numbers.append(_bounded(value))
    return numbers


def checked_text(value: Any) -> str:
    """A string that can be encoded as UTF-8.

    Raises:
        LabelError: if it is no string, or holds a NUL or a lone surrogate.
    """
    if not isinstance(value, str):
        raise LabelError(f"{value!a:.60} is not a string")
    if "\0" in value or not is_text(value):
        raise LabelError(f"text {value!a:.60} holds a NUL or half of a surrogate pair")
    return value


def checked_name(value: Any) -> str:
    """The normalised relative path of an image.

    Raises:
        LabelError: if it is no path inside the image folder.
    """
    name = posixpath.normpath(checked_text(value)) if value else ""
    if not name or name.startswith("/") or name.split("/")[0] in ("..", "."):
        raise LabelError(f"image {value!a:.80} does not lie inside the image folder")
    return name


def checked_identity(value: Any) -> int | str:
    """An image's identity from JSON.

    Raises:
        LabelError: if it is neither an integer nor a string.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    return checked_text(value)


def checked_size(record: dict[str, Any]) -> tuple[int, int] | None:
    """(height, width) of a JSON record, None if it states neither.

    Raises:
        LabelError: if they are no positive integers or only one is there.
    """
    size = record.get("height"), record.get("width")
    if size == (None, None):
        return None
    for value in size:
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise LabelError(f"height and width are {size!a:.60}, not positive integers")
    return size  # type: ignore[return-value]


def outline(values: list[float]) -> list[float] | None:
    """An outline, None for too few vertices to be one.

    Raises:
        LabelError: if the count of numbers is odd.
    """
    if len(values) % 2:
        raise LabelError(f"{len(values)} numbers are not pairs of x and y")
    return values if len(values) >= 2 * MIN_POLYGON_VERTICES else None


def box_outline(left: float, top: float, right: float, bottom: float) -> list[float]:
    """The outline of an axis-parallel box, clockwise on the screen from the upper left.

    Raises:
        LabelError: if the box ends before it starts.
    """
    if right < left or bottom < top:
        raise LabelError(
            f"box {left}, {top}, {right}, {bottom} ends before it starts; "
            "it should be left, top, right, bottom"
        )
    return [left, top, right, top, right, bottom, left, bottom]


def load_json(
    path: Path, encoding: str = "utf-8", shrink: Callable[[dict[str, Any]], Any] | None = None
) -> Any:
    """Read a JSON file; objects with a repeated key and numbers such as NaN are refused.

    Args:
        path: the file.
        encoding: of the file.
        shrink: called with every object once it is read, returns what to keep in its place.

    Raises:
        LabelError: naming the file and, for a fault of the syntax, the line.
    """

    def collect(pairs: list[tuple[str, Any]]) -> Any:
        record = dict(pairs)
        if len(record) != len(pairs):
            twice = next(key for key, times in Counter(k for k, _ in pairs).items() if times > 1)
            raise LabelError(f"key {twice!a:.80} occurs twice in one object")
        return record if shrink is None else shrink(record)

    def refuse(constant: str) -> Any:
        raise LabelError(f"{constant} is not a number")

    text = load_text(path, encoding)
    try:
        return json.loads(text, object_pairs_hook=collect, parse_constant=refuse)
    except json.JSONDecodeError as error:
        raise LabelError(f"{path}:{error.lineno}: not valid JSON: {error.msg}") from None
    except (ValueError, RecursionError) as error:
        raise LabelError(f"{path}: not usable JSON: {error}") from None


def entries(value: Any, path: Path, key: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """(place, object) for each element of a list of objects in a JSON file.

    Raises:
        LabelError: if `value` is no list or an element no object.
    """
    if not isinstance(value, list):
        raise LabelError(f"{path}: {key} is {value!a:.40}, not a list")
    for index, item in enumerate(value):
        place = f"{path}: {key}[{index}]"
        if not isinstance(item, dict):
            raise LabelError(f"{place}: {item!a:.40} is not an object")
        yield place, item
