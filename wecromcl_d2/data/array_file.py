"""Files of numpy arrays that are mapped into memory, so that all processes share one copy.

The arrays stand one behind the other, then a JSON footer that says where they are, then `_TAIL`.
"""

from __future__ import annotations

import fcntl
import functools
import json
import logging
import mmap
import os
import struct
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO

import numpy as np

logger = logging.getLogger(__name__)

_MAGIC = b"wecromcl"
# Length and checksum of the footer, magic.
_TAIL = struct.Struct("<QI8s")
_ALIGNMENT = 64


def append_arrays(
    stream: BinaryIO,
    identity: Any,
    arrays: Mapping[str, np.ndarray],
    first: tuple[str, int] | None = None,
) -> None:
    """Write arrays and complete the file, which may hold the bytes of a first array so far.

    Args:
        stream: the file.
        identity: what `map_arrays` must be given for it; JSON.
        arrays: to be written.
        first: name and length of the first array, which has no checksum.
    """
    places: dict[str, Any] = {first[0]: (0, first[1], "|u1", None)} if first else {}
    for name, values in arrays.items():
        stream.write(bytes(-stream.tell() % _ALIGNMENT))
        data = values.tobytes()
        places[name] = (stream.tell(), values.size, values.dtype.str, zlib.crc32(data))
        stream.write(data)
    footer = json.dumps({"identity": identity, "arrays": places}).encode()
    stream.write(footer + _TAIL.pack(len(footer), zlib.crc32(footer), _MAGIC))


def map_arrays(path: str | os.PathLike[str], identity: Any) -> dict[str, np.ndarray] | None:
    """The arrays of a file, flat and read-only; None if there is no whole one of this identity."""
    try:
        with open(path, "rb") as stream:
            content = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        length, checksum, magic = _TAIL.unpack(content[-_TAIL.size :])
        data = content[-_TAIL.size - length : -_TAIL.size]
        if magic != _MAGIC or zlib.crc32(data) != checksum:
            return None
        footer = json.loads(data)
        if footer["identity"] != json.loads(json.dumps(identity)):
            return None
        arrays = {}
        for name, (offset, count, dtype, checksum) in footer["arrays"].items():
            arrays[name] = np.frombuffer(content, dtype, count, offset)
            if checksum is not None and zlib.crc32(arrays[name].data) != checksum:
                return None
    except (OSError, ValueError, struct.error):  # absent, empty or cut
        return None
    return arrays


@contextmanager
def write_lock(path: str | os.PathLike[str]) -> Iterator[None]:
    """Let one process at a time write what belongs to a file, which is itself only read.

    Raises:
        OSError: if the file cannot be read.
    """
    with open(path, "rb") as stream:
        with suppress(OSError):  # on file systems without locks, each process writes
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield


@functools.lru_cache
def warn_unwritten(path: str, reason: str) -> None:
    """Say once that a file of arrays cannot be written."""
    logger.warning(
        "%s cannot be written (%s); each process that needs it keeps its content in memory",
        path,
        reason,
    )
