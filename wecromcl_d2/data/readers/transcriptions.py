"""Photographs with words in a table, in a folder of text files or in a label file."""

from __future__ import annotations

import hashlib
import itertools
import os
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from ..datasets import LabelError, read_labels
from .base import ImageGT, Tally, Word, checked_text
from .convert import ImageFolder
from .sources import IMAGE_SUFFIXES, image_stem, natural_key, read_ground_truth, text_parser
from .tables import read_table

SPLITS = ("train", "val", "test")
# Photographs that nothing here can read: found, so that they are not reported as missing.
_UNREADABLE_SUFFIXES = (".heic", ".heif")
_SHEETS = (".xlsx", ".xls", ".ods", ".numbers")


class Reading(NamedTuple):
    """Options of reading transcriptions.

    Attributes:
        lines: whether a line of a text file, or a cell of a table, is one text; otherwise each of
            its words is one.
        encoding: of tables and text files.
        columns: headings of a table's columns of images and of texts; None to recognise them.
    """

    lines: bool = False
    encoding: str = "utf-8"
    columns: tuple[str, str] | None = None


class PhotoFolder(ImageFolder):
    """Finds photographs of a folder and its subfolders, ignoring the case of their names.

    Raises:
        LabelError: if there is no such folder, or no image in it.
    """

    def __init__(self, path: Path):
        super().__init__(path)
        if not path.is_dir():
            raise LabelError(f"{path}: no such folder of images")
        self.names = self._files(IMAGE_SUFFIXES)
        if not self.names:
            raise LabelError(f"{path}: no image in it; known are {', '.join(IMAGE_SUFFIXES)}")
        self._by_key: dict[str, list[str]] = {}
        for name in self.names:
            for key in _keys(name):
                self._by_key.setdefault(key, []).append(name)
        for name in self._files(_UNREADABLE_SUFFIXES):
            for key in _keys(name):
                self._by_key.setdefault(key, [name])

    def _files(self, suffixes: tuple[str, ...]) -> list[str]:
        """Names of the files with one of the suffixes, hidden ones left out."""
        names = (
            file.relative_to(self.path).as_posix()
            for file in self.path.rglob("*")
            if file.suffix.lower() in suffixes and not file.name.startswith(".") and file.is_file()
        )
        return sorted(names, key=natural_key)

    def find(self, names: tuple[str, ...]) -> str | None:
        """The photograph of the first name that exists.

        A name may be a path below the folder, a path that starts above it or on another computer,
        or the file's name alone, each with or without its suffix.

        Raises:
            LabelError: if a name fits several photographs.
        """
        for given in names:
            parts = given.replace("\\", "/").split("/")
            for start in range(len(parts)):
                fitting = self._by_key.get(_key("/".join(parts[start:])), [])
                if start and len(parts) - start == 1:
                    # The name has a folder, so a photograph in another folder is not the same.
                    fitting = [name for name in fitting if "/" not in name]
                exact = [name for name in fitting if name == given]
                if len(exact or fitting) > 1:
                    raise LabelError(
                        f"{given!r} may be {' or '.join(fitting)} in {self.path}; write which"
                    )
                if fitting:
                    found = (exact or fitting)[0]
                    self._found.add(found)
                    return found
        return None

    def unused(self) -> list[str]:
        """The photographs that `find` has not returned."""
        return [name for name in self.names if name not in self._found]


def _keys(name: str) -> set[str]:
    """What a photograph can be looked up by: path or name, with or without its suffix."""
    whole = PurePosixPath(name)
    return {*map(_key, (name, str(whole.with_suffix("")), whole.name, whole.stem))}


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def read_transcriptions(path: Path, reading: Reading, folder: PhotoFolder) -> Iterator[ImageGT]:
    """The words of the photographs, one entry per photograph.

    Args:
        path: table, folder or zip archive of text files named like the photographs, or label
            file.
        reading: options.
        folder: the photographs.

    Raises:
        LabelError: if the source cannot be parsed, naming file and line.
    """
    ground_truth: dict[str, ImageGT] = {}
    for gt in _read(path, reading):
        # Several names may refer to one photograph.
        name = folder.find(gt.names) or gt.names[0]
        words = [Word(text) for word in gt.words for text in _texts(word.text, reading.lines)]
        earlier = ground_truth.get(name)
        if earlier is not None:
            words = earlier.words + words
        ground_truth[name] = ImageGT(gt.where, (name,), words)
    if not ground_truth:
        raise LabelError(f"{path}: no row in it; write one line per image")
    yield from ground_truth.values()


def _read(path: Path, reading: Reading) -> Iterator[ImageGT]:
    suffix = path.suffix.lower()
    if path.is_dir() or suffix == ".zip":
        parse = text_parser(_text_lines, reading.encoding)
        return read_ground_truth(path, ".txt", lambda stem: (image_stem(stem),), parse)
    if suffix in _SHEETS:
        raise LabelError(f"{path}: save the sheet as CSV (UTF-8) and name that file")
    if suffix in (".json", ".jsonl"):
        return _labels(path)
    return read_table(path, Tally(), reading.encoding, columns=reading.columns, check=_checked_cell)


def _labels(path: Path) -> Iterator[ImageGT]:
    for record in read_labels(path, os.curdir):
        name = os.path.relpath(record["file_name"], os.curdir)
        yield ImageGT(f"{path}: {name}", (name,), [Word(text) for text in record["texts"]])


def _text_lines(content: str) -> list[Word]:
    return [Word(line.strip()) for line in content.splitlines() if line.strip()]


def _texts(text: str, lines: bool) -> list[str]:
    """The words of a text, or its lines with one blank between words."""
    if not lines:
        return text.split()
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]


def _checked_cell(value: str) -> str:
    """A name to look up among the photographs; it is never opened as a path.

    Raises:
        LabelError: if it is empty or cannot be a name.
    """
    if not value:
        raise LabelError("a row without the name of an image")
    return checked_text(value)


def assign_splits(
    names: Sequence[str], shares: Sequence[int], seed: int
) -> dict[str, tuple[str, ...]]:
    """Images of the splits `SPLITS`, drawn at random.

    Images are sorted by a digest of seed and name, so that most of them stay in their split if
    images are added.

    Args:
        names: of the images.
        shares: percentages of train, val and test, whose sum is 100; a split of more than 0 gets
            at least one image.
        seed: of the random order.

    Raises:
        LabelError: if there are fewer images than splits.
    """
    wanted = sum(share > 0 for share in shares)
    if len(names) < wanted:
        raise LabelError(f"{len(names)} images cannot be split into {wanted}; use --split 100 0 0")

    def place(name: str) -> bytes:
        return hashlib.sha256(f"{seed} {name}".encode()).digest()

    drawn = sorted(names, key=place)
    # The largest split gets the images that are left by rounding.
    counts = [max(1, round(len(names) * share / 100)) if share else 0 for share in shares]
    largest = counts.index(max(counts))
    counts[largest] += len(names) - sum(counts)
    ends = [0, *itertools.accumulate(reversed(counts))]
    parts = [drawn[start:end] for start, end in itertools.pairwise(ends)]
    order = {name: i for i, name in enumerate(names)}
    ordered = [tuple(sorted(part, key=order.__getitem__)) for part in parts]
    return dict(zip(SPLITS, reversed(ordered), strict=True))
