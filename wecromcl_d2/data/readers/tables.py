"""Plain tables of images and words: CSV with commas, TSV with tabs."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from ..datasets import LabelError
from .base import Tally, Truth, Word, checked_name, checked_text, load_text

_HEADS = ("image", "file_name", "filename")


def read_table(path: Path, tally: Tally, encoding: str = "utf-8") -> Iterator[Truth]:
    """Read rows of an image and its words, one word a cell; images may have several rows.

    Empty cells and a first row that starts with `image` or `file_name` are skipped.

    Raises:
        LabelError: with file and line.
    """
    content = load_text(path, encoding)
    if path.suffix.lower() == ".tsv":
        # Quotes are ordinary characters: a tab cannot be part of a word.
        rows = csv.reader(io.StringIO(content), delimiter="\t", quoting=csv.QUOTE_NONE)
    else:
        rows = csv.reader(io.StringIO(content, newline=""), strict=True)
    words: dict[str, list[Word]] = {}
    lines: dict[str, int] = {}
    try:
        for row in rows:
            if not any(cell.strip() for cell in row):
                continue
            if not lines and row[0].strip().lower() in _HEADS:
                continue
            name = checked_name(row[0].strip())
            lines.setdefault(name, rows.line_num)
            texts = (cell.strip() for cell in row[1:])
            words.setdefault(name, []).extend(Word(checked_text(t)) for t in texts if t)
    except (csv.Error, LabelError) as error:
        raise LabelError(f"{path}:{rows.line_num}: {error}") from None
    for name, found in words.items():
        yield Truth(f"{path}:{lines[name]}", (name,), found)
