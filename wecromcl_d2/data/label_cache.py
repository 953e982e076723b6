"""Checked label files as flat arrays, which processes share through a mapped file.

Large label files are checked once and written as `NAME.cache` beside the file, which is valid for
one size and time of the label file and one `FORMAT`. It holds the arrays of `LabelTable`.
"""

from __future__ import annotations

import io
import json
import logging
import os
import posixpath
import zlib
from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from ..files import replace_file
from .array_file import append_arrays, map_arrays, warn_unwritten, write_lock
from .first_uses import FirstUses
from .label_format import (
    LabelError,
    check_record,
    identity_of,
    is_list_file,
    parse_labels,
    texts_that_count,
)

logger = logging.getLogger(__name__)

# To be raised whenever the content of a cache changes its meaning.
FORMAT = 1
# Bytes of a label file from which on it gets a cache; smaller ones are read in a moment.
CACHED_FROM = 2**20


class _Source(NamedTuple):
    """What tells one state of a label file from another."""

    size: int
    time_ns: int

    @classmethod
    def of(cls, path: Path) -> _Source:
        try:
            status = os.stat(path)
        except OSError as error:
            raise LabelError(f"{path}: cannot be read: {error.strerror}") from error
        return cls(status.st_size, status.st_mtime_ns)


@dataclass(frozen=True)
class LabelTable:
    """The checked records of a label file: R records, W texts that count.

    Attributes:
        path: the label file.
        records: uint8, the JSON texts of the records, one behind the other.
        ends: (R + 1,) int64, where each begins and the last ends.
        checksums: (R,) uint32, CRC-32 of each.
        sizes: (R, 2) int32, height and width of each image; 0 if the record states none.
        texts: uint8, JSON list of the distinct texts that count.
        ids: (W,) int32, numbers of the texts that count among `texts`, record by record.
        bounds: (R + 1,) int64, where the texts of each record begin in `ids`.
        source: state of the label file that the cache belongs to; None if there is no cache.
    """

    path: Path
    records: np.ndarray
    ends: np.ndarray
    checksums: np.ndarray
    sizes: np.ndarray
    texts: np.ndarray
    ids: np.ndarray
    bounds: np.ndarray
    source: _Source | None = None

    def __len__(self) -> int:
        return len(self.checksums)

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        """Other processes open the cache anew; without a cache they get a copy."""
        if self.source is not None:
            return _reopen, (self.path, self.source)
        return LabelTable, tuple(vars(self).values())

    def read(self, index: int) -> Any:
        """The JSON value of a record.

        Raises:
            LabelError: if the cache was damaged since it was opened.
        """
        data = self.records[self.ends[index] : self.ends[index + 1]].tobytes()
        if zlib.crc32(data) != self.checksums[index]:
            raise LabelError(f"{_cache_path(self.path)}: damaged; delete it and start again")
        return json.loads(data)


def load_table(path: Path) -> LabelTable:
    """Read and check a label file, or open its cache.

    A large file gets a cache. Where none can be written, each process that reads the file keeps
    all of it in memory, with one warning.

    Raises:
        LabelError: see `datasets.read_labels`.
    """
    is_list_file(path)
    source = _Source.of(path)
    if source.size >= CACHED_FROM:
        table = _open(path, source)
        if table is None:
            try:
                with write_lock(path):  # of several processes, one reads
                    table = _open(path, source) or _create(path, source)
            except OSError as error:
                warn_unwritten(str(_cache_path(path)), error.strerror or str(error))
        if table is not None:
            return table
    stream = io.BytesIO()
    arrays = _collect(path, stream)
    _check_unchanged(path, source)
    return LabelTable(path, records=np.frombuffer(stream.getbuffer(), np.uint8), **arrays)


def _cache_path(path: Path) -> Path:
    return path.with_name(path.name + ".cache")


def _check_unchanged(path: Path, source: _Source) -> None:
    if _Source.of(path) != source:
        raise LabelError(f"{path}: was changed while it was read; start again")


def _collect(path: Path, stream: BinaryIO) -> dict[str, Any]:
    """Check a label file and write the JSON texts of its records; returns the other arrays."""
    names = FirstUses("file_name", "merge the two records")
    identities = FirstUses("image_id", "give each record its own image_id")
    numbers: dict[str, int] = {}
    ends, bounds = array("q", [0]), array("q", [0])
    checksums, sizes, ids = array("I"), array("i"), array("i")
    for line, data, record in parse_labels(path):
        try:
            check_record(record)
            name = posixpath.normpath(record["file_name"])
            names.check(name, line)
            identities.check(identity_of(record, name), line)
        except LabelError as error:
            raise LabelError(f"{path}:{line}: {error}") from None
        stream.write(data)
        ends.append(ends[-1] + len(data))
        checksums.append(zlib.crc32(data))
        sizes.extend((record.get("height", 0), record.get("width", 0)))
        ids.extend(numbers.setdefault(text, len(numbers)) for text in texts_that_count(record))
        bounds.append(len(ids))
    if not checksums:
        raise LabelError(f"{path}: no record in it; write one record an image")
    texts = json.dumps(list(numbers), ensure_ascii=False).encode()
    return {
        "ends": np.frombuffer(ends, np.int64),
        "checksums": np.frombuffer(checksums, np.uint32),
        "sizes": np.frombuffer(sizes, np.int32).reshape(-1, 2),
        "texts": np.frombuffer(texts, np.uint8),
        "ids": np.frombuffer(ids, np.int32) if ids else np.zeros(0, np.int32),
        "bounds": np.frombuffer(bounds, np.int64),
    }


def _create(path: Path, source: _Source) -> LabelTable | None:
    """Write and open the cache of a label file.

    Raises:
        OSError: if it cannot be written.
    """
    logger.info("checking %s, which is done once", path)
    with replace_file(_cache_path(path)) as stream:
        arrays = _collect(path, stream)
        _check_unchanged(path, source)
        append_arrays(stream, _identity(source), arrays, ("records", int(arrays["ends"][-1])))
    return _open(path, source)


def _open(path: Path, source: _Source) -> LabelTable | None:
    """Map the cache of a label file; None if there is no whole one of its present state."""
    arrays = map_arrays(_cache_path(path), _identity(source))
    if arrays is None:
        return None
    arrays["sizes"] = arrays["sizes"].reshape(-1, 2)
    return LabelTable(path, **arrays, source=source)


def _identity(source: _Source) -> dict[str, Any]:
    return {"format": FORMAT, "source": source}


def _reopen(path: Path, source: _Source) -> LabelTable:
    """The table of another process that has the cache open.

    Raises:
        LabelError: if the label file was changed in the meantime.
    """
    table = _open(path, source)
    if table is None:
        raise LabelError(f"{path}: was changed while it was in use; start again")
    return table
