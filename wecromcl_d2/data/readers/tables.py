"""Tables of images and words: CSV with commas or semicolons, TSV with tabs."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from ..datasets import LabelError
from .base import ImageGT, Tally, Word, checked_name, checked_text, load_text
from .sources import IMAGE_SUFFIXES

_IMAGE_HEADS = ("image", "file_name", "filename", "file", "photo", "path")
_TEXT_HEADS = ("text", "texts", "word", "words", "transcription", "transcriptions")
_DELIMITERS = ",\t;"

# Number of cells of a row -> indices of those with words.
Columns = Callable[[int], Sequence[int]]


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
    texts; its last column extends to the end of each row.

    Args:
        path: the table; the delimiter is a tab for `.tsv`, otherwise that of the first row.
        tally: not used.
        encoding: of the file.
        columns: headings of the columns of images and of texts; None to recognise them.
        check: cell of an image -> its name; raises `LabelError` for a bad one.

    Raises:
        LabelError: with file and line.
    """
    rows = _rows(path, load_text(path, encoding))
    words: dict[str, list[Word]] = {}
    lines: dict[str, int] = {}
    image, texts = 0, _columns_from(1)
    first = True
    try:
        for row in rows:
            if not any(cell.strip() for cell in row):
                continue
            heading = _heading(row, columns) if first else None
            first = False
            if heading is not None:
                image, texts = heading
                continue
            name = check(row[image].strip() if image < len(row) else "")
            lines.setdefault(name, rows.line_num)
            cells = (row[column].strip() for column in texts(len(row)))
            words.setdefault(name, []).extend(Word(checked_text(t)) for t in cells if t)
    except (csv.Error, LabelError) as error:
        raise LabelError(f"{path}:{rows.line_num}: {error}") from None
    for name, found in words.items():
        yield ImageGT(f"{path}:{lines[name]}", (name,), found)


def _rows(path: Path, content: str) -> Any:
    """The table's `csv.reader`."""
    delimiter = "\t" if path.suffix.lower() == ".tsv" else _delimiter(content)
    if delimiter == "\t":
        # Quotes are ordinary characters: a tab cannot be part of a word.
        return csv.reader(io.StringIO(content), delimiter="\t", quoting=csv.QUOTE_NONE)
    return csv.reader(io.StringIO(content, newline=""), delimiter=delimiter, strict=True)


def _delimiter(content: str) -> str:
    """The delimiter: the one that follows the name of an image or a known heading, if any."""
    line = next((line for line in content.splitlines() if line.strip()), "")
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
    return (0, _columns_from(1)) if images[:1] == [0] else None


def _text_columns(own: list[int], count: int) -> Columns:
    """The columns `own` of `count`; the last one of the heading extends to the end of a row."""
    return lambda cells: [i for i in range(cells) if i in own or (i >= count and count - 1 in own)]


def _columns_from(start: int) -> Columns:
    return lambda cells: range(start, cells)
