"""Tables of images and words: CSV with commas or semicolons, TSV with tabs."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import Any

from ..datasets import LabelError
from ..first_uses import FirstUses
from .base import ImageGT, Tally, Word, checked_name, checked_text, iterate_lines
from .sources import IMAGE_SUFFIXES

_IMAGE_HEADS = ("image", "file_name", "filename", "file", "photo", "path")
_TEXT_HEADS = ("text", "texts", "word", "words", "transcription", "transcriptions")
_DELIMITERS = ",\t;"

# Number of cells of a row -> indices of those with words.
Columns = Callable[[int], Sequence[int]]
# Line, image, words.
_Row = tuple[int, str, list[Word]]


def read_table(
    path: Path,
    tally: Tally,
    encoding: str = "utf-8",
    *,
    columns: tuple[str, str] | None = None,
    check: Callable[[Any], str] = checked_name,
) -> Iterator[ImageGT]:
    """Read rows of an image and its words, one text per cell; images may have several rows.

    Empty cells are skipped. The first row is a heading if it starts with a name of `_IMAGE_HEADS`,
    or if it has such a name and one of `_TEXT_HEADS`. A heading determines the columns of image and
    texts; its last column extends to the end of each row. The table is held in memory only if rows
    of an image stand apart.

    Args:
        path: the table; the delimiter is a tab for `.tsv`, otherwise that of the first row.
        tally: not used.
        encoding: of the file.
        columns: headings of the columns of images and of texts; None to recognise them.
        check: cell of an image -> its name; raises `LabelError` for a bad one.

    Raises:
        LabelError: with file and line.
    """

    def rows() -> Iterator[_Row]:
        return _rows(path, encoding, columns, check)

    together = _stand_together(_joined(rows()))
    for line, name, words in _joined(rows()) if together else _gathered(rows()):
        yield ImageGT(f"{path}:{line}", (name,), words)


def _rows(
    path: Path, encoding: str, columns: tuple[str, str] | None, check: Callable[[Any], str]
) -> Iterator[_Row]:
    """The rows that are neither blank nor a heading."""
    rows = _reader(path, encoding)
    image, first = 0, True
    texts: Columns = _after_the_first
    try:
        for row in rows:
            if not any(cell.strip() for cell in row):
                continue
            try:
                heading = _heading(row, columns) if first else None
                if heading is None:
                    name = check(row[image].strip() if image < len(row) else "")
                    cells = (row[column].strip() for column in texts(len(row)))
                    words = [Word(checked_text(cell)) for cell in cells if cell]
            except LabelError as error:
                raise LabelError(f"{path}:{rows.line_num}: {error}") from None
            first = False
            if heading is None:
                yield rows.line_num, name, words
            else:
                image, texts = heading
    except csv.Error as error:
        fault = (
            "a quotation mark before the end is never closed"
            if "end of data" in str(error)
            else error
        )
        raise LabelError(f"{path}:{rows.line_num}: {fault}") from None


def _joined(rows: Iterable[_Row]) -> Iterator[_Row]:
    """Rows of one image that follow each other, as one."""
    for name, group in groupby(rows, key=lambda row: row[1]):
        (line, _, words), *others = group
        yield line, name, words + [word for row in others for word in row[2]]


def _stand_together(images: Iterable[_Row]) -> bool:
    """Whether no image occurs twice."""
    uses = FirstUses("image", "")
    return not any(uses.add(name, line) for line, name, _ in images)


def _gathered(rows: Iterable[_Row]) -> Iterator[_Row]:
    """Rows of one image, wherever they stand, as one."""
    images: dict[str, _Row] = {}
    for line, name, words in rows:
        images.setdefault(name, (line, name, []))[2].extend(words)
    yield from images.values()


def _reader(path: Path, encoding: str) -> Any:
    """The table's `csv.reader`."""
    delimiter = "\t" if path.suffix.lower() == ".tsv" else _delimiter(path, encoding)
    if delimiter == "\t":
        # Quotes are ordinary characters: a tab cannot be part of a word.
        lines = iterate_lines(path, encoding, newline="\n")
        return csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
    return csv.reader(iterate_lines(path, encoding), delimiter=delimiter, strict=True)


def _delimiter(path: Path, encoding: str) -> str:
    """The delimiter: the one that follows the name of an image or a known heading, if any."""
    lines = (part for line in iterate_lines(path, encoding) for part in line.splitlines())
    line = next((line for line in lines if line.strip()), "")
    for delimiter in _DELIMITERS:
        start, found, _ = line.partition(delimiter)
        cell = start.strip().strip('"').lower()
        if found and (cell in _IMAGE_HEADS or _is_image(cell)):
            return delimiter
    return next((delimiter for delimiter in _DELIMITERS if delimiter in line), ",")


def _is_image(cell: str) -> bool:
    return PurePosixPath(cell.strip().lower()).suffix in IMAGE_SUFFIXES


def _heading(row: list[str], columns: tuple[str, str] | None) -> tuple[int, Columns] | None:
    """Column of the image and columns of its texts, if the row is a heading.

    Raises:
        LabelError: if it lacks one of `columns`.
    """
    names = [cell.strip().lower() for cell in row]
    if columns is not None:
        for wanted in columns:
            if wanted.lower() not in names:
                raise LabelError(f"no column {wanted!r}; there are {', '.join(map(repr, row))}")
        image, text = (names.index(wanted.lower()) for wanted in columns)
        return image, _text_columns([text], len(names))
    if any(map(_is_image, names)):
        return None
    images = [i for i, name in enumerate(names) if name in _IMAGE_HEADS]
    texts = [i for i, name in enumerate(names) if name in _TEXT_HEADS]
    if images and texts:
        return images[0], _text_columns(texts, len(names))
    return (0, _after_the_first) if images[:1] == [0] else None


def _text_columns(own: list[int], count: int) -> Columns:
    """The columns `own` of `count`; the last one of the heading extends to the end of a row."""
    return lambda cells: [i for i in range(cells) if i in own or (i >= count and count - 1 in own)]


def _after_the_first(cells: int) -> Sequence[int]:
    return range(1, cells)
