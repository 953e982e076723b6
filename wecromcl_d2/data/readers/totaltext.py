"""Ground truth of Total-Text in all its formats, and of other sets in ABCNet's formats."""

from __future__ import annotations

import ast
import io
import re
import warnings
from collections.abc import Iterator
from pathlib import Path

from ..datasets import LabelError
from .base import (
    UNREADABLE,
    ImageGT,
    Tally,
    Word,
    checked_text,
    outline,
    parse_lines,
    parse_numbers,
)
from .matlab import load_variables, numbers, rows
from .sources import image_stem, read_ground_truth, text_parser

# Total-Text's own mark of an unreadable text, as transcription or as orientation.
_OWN_UNREADABLE = "#"
_SEPARATOR = ",####"
_FEWEST_NUMBERS = 6
# No two runs of blanks are adjacent, so a record that does not match fails in linear time.
_RECORD = re.compile(
    r"x:\s*\[\[([^\]]*)\]\]\s*,\s*y:\s*\[\[([^\]]*)\]\]\s*,"
    r"\s*ornt:\s*\[\s*(?:u?['\"]([^'\"\\]?)['\"]\s*)?\]\s*,"
    r"\s*transcriptions:\s*\[\s*(?:(u?'(?:[^'\\\n]|\\.)*'|u?\"(?:[^\"\\\n]|\\.)*\")\s*)?\]\s*"
)
_MAT_COLUMNS = 6


def read_totaltext(path: Path, tally: Tally, encoding: str = "utf-8") -> Iterator[ImageGT]:
    """Read native text, MATLAB, comma-separated or ABCNet files, told apart by their content.

    Raises:
        LabelError: with file and line, see `read_ground_truth`.
    """
    if path.is_dir() and not any(path.glob("*.txt")) and any(path.glob("*.mat")):
        return read_ground_truth(path, ".mat", _image_names, parse_mat)
    return read_ground_truth(path, ".txt", _image_names, text_parser(parse_text, encoding))


def parse_text(text: str) -> list[Word]:
    """Parse a text file of any dialect of Total-Text."""
    if text.lstrip().startswith("x:"):
        return parse_native(text)
    return parse_lines(text, parse_polygon_line)


def parse_polygon_line(line: str) -> Word:
    """Parse `x1,y1,...,CAFE` or, as ABCNet writes it, `x1,y1,...,####CAFE`.

    In the first form the text begins after the last of the leading numbers, or with the last field
    if all are numbers; the number of coordinates before it must be even.
    """
    line = line.rstrip(" \t\r")
    numbers, separator, text = line.partition(_SEPARATOR)
    fields = numbers.split(",")
    if not separator:
        leading = next((i for i, f in enumerate(fields) if not _is_number(f)), len(fields) - 1)
        text = ",".join(fields[leading:])
        fields = fields[:leading]
    if len(fields) < _FEWEST_NUMBERS or len(fields) % 2:
        raise LabelError(f"{line!a:.80} is not: x, y of three or more vertices, text")
    return Word(text, parse_numbers(fields), ignore=text == UNREADABLE)


def parse_native(text: str) -> list[Word]:
    """Parse `x: [[..]], y: [[..]], ornt: [u'c'], transcriptions: [u'CAFE']`, also wrapped."""
    words = []
    line, counted = 1, 0
    position = len(text) - len(text.lstrip())
    while position < len(text):
        line += text.count("\n", counted, position)
        counted = position
        match = _RECORD.match(text, position)
        if match is None:
            start = text[position : position + 60]
            raise LabelError(f"{line}: {start!a} is no record of Total-Text")
        xs, ys, orientation, literal = match.groups()
        try:
            words.append(_native_word(xs.split(), ys.split(), orientation or "", _literal(literal)))
        except LabelError as error:
            raise LabelError(f"{line}: {error}") from None
        position = match.end()
    return words


def parse_mat(data: bytes) -> list[Word]:
    """Parse MATLAB's `polygt`: rows of `'x:'`, x, `'y:'`, y, text, orientation."""
    try:
        (table,) = load_variables(io.BytesIO(data), ["polygt"])
        if table.dtype != object or table.ndim != 2 or table.shape[1] != _MAT_COLUMNS:
            raise LabelError(f"polygt is no table of cells with {_MAT_COLUMNS} columns")
        words = []
        for _, xs, _, ys, text, orientation in table:
            words.append(
                _native_word(
                    [repr(value) for value in numbers(xs)],
                    [repr(value) for value in numbers(ys)],
                    "".join(rows(orientation)),
                    "".join(rows(text)),
                )
            )
        return words
    except LabelError as error:
        raise LabelError(f" {error}") from None


def _native_word(xs: list[str], ys: list[str], orientation: str, text: str) -> Word:
    if len(xs) != len(ys):
        raise LabelError(f"{len(xs)} x and {len(ys)} y")
    both = parse_numbers([value for pair in zip(xs, ys, strict=True) for value in pair])
    ignore = _OWN_UNREADABLE in (text, orientation)
    return Word(checked_text(text), outline(both), ignore=ignore)


def _literal(literal: str | None) -> str:
    """The value of a string literal of Python 2."""
    if literal is None:
        return ""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an escape that Python does not know stays as it is
            return ast.literal_eval(literal)
    except (SyntaxError, ValueError) as error:
        raise LabelError(f"transcription {literal!a:.60}: {error}") from None


def _is_number(field: str) -> bool:
    try:
        parse_numbers([field])
    except LabelError:
        return False
    return True


def _image_names(stem: str) -> tuple[str, ...]:
    """`poly_gt_img12` belongs to `img12`, `0000012` to that or to `img12`."""
    name = image_stem(stem.removeprefix("poly_gt_").removeprefix("gt_"))
    digits = name.removeprefix("img")
    if not re.fullmatch(r"[0-9]{1,12}", digits):
        return (name,)
    number = int(digits)
    return tuple(dict.fromkeys((f"img{number}", name, f"{number:07d}", str(number))))
