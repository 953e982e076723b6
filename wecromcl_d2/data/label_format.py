"""The label format: parsing of label files and checks of their records.

`datasets` describes a record.
"""

from __future__ import annotations

import difflib
import functools
import json
import math
import os
import posixpath
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

Record = dict[str, Any]
PathLike = str | os.PathLike[str]
# Line of the file, the JSON text of a record in UTF-8, and its value.
Parsed = tuple[int, bytes, Any]

# Larger than any image; areas and distances of larger coordinates lose precision.
MAX_COORDINATE = 1e7
MIN_POLYGON_VERTICES = 3
_REQUIRED = ("file_name", "texts")
_SIZE = ("height", "width")
# Lists with one entry per text.
_PER_TEXT = ("points", "point_scores", "point_weights", "similarity", "polygons", "ignore")
_KEYS = ("file_name", *_SIZE, "texts", *_PER_TEXT, "image_id")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_DECODER = json.JSONDecoder()


class LabelError(ValueError):
    """A label file or record that cannot be used; the message names file, line and remedy."""


def is_list_file(path: Path) -> bool:
    """Whether a label file holds one JSON list; otherwise it holds JSON lines.

    Raises:
        LabelError: if its name has neither suffix.
    """
    if path.suffix in (".jsonl", ".json"):
        return path.suffix == ".json"
    raise LabelError(f"{path}: a label file ends in .jsonl or .json, not {path.suffix!r}")


def parse_labels(path: Path) -> Iterator[Parsed]:
    """The unchecked records of a label file; JSON lines are read one by one.

    Raises:
        LabelError: if the file cannot be read or is not of this form.
    """
    parse = _parse_list if is_list_file(path) else _parse_lines
    try:
        yield from parse(path)
    except OSError as error:
        raise LabelError(f"{path}: cannot be read: {error.strerror}") from error


def _parse_lines(path: Path) -> Iterator[Parsed]:
    """JSON lines; blank lines are skipped."""
    with open(path, "rb") as stream:
        for number, data in enumerate(stream, start=1):
            if number == 1:
                data = data.removeprefix(_BYTE_ORDER_MARK)
            line = _decode_text(data, path, number).strip()
            if line:
                value, end = _decode_value(line, 0, path, number)
                if end != len(line):
                    raise LabelError(f"{path}:{number}: more than one JSON value; write one a line")
                yield number, line.encode(), value


def _parse_list(path: Path) -> Iterator[Parsed]:
    """The elements of one JSON list."""
    content = _decode_text(path.read_bytes().removeprefix(_BYTE_ORDER_MARK), path, 1)
    line = 1

    def skip_blanks(position: int) -> int:
        nonlocal line
        while content[position : position + 1] in (" ", "\t", "\r", "\n"):
            line += content[position] == "\n"
            position += 1
        return position

    position = skip_blanks(0)
    if content[position : position + 1] != "[":
        raise LabelError(f"{path}:{line}: a .json label file holds a list; .jsonl holds lines")
    position = skip_blanks(position + 1)
    while content[position : position + 1] != "]":
        start = position
        value, position = _decode_value(content, position, path, line)
        yield line, content[start:position].encode(), value
        line += content.count("\n", start, position)
        position = skip_blanks(position)
        if content[position : position + 1] == ",":
            position = skip_blanks(position + 1)
        elif content[position : position + 1] != "]":
            raise LabelError(f"{path}:{line}: expected ',' or ']' after a record")
    if skip_blanks(position + 1) != len(content):
        raise LabelError(f"{path}:{line}: text after the list; remove it")


def _decode_text(data: bytes, path: Path, line: int) -> str:
    """Decode UTF-8 that starts in a line of a file."""
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line += data[: error.start].count(b"\n")
        raise LabelError(f"{path}:{line}: not UTF-8; save the file as UTF-8") from error


def _decode_value(content: str, position: int, path: Path, line: int) -> tuple[Any, int]:
    """The JSON value at `position`, and the position after it."""
    try:
        return _DECODER.raw_decode(content, position)
    except json.JSONDecodeError as error:
        line += content.count("\n", position, error.pos)
        raise LabelError(f"{path}:{line}: not valid JSON: {error.msg}") from error
    except (ValueError, RecursionError) as error:
        raise LabelError(f"{path}:{line}: not usable JSON: {error}") from error


def check_record(value: Any) -> None:
    """Refuse what is no record.

    Raises:
        LabelError: naming the key, its value and what is wanted.
    """
    if not isinstance(value, dict):
        raise LabelError(f"a record is a JSON object, not {type(value).__name__}")
    for key in sorted(value.keys() - set(_KEYS)):
        meant = _similar_key(key)
        if meant:
            raise LabelError(f"unknown key {key!r}; did you mean {meant!r}?")
    for key in _REQUIRED:
        if key not in value:
            raise LabelError(f"key {key!r} is missing; the record has {', '.join(value)}")
    _check_file_name(value["file_name"])
    stated = [key for key in _SIZE if key in value]
    if len(stated) == 1:
        raise LabelError(f"{stated[0]} stands alone; state height and width, or neither")
    for key in stated:
        if not _is_integer(value[key]) or not 0 < value[key] <= MAX_COORDINATE:
            raise LabelError(f"{key} is {value[key]!r}; it must be a positive integer")
    if "image_id" in value and not (_is_integer(value["image_id"]) or is_text(value["image_id"])):
        raise LabelError(f"image_id is {value['image_id']!r}; it must be an integer or a string")
    _check_words(value)


def ordered(record: Record) -> Record:
    """A copy of a record with the format's keys first, in canonical order."""
    known = {key: record[key] for key in _KEYS if key in record}
    return known | {key: item for key, item in record.items() if key not in known}


def identity_of(record: Record, name: str) -> int | str:
    """The `image_id` of a record, or else its normalised `file_name` without suffix."""
    return record["image_id"] if "image_id" in record else posixpath.splitext(name)[0]


def per_text(record: Mapping[str, Any], key: str, missing: Any = None) -> list[Any]:
    """The list of a key with an entry for each text; `missing` for all if the record lacks it."""
    return record.get(key) or [missing] * len(record["texts"])


def ignored_words(record: Mapping[str, Any]) -> list[bool]:
    """Whether a record says of each text that it is ignored."""
    return per_text(record, "ignore", False)


def usable_words(record: Record) -> list[bool]:
    """Whether each text of a record is usable: neither blank nor ignored."""
    texts = zip(record["texts"], ignored_words(record), strict=True)
    return [bool(text.strip()) and not skip for text, skip in texts]


def texts_that_count(record: Record) -> list[str]:
    """The texts of a record that are neither blank nor ignored."""
    usable = zip(record["texts"], usable_words(record), strict=True)
    return [text for text, counts in usable if counts]


@functools.lru_cache(maxsize=1000)
def _similar_key(key: str) -> str | None:
    """The known key that an unknown one may be a misspelling of."""
    return next(iter(difflib.get_close_matches(key, _KEYS, n=1, cutoff=0.8)), None)


def _check_file_name(name: Any) -> None:
    if not is_text(name) or not name or "\0" in name:
        raise LabelError(f"file_name is {name!a}; it must be the path of an image")
    normal = posixpath.normpath(name)
    if os.path.isabs(normal) or normal.split("/")[0] in ("..", "."):
        raise LabelError(
            f"file_name {name!r} does not stay inside the image root; write it relative to the root"
        )


def _check_words(record: Record) -> None:
    texts = record["texts"]
    if not isinstance(texts, list) or not all(map(is_text, texts)):
        raise LabelError(f"texts is {texts!a:.80}; it must be a list of valid strings")
    for key in _PER_TEXT:
        if key not in record:
            continue
        items, (are_valid, wanted) = record[key], _CHECKS[key]
        if not isinstance(items, list) or len(items) != len(texts):
            length = len(items) if isinstance(items, list) else type(items).__name__
            raise LabelError(f"{key} has {length} entries for {len(texts)} texts; write one a text")
        if not are_valid(items):
            index = next(i for i, item in enumerate(items) if not are_valid([item]))
            raise LabelError(f"{key}[{index}] is {items[index]!a:.80}; it must be {wanted}")


def is_text(value: Any) -> bool:
    """Whether the value is a string without lone surrogates, which UTF-8 cannot encode."""
    if not isinstance(value, str):
        return False
    if value.isascii():
        return True
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


# Each check of an entry takes a list of entries, as this is several times faster.


def _are_numbers(values: Iterable[Any]) -> bool:
    numbers = list(values)
    kinds = set(map(type, numbers))
    if not all(issubclass(kind, (int, float)) and kind is not bool for kind in kinds):
        return False
    if not numbers:
        return True
    in_range = max(numbers) <= MAX_COORDINATE and min(numbers) >= -MAX_COORDINATE
    return in_range and not math.isnan(sum(numbers))  # comparisons may overlook a NaN


def _are_points(items: Sequence[Any]) -> bool:
    given = [item for item in items if item is not None]
    pairs = all(isinstance(item, list) and len(item) == 2 for item in given)
    return pairs and _are_numbers(chain.from_iterable(given))


def _are_scores(items: Sequence[Any]) -> bool:
    return _are_numbers(item for item in items if item is not None)


def _are_weights(items: Sequence[Any]) -> bool:
    return _are_numbers(items) and all(0 <= item <= 1 for item in items)


def _are_polygons(items: Sequence[Any]) -> bool:
    given = [item for item in items if item is not None]
    outlines = all(
        isinstance(item, list) and len(item) >= 2 * MIN_POLYGON_VERTICES and len(item) % 2 == 0
        for item in given
    )
    return outlines and _are_numbers(chain.from_iterable(given))


def _are_booleans(items: Sequence[Any]) -> bool:
    return all(isinstance(item, bool) for item in items)


_CHECKS: dict[str, tuple[Callable[[Sequence[Any]], bool], str]] = {
    "points": (_are_points, "null or two finite numbers [x, y]"),
    **dict.fromkeys(("point_scores", "similarity"), (_are_scores, "null or a finite number")),
    "point_weights": (_are_weights, "a number from 0 to 1"),
    "polygons": (_are_polygons, "null or an even count of at least 6 finite numbers"),
    "ignore": (_are_booleans, "true or false"),
}
