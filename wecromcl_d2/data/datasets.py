"""The label format of the project, and its registration as Detectron2 datasets.

A label file is UTF-8, either JSON lines (`*.jsonl`, one record a line) or JSON (`*.json`, a
list of records). A record describes one image::

    {"file_name": "img_1.jpg", "height": 720, "width": 1280, "texts": ["Hill", "Street"],
     "points": [[258.0, 74.5], null], "polygons": [[211, 64, 305, 61, 306, 85, 211, 88], null],
     "ignore": [false, true]}

Points are (x, y) in pixels of the image, continuous in `[0, width] x [0, height]`; polygons are
`x1, y1, x2, y2, ...`. `docs/DATASETS.md` describes every key.
"""

from __future__ import annotations

import difflib
import json
import math
import os
import posixpath
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog

from ..files import replace_file
from ..own_modules import unknown_dataset
from .images import ImageError, upright_size

Record = dict[str, Any]
PathLike = str | os.PathLike[str]

# Larger than any image; areas and distances of larger coordinates lose precision.
MAX_COORDINATE = 1e7
MIN_POLYGON_VERTICES = 3
_REQUIRED = ("file_name", "texts")
_SIZE = ("height", "width")
# Lists with one entry per text.
_PER_TEXT = ("points", "point_scores", "point_weights", "similarity", "polygons", "ignore")
_KEYS = ("file_name", *_SIZE, "texts", *_PER_TEXT, "image_id")
# A label file as the name of a dataset, with the image root after an "@" if it is another folder.
_FILE_NAME = re.compile(r"(?P<path>.+?\.jsonl?)(?:@(?P<root>.+))?")


class LabelError(ValueError):
    """A label file or record that cannot be used; the message names file, line and remedy."""


def dataset_root() -> Path:
    """The folder of all datasets: `$DETECTRON2_DATASETS` or `datasets`."""
    return Path(os.environ.get("DETECTRON2_DATASETS", "datasets")).expanduser()


def read_labels(path: PathLike, image_root: PathLike | None = None) -> list[Record]:
    """Read and check a label file.

    Args:
        path: file ending in `.jsonl` (one record a line) or `.json` (a list of records).
        image_root: folder that `file_name` is relative to; the label file's folder by default.

    Returns:
        One Detectron2 dataset dict per record: the record with `file_name` joined to the root
        and with an `image_id` (the record's own, else `file_name` without its suffix).

    Raises:
        LabelError: if the file cannot be read or has no record or a bad one.
    """
    path = Path(path)
    root = path.parent if image_root is None else Path(image_root)
    parse = _parser(path)
    records = []
    names: dict[str, int] = {}
    identities: dict[int | str, int] = {}
    for line, value in parse(_read_text(path), path):
        try:
            record = _check_record(value)
            name = posixpath.normpath(record["file_name"])
            _check_new(names, name, line, "file_name", "merge the two records")
            identity = record.setdefault("image_id", posixpath.splitext(name)[0])
            _check_new(identities, identity, line, "image_id", "give each record its own image_id")
        except LabelError as error:
            raise LabelError(f"{path}:{line}: {error}") from None
        record["file_name"] = str(root / name)
        records.append(record)
    if not records:
        raise LabelError(f"{path}: no record in it; write one record an image")
    return records


def write_labels(path: PathLike, records: Iterable[Record]) -> None:
    """Check records and write them as a label file; if that fails, an old file is kept.

    Args:
        path: target, ending in `.jsonl` or `.json`.
        records: records whose `file_name` is relative to the image root.

    Raises:
        LabelError: if the suffix or a record is bad, or there is no record.
        OSError: if the file cannot be written.
    """
    path = Path(path)
    as_list = _parser(path) is _parse_list
    names: dict[str, int] = {}
    with replace_file(path) as stream:
        stream.write(b"[\n" if as_list else b"")
        for number, value in enumerate(records, start=1):
            try:
                record = _check_record(value)
                name = posixpath.normpath(record["file_name"])
                _check_new(names, name, number, "file_name", "merge the two records")
            except LabelError as error:
                raise LabelError(f"{path}: record {number}: {error}") from None
            line = json.dumps(record, ensure_ascii=False, allow_nan=False)
            separator = ",\n" if as_list else "\n"
            stream.write((separator if number > 1 else "").encode() + line.encode())
        if not names:
            raise LabelError(f"{path}: no record to write")
        stream.write(b"\n]\n" if as_list else b"\n")


def register_labels(
    name: str, path: PathLike, image_root: PathLike | None = None, **metadata: Any
) -> None:
    """Register a label file as a Detectron2 dataset. The file is read at its first use.

    Args:
        name: dataset name for `DATASETS.TRAIN` and `DATASETS.TEST`.
        path: label file; a relative path starts at `dataset_root()`.
        image_root: image folder, relative to `dataset_root()`; the label file's by default.
        metadata: attributes for `MetadataCatalog.get(name)`.
    """

    def load() -> list[Record]:
        root = dataset_root()
        images = None if image_root is None else root / image_root
        return load_dataset(name, root / path, images)

    DatasetCatalog.register(name, load)
    MetadataCatalog.get(name).set(**metadata)


def ensure_registered(name: str) -> None:
    """Register a label file that is given in place of the name of a dataset.

    `FILE.jsonl` or `FILE.json`, or with another image root than the file's folder
    `FILE.jsonl@IMAGE_ROOT`, is registered under exactly this name; relative paths start at the
    working directory, and `$DETECTRON2_DATASETS` is `dataset_root()`. Registered names stay.

    Args:
        name: an entry of `DATASETS.TRAIN` or `DATASETS.TEST`.

    Raises:
        LabelError: for a name that is neither.
    """
    known = DatasetCatalog.list()
    if name in known:
        return
    parts = _FILE_NAME.fullmatch(name)
    if parts is None:
        raise LabelError(unknown_dataset(name, known))
    folder = parts["root"] if parts["root"] != "$DETECTRON2_DATASETS" else dataset_root()
    images = None if folder is None else os.path.abspath(folder)
    register_labels(name, os.path.abspath(parts["path"]), images)


def load_dataset(name: str, path: PathLike, image_root: PathLike | None = None) -> list[Record]:
    """Read a registered dataset's labels and check that at least one image is usable.

    Raises:
        LabelError: naming the dataset, if the labels are bad, no image has a usable word, or
            the file of the first such image does not exist.
    """
    try:
        records = read_labels(path, image_root)
    except LabelError as error:
        raise LabelError(
            f"dataset {name!r}: {error} (relative paths start at {str(dataset_root())!r}; set "
            "DETECTRON2_DATASETS to change it; wecromcl anchors writes files of found points)"
        ) from error
    complete_sizes(name, records)
    usable = next((record for record in records if any(usable_words(record))), None)
    if usable is None:
        raise LabelError(
            f"dataset {name!r}: none of the {len(records)} images of {path} has a word that is "
            "neither empty nor ignored; nothing can be trained or evaluated on such images"
        )
    if not os.path.isfile(usable["file_name"]):
        raise LabelError(
            f"dataset {name!r}: image {usable['file_name']!r} of {path} does not exist; correct "
            "image_root or DETECTRON2_DATASETS"
        )
    return records


def complete_sizes(name: str, records: Iterable[Record]) -> None:
    """Set missing sizes of dataset dicts, read from the headers of their images."""
    for record in records:
        if "height" not in record:
            try:
                record["height"], record["width"] = upright_size(record["file_name"])
            except ImageError as error:
                raise LabelError(
                    f"dataset {name!r}: {error}; its size is not stated either: correct image_root "
                    "or DETECTRON2_DATASETS, or remove the record"
                ) from None


def usable_words(record: Record) -> list[bool]:
    """Whether each text of a record is usable: neither blank nor ignored."""
    ignore = record.get("ignore") or [False] * len(record["texts"])
    return [
        bool(text.strip()) and not skip for text, skip in zip(record["texts"], ignore, strict=True)
    ]


def ignore_short_words(record: Record, min_length: int) -> Record:
    """A copy of a record whose texts of fewer than `min_length` characters are ignored."""
    ignore = record.get("ignore") or [False] * len(record["texts"])
    short = [len(text) < min_length for text in record["texts"]]
    return record | {"ignore": [a or b for a, b in zip(ignore, short, strict=True)]}


def _read_text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise LabelError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise LabelError(f"{path}:{line}: not UTF-8; save the file as UTF-8") from error


def _parser(path: Path) -> Callable[[str, Path], Iterator[tuple[int, Any]]]:
    if path.suffix == ".jsonl":
        return _parse_lines
    if path.suffix == ".json":
        return _parse_list
    raise LabelError(f"{path}: a label file ends in .jsonl or .json, not {path.suffix!r}")


def _parse_lines(content: str, path: Path) -> Iterator[tuple[int, Any]]:
    """(line number, value) of JSON lines; blank lines are skipped."""
    for number, line in enumerate(content.split("\n"), start=1):
        if line.strip():
            value, end = _decode(line.strip(), 0, path, number)
            if end != len(line.strip()):
                raise LabelError(f"{path}:{number}: more than one JSON value; write one a line")
            yield number, value


def _parse_list(content: str, path: Path) -> Iterator[tuple[int, Any]]:
    """(line number, value) of the elements of one JSON list."""
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
        value, position = _decode(content, position, path, line)
        yield line, value
        line += content.count("\n", start, position)
        position = skip_blanks(position)
        if content[position : position + 1] == ",":
            position = skip_blanks(position + 1)
        elif content[position : position + 1] != "]":
            raise LabelError(f"{path}:{line}: expected ',' or ']' after a record")
    if skip_blanks(position + 1) != len(content):
        raise LabelError(f"{path}:{line}: text after the list; remove it")


def _decode(content: str, position: int, path: Path, line: int) -> tuple[Any, int]:
    """The JSON value at `position`, and the position after it."""
    try:
        return json.JSONDecoder().raw_decode(content, position)
    except json.JSONDecodeError as error:
        line += content.count("\n", position, error.pos)
        raise LabelError(f"{path}:{line}: not valid JSON: {error.msg}") from error
    except (ValueError, RecursionError) as error:
        raise LabelError(f"{path}:{line}: not usable JSON: {error}") from error


def _check_new(taken: dict[Any, int], value: int | str, line: int, key: str, remedy: str) -> None:
    if value in taken:
        raise LabelError(f"{key} {value!r} was used before, at {taken[value]}; {remedy}")
    taken[value] = line


def _check_record(value: Any) -> Record:
    """A checked copy of a record, its keys in canonical order."""
    if not isinstance(value, dict):
        raise LabelError(f"a record is a JSON object, not {type(value).__name__}")
    for key in sorted(value.keys() - set(_KEYS)):
        meant = difflib.get_close_matches(key, _KEYS, n=1, cutoff=0.8)
        if meant:
            raise LabelError(f"unknown key {key!r}; did you mean {meant[0]!r}?")
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
    if "image_id" in value and not (_is_integer(value["image_id"]) or _is_text(value["image_id"])):
        raise LabelError(f"image_id is {value['image_id']!r}; it must be an integer or a string")
    _check_words(value)
    known = {key: value[key] for key in _KEYS if key in value}
    return known | {key: item for key, item in value.items() if key not in known}


def _check_file_name(name: Any) -> None:
    if not _is_text(name) or not name or "\0" in name:
        raise LabelError(f"file_name is {name!a}; it must be the path of an image")
    normal = posixpath.normpath(name)
    if os.path.isabs(normal) or normal.split("/")[0] in ("..", "."):
        raise LabelError(
            f"file_name {name!r} does not stay inside the image root; write it relative to the root"
        )


def _check_words(record: Record) -> None:
    texts = record["texts"]
    if not isinstance(texts, list) or not all(_is_text(text) for text in texts):
        raise LabelError(f"texts is {texts!a:.80}; it must be a list of valid strings")
    checks: dict[str, tuple[Callable[[Any], bool], str]] = {
        "points": (_or_none(_is_point), "null or two finite numbers [x, y]"),
        **dict.fromkeys(
            ("point_scores", "similarity"), (_or_none(_is_number), "null or a finite number")
        ),
        "point_weights": (lambda item: _is_number(item) and 0 <= item <= 1, "a number from 0 to 1"),
        "polygons": (_or_none(_is_polygon), "null or an even count of at least 6 finite numbers"),
        "ignore": (lambda item: isinstance(item, bool), "true or false"),
    }
    for key in _PER_TEXT:
        if key not in record:
            continue
        items, (check, wanted) = record[key], checks[key]
        if not isinstance(items, list) or len(items) != len(texts):
            length = len(items) if isinstance(items, list) else type(items).__name__
            raise LabelError(f"{key} has {length} entries for {len(texts)} texts; write one a text")
        for index, item in enumerate(items):
            if not check(item):
                raise LabelError(f"{key}[{index}] is {item!a:.80}; it must be {wanted}")


def _is_text(value: Any) -> bool:
    """Whether the value is a string without lone surrogates, which UTF-8 cannot encode."""
    if not isinstance(value, str):
        return False
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return abs(value) <= MAX_COORDINATE and math.isfinite(value)


def _or_none(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or check(value)


def _is_point(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_is_number, value))


def _is_polygon(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) >= 2 * MIN_POLYGON_VERTICES
        and len(value) % 2 == 0
        and all(map(_is_number, value))
    )
