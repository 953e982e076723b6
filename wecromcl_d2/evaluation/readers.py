"""Readers of ground truth, predictions and lexicons for `evaluate`, which runs no model.

Ground truth: our label files; the authors' JSON `{image: {"text", "points"}}`; a folder or zip of
text files `x1,y1,...,xn,yn,####word`, as published with SPTS. Predictions: records or JSON lines
with `texts`, `points` and `scores`; result files of our evaluators; the result JSON of SPTS; the
authors' JSON with `scores`. The format is recognised by the content, never by a name.

Images are identified by `image_id`, else by the file name without its suffix; text files whose
name is a number by that number.
"""

from __future__ import annotations

import codecs
import json
import posixpath
import re
import zipfile
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..data.datasets import LabelError, read_labels
from ..data.readers.base import (
    UNREADABLE,
    ImageGT,
    Word,
    checked_identity,
    checked_numbers,
    checked_text,
    decode_text,
    load_json,
    load_text,
    parse_lines,
)
from ..data.readers.sources import read_ground_truth as read_folder
from ..data.readers.totaltext import parse_polygon_line
from .counting import MatchingError, Mode, PointWords
from .image_names import ImageId, Value
from .lexicon import DISTANCE_LIMIT, ImageLexicons, Lexicon, LexiconError, image_number
from .spotting import GTWords

# What an entry of `SpottingRun.details` holds, as far as it is drawn.
DETAILS = {"image_id", "file_name", "wrong", "missed", "points", "read_as", "states", "words"}

_SEPARATOR = ",####"
# Six or more whole numbers or plain decimals, far below the bound on coordinates.
_PLAIN_OUTLINE = re.compile(r"-?[0-9]{1,5}(?:\.[0-9]+)?(?:,-?[0-9]{1,5}(?:\.[0-9]+)?){5,}")


def read_ground_truth(path: Path, mode: Mode = "robust") -> dict[ImageId, GTWords]:
    """Read ground-truth words from a file, folder or zip; see the module for the formats.

    Raises:
        LabelError: if something is unusable, naming file and line or entry.
    """
    if path.is_dir() or zipfile.is_zipfile(path):
        parse = partial(parse_point_file, mode=mode)
        return _unique(
            (_file_identity(gt.names[0]), gt_words(gt, mode))
            for gt in read_folder(path, ".txt", _own_name, parse)
        )
    if path.suffix == ".json":
        content = load_json(path)
        if isinstance(content, dict):
            return _unique(
                (identity, GTWords(words.texts, words.points, np.zeros(len(words.texts), bool)))
                for identity, words in _authors_words(content, path)
            )
    try:
        return {r["image_id"]: GTWords.from_record(r, mode) for r in read_labels(path)}
    except MatchingError as error:
        raise LabelError(f"{path}: {error}") from error


def gt_words(gt: ImageGT, mode: Mode = "robust") -> GTWords:
    """The words of one image from a reader of `data.readers`.

    Raises:
        LabelError: in official mode, if an outline has 3 vertices.
    """
    record = {
        "texts": [word.text for word in gt.words],
        "points": [word.point for word in gt.words],
        "polygons": [word.polygon for word in gt.words],
        "ignore": [word.ignore for word in gt.words],
    }
    try:
        return GTWords.from_record(record, mode)
    except MatchingError as error:
        raise LabelError(f"{gt.where}: {error}") from error


def parse_point_file(data: bytes, mode: Mode = "robust") -> list[Word]:
    """Parse lines `x1,y1,...,xn,yn,####word` of one image; the word `###` is ignored.

    The word is everything after the first separator, commas included, without trailing blanks.

    Args:
        data: the file's bytes.
        mode: `"official"` cuts a word at a second separator, and refuses blank lines and a
            byte-order mark, as the published script does.

    Raises:
        LabelError: if a line has another form; the message starts with its number.
    """
    text = decode_text(data)
    if mode == "robust":
        return parse_lines(text, _parse_line)
    if data.startswith(codecs.BOM_UTF8):
        raise LabelError("1: a byte-order mark; the published script fails on it")
    for number, line in enumerate(text.removesuffix("\n").split("\n") if text else [], start=1):
        if not line.strip():
            raise LabelError(f"{number}: a blank line; the published script fails on it")
    words = parse_lines(text, _parse_line)
    cut = [word.text.partition(_SEPARATOR)[0] for word in words]
    return [w._replace(text=t, ignore=t == UNREADABLE) for w, t in zip(words, cut, strict=True)]


def read_predictions(path: Path) -> dict[ImageId, PointWords]:
    """Read predicted words from a file; see the module for the formats.

    Raises:
        LabelError: if something is unusable, naming file and entry.
    """
    if path.suffix == ".jsonl":
        return _unique(_prediction_record(*entry) for entry in _json_lines(path))
    content = load_json(path)
    if isinstance(content, dict) and isinstance(content.get("images"), list):
        content = content["images"]
    elif isinstance(content, dict) and isinstance(content.get("protocols"), dict):
        content = _evaluated_words(content["protocols"], path)
    if isinstance(content, dict):
        return _unique(_authors_words(content, path))
    if not isinstance(content, list):
        raise LabelError(f"{path}: neither a list nor an object, so no predictions")
    entries = [(f"{path}: entry {n}", entry) for n, entry in enumerate(content, start=1)]
    if any(isinstance(entry, dict) and "rec" in entry for entry in content):
        return _spts_words(entries)
    return _unique(_prediction_record(*entry) for entry in entries)


def read_details(path: Path, protocol: str | None = None) -> list[dict[str, Any]]:
    """Read what became of every image's words, see `SpottingRun.details`, from a `spotting.json`.

    Args:
        path: of the file.
        protocol: which of the file's protocols; by default its first.

    Raises:
        LabelError: if the file has no details, no such protocol, or damaged entries.
    """
    content = load_json(path)
    if isinstance(content, dict) and "protocols" in content:
        protocols = content["protocols"]
        name = protocol or next(iter(protocols), "")
        if name not in protocols:
            raise LabelError(f"{path}: no protocol {name!r}; there are {', '.join(protocols)}")
        content = protocols[name]
    images = content.get("images") if isinstance(content, dict) else None
    if not isinstance(images, list):
        raise LabelError(
            f"{path}: every image's words are missing; write them by "
            "`wecromcl evaluate spotting --details`"
        )
    for number, entry in enumerate(images, start=1):
        if not isinstance(entry, dict) or not entry.keys() >= DETAILS:
            raise LabelError(f"{path}: entry {number} has not all of {', '.join(sorted(DETAILS))}")
    return images


def by_number(words: Mapping[ImageId, Value]) -> dict[ImageId, Value]:
    """Identify images by the number that their identity ends in: both `img_12` and `12` by 12.

    Raises:
        LabelError: if an identity ends in no number, or two in the same.
    """
    for image in words:
        if image_number(image) < 0:
            raise LabelError(f"image {image!r} ends in no number to identify it by")
    return _unique((image_number(image), value) for image, value in words.items())


def read_lexicon(
    path: Path,
    pairs: Path | None = None,
    *,
    mode: Mode = "robust",
    limit: float | None = DISTANCE_LIMIT,
    keep_unmatched: bool = False,
) -> Lexicon:
    """Read a word list, one word a line, and its pair list; see `Lexicon.from_lines`.

    Raises:
        LabelError: if a file cannot be read or holds no word.
    """
    lines, pair_lines = (
        None if source is None else _read_list(source, mode) for source in (path, pairs)
    )
    try:
        return Lexicon.from_lines(
            path.name,
            lines or [],
            pair_lines,
            mode=mode,
            limit=limit,
            keep_unmatched=keep_unmatched,
        )
    except LexiconError as error:
        raise LabelError(f"{path}: {error}; write one word a line") from error


def read_image_lexicons(
    path: Path,
    lists: str = "voc_img_{n}",
    pairs: str | None = None,
    *,
    mode: Mode = "robust",
    limit: float | None = DISTANCE_LIMIT,
    keep_unmatched: bool = False,
) -> ImageLexicons:
    """Read one word list per image from the `.txt` files of a folder or zip.

    Args:
        path: folder or zip.
        lists: name of an image's list without its suffix, with `{n}` for the image's number.
        pairs: name of its pair list, in the same way; None if there are none.
        mode: see `Lexicon.from_lines`.
        limit: see `Lexicon`.
        keep_unmatched: see `Lexicon`.

    Raises:
        LabelError: if a name has no `{n}`, no file fits, a pair list is missing or a file is bad.
    """
    for name in (lists, pairs):
        if name is not None and name.count("{n}") != 1:
            raise LabelError(f"{name!r} names one file only; write {{n}} for the image's number")

    def parse(data: bytes) -> list[Word]:
        return [Word(line) for line in _list_lines(data, mode)]

    files = {
        gt.names[0]: (gt.where, [word.text for word in gt.words])
        for gt in read_folder(path, ".txt", _own_name, parse)
    }
    head, tail = map(re.escape, lists.split("{n}"))
    found: dict[int, Lexicon] = {}
    for name, (where, lines) in files.items():
        match = re.fullmatch(f"{head}([0-9]{{1,18}}){tail}", name)
        if match is None:
            continue
        pair_name = None if pairs is None else pairs.replace("{n}", match[1])
        if pair_name is not None and pair_name not in files:
            raise LabelError(f"{where}: there is no pair list {pair_name}.txt beside it")
        try:
            found[int(match[1])] = Lexicon.from_lines(
                name,
                lines,
                None if pair_name is None else files[pair_name][1],
                mode=mode,
                limit=limit,
                keep_unmatched=keep_unmatched,
            )
        except LexiconError as error:
            raise LabelError(f"{where}: {error}") from error
    if not found:
        other = next(iter(files))
        raise LabelError(f"{path}: no file is called {lists}.txt; there is {other}.txt")
    return ImageLexicons(path.name, found)


def _parse_line(line: str) -> Word:
    """Parse a line; plain numbers are parsed together, as parsing takes most of an evaluation."""
    head, separator, text = line.rstrip(" \t\r").partition(_SEPARATOR)
    if separator and _PLAIN_OUTLINE.fullmatch(head):
        outline = [float(number) for number in head.split(",")]
        if len(outline) % 2 == 0:
            return Word(text, outline, ignore=text == UNREADABLE)
    return parse_polygon_line(line)


def _spts_words(entries: Iterable[tuple[str, Any]]) -> dict[ImageId, PointWords]:
    """Group SPTS's flat list by image."""
    rows: dict[ImageId, tuple[list[str], list[list[float]], list[float]]] = {}
    for where, entry in entries:
        try:
            image, (point,) = checked_identity(entry["image_id"]), entry["polys"]
            texts, points, scores = rows.setdefault(image, ([], [], []))
            texts.append(checked_text(entry["rec"]))
            points.append(checked_numbers(point, 2))
            scores += checked_numbers([entry["score"]])
        except LabelError as error:
            raise LabelError(f"{where}: {error}") from None
        except (TypeError, KeyError, ValueError, IndexError):
            raise LabelError(
                f'{where}: an entry has "image_id", "polys" of one [x, y], "rec" and "score"'
            ) from None
    return {image: PointWords.of(*row) for image, row in rows.items()}


def _authors_words(content: dict[str, Any], path: Path) -> Iterable[tuple[ImageId, PointWords]]:
    for name, entry in content.items():
        yield posixpath.splitext(name)[0], _point_words(entry, "text", f"{path}: image {name!a}")


def _evaluated_words(protocols: dict[str, Any], path: Path) -> Any:
    """The images in a file of our evaluator, which each protocol states with the same words."""
    for part in protocols.values():
        if isinstance(part, dict) and isinstance(part.get("images"), list):
            return part["images"]
    raise LabelError(f"{path}: it was written without every image's words; evaluate with details")


def _prediction_record(where: str, entry: Any) -> tuple[ImageId, PointWords]:
    words = _point_words(entry, "texts", where)
    try:
        if entry.get("image_id") is not None:
            return checked_identity(entry["image_id"]), words
        name = checked_text(entry.get("file_name"))
    except LabelError as error:
        raise LabelError(f"{where}: image_id or file_name: {error}") from None
    return posixpath.splitext(posixpath.normpath(name))[0], words


def _point_words(entry: Any, key: str, where: str) -> PointWords:
    """Check one image's `{key: [...], "points": [...], "scores": [...]}`."""
    if not isinstance(entry, dict):
        raise LabelError(f"{where}: {entry!a:.40} is not an object")
    texts, points = entry.get(key), entry.get("points")
    if not isinstance(texts, list) or not isinstance(points, list):
        raise LabelError(f"{where}: {key!r} and 'points' are lists; there is {[*entry][:6]}")
    try:
        scores = checked_numbers(entry.get("scores") or [])
        numbers = [checked_numbers(point, 2) for point in points]
        return PointWords.of([checked_text(text) for text in texts], numbers, scores)
    except (LabelError, MatchingError) as error:
        raise LabelError(f"{where}: {error}") from None


def _json_lines(path: Path) -> Iterable[tuple[str, Any]]:
    for number, line in enumerate(load_text(path).split("\n"), start=1):
        if line.strip():
            try:
                yield f"{path}:{number}", json.loads(line)
            except (ValueError, RecursionError) as error:
                raise LabelError(f"{path}:{number}: not usable JSON: {error}") from None


def _read_list(path: Path, mode: Mode) -> list[str]:
    try:
        return _list_lines(path.read_bytes(), mode)
    except OSError as error:
        raise LabelError(f"{path}: cannot be read: {error.strerror}") from None
    except LabelError as error:
        raise LabelError(f"{path}:{error}") from None


def _list_lines(data: bytes, mode: Mode) -> list[str]:
    """Split a list into lines, which in official mode keep a byte-order mark."""
    mark = "\ufeff" if mode == "official" and data.startswith(codecs.BOM_UTF8) else ""
    text = mark + decode_text(data)
    return [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]


def _own_name(stem: str) -> tuple[str, ...]:
    return (stem,)


def _file_identity(name: str) -> ImageId:
    return int(name) if re.fullmatch("[0-9]{1,18}", name) else name


def _unique(pairs: Iterable[tuple[Any, Value]]) -> dict[ImageId, Value]:
    found: dict[ImageId, Value] = {}
    for image, value in pairs:
        if image in found:
            raise LabelError(f"image {image!r} occurs twice; give each image its own identity")
        found[image] = value
    return found
