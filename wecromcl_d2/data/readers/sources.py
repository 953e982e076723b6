"""Ground truth with one file per image, in a folder or in a zip archive, which is not unpacked."""

from __future__ import annotations

import os
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from ..datasets import LabelError
from .base import ImageGT, Word, decode_text

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".tif", ".tiff", ".webp")

# Published ground-truth files have some kilobytes each; the largest set has 10,000 files.
MAX_FILE_BYTES = 4 << 20
MAX_ARCHIVE_BYTES = 256 << 20
MAX_ARCHIVE_FILES = 100_000
_ZIP_FAULTS = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    OSError,
    RuntimeError,  # an encrypted member
    NotImplementedError,  # an unknown compression
    ValueError,
)

ReadMember = Callable[[str], bytes]
ParseFile = Callable[[bytes], list[Word]]


def natural_key(name: str) -> tuple[list[Any], str]:
    """Sort key that puts `img_2` before `img_10`."""
    parts: list[Any] = re.split(r"([0-9]+)", name)
    for index in range(1, len(parts), 2):
        digits = parts[index].lstrip("0")
        parts[index] = (len(digits), digits)
    return parts, name


def read_ground_truth(
    path: Path,
    suffix: str,
    image_names: Callable[[str], tuple[str, ...]],
    parse: ParseFile,
) -> Iterator[ImageGT]:
    """Read one ground-truth file per image, in natural order of their names.

    Hidden files, files of other suffixes and folders are skipped; the files of an archive may lie
    in any of its folders.

    Args:
        path: folder or zip archive.
        suffix: of the ground-truth files.
        image_names: stem of a ground-truth file -> names that its image may have.
        parse: content -> words; its `LabelError` starts with the line number.

    Raises:
        LabelError: with archive, file and line, for the first fault.
    """
    with _open_source(path) as (names, read):
        described_by: dict[str, str] = {}
        for name in sorted((n for n in names if _is_gt_file(n, suffix)), key=natural_key):
            where = f"{path}/{name}"
            images = image_names(PurePosixPath(name).stem)
            earlier = described_by.setdefault(images[0], where)
            if earlier != where:
                raise LabelError(f"{where}: {earlier} describes image {images[0]!r} as well")
            data = read(name)
            try:
                words = parse(data)
            except LabelError as error:
                raise LabelError(f"{where}:{error}") from None
            yield ImageGT(where, images, words, image_id=images[0])
        if not described_by:
            raise LabelError(f"{path}: no {suffix} file in it")


def text_parser(parse: Callable[[str], list[Word]], encoding: str) -> ParseFile:
    """Turn a parser of text into one of bytes."""
    return lambda data: parse(decode_text(data, encoding))


def image_stem(stem: str) -> str:
    """The stem without an image suffix, as in `img_3.jpg.txt`."""
    path = PurePosixPath(stem)
    return path.stem if path.suffix.lower() in IMAGE_SUFFIXES else stem


def _is_gt_file(name: str, suffix: str) -> bool:
    path = PurePosixPath(name)
    hidden = path.name.startswith(".") or "__MACOSX" in path.parts
    return path.suffix.lower() == suffix and not hidden


def _open_source(path: Path) -> AbstractContextManager[tuple[list[str], ReadMember]]:
    return _open_folder(path) if path.is_dir() else _open_archive(path)


@contextmanager
def _open_folder(path: Path) -> Iterator[tuple[list[str], ReadMember]]:
    def read(name: str) -> bytes:
        try:
            # Reading a device or a pipe might never end.
            if not os.path.isfile(path / name):
                raise LabelError(f"{path / name}: not a file")
            with open(path / name, "rb") as stream:
                return _limited(stream.read(MAX_FILE_BYTES + 1), f"{path / name}")
        except OSError as error:
            raise LabelError(f"{path / name}: cannot be read: {error.strerror}") from None

    try:
        with os.scandir(path) as listing:
            names = [entry.name for entry in listing if not entry.is_dir(follow_symlinks=False)]
    except OSError as error:
        raise LabelError(f"{path}: cannot be listed: {error.strerror}") from None
    yield names, read


@contextmanager
def _open_archive(path: Path) -> Iterator[tuple[list[str], ReadMember]]:
    if not path.is_file():
        raise LabelError(f"{path}: neither a folder nor a file")
    try:
        archive = zipfile.ZipFile(path)
    except _ZIP_FAULTS as error:
        raise LabelError(f"{path}: not a readable zip archive: {error}") from None

    def read(name: str) -> bytes:
        try:
            with archive.open(name) as stream:
                return _limited(stream.read(MAX_FILE_BYTES + 1), f"{path}/{name}")
        except LabelError:
            raise
        except _ZIP_FAULTS as error:
            raise LabelError(f"{path}/{name}: damaged in the archive: {error}") from None

    with archive:
        members = [member for member in archive.infolist() if not member.is_dir()]
        names = [member.filename for member in members]
        size = sum(member.file_size for member in members)
        if len(members) > MAX_ARCHIVE_FILES or size > MAX_ARCHIVE_BYTES:
            raise LabelError(
                f"{path}: {len(members)} files of {size} bytes are no ground truth of a benchmark; "
                "unpack the archive if you trust it and name its folder"
            )
        if len(set(names)) != len(names):
            raise LabelError(f"{path}: a file name occurs twice in the archive")
        yield names, read


def _limited(data: bytes, where: str) -> bytes:
    if len(data) > MAX_FILE_BYTES:
        raise LabelError(
            f"{where}: more than {MAX_FILE_BYTES} bytes are no ground truth of one image"
        )
    return data
