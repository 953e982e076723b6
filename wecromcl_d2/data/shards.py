"""Images inside tar files, found by an index that is made once and read at random.

`SHARDS/{000..099}.tar` names the hundred files `000.tar` to `099.tar`, and
`SHARDS/{000..099}.tar/a/img_1.jpg` the member `a/img_1.jpg` of one of them.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import logging
import os
import posixpath
import re
import tarfile
from array import array
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..files import replace_file
from .array_file import append_arrays, map_arrays, warn_unwritten, write_lock

logger = logging.getLogger(__name__)

# To be raised whenever the content of an index changes its meaning.
FORMAT = 1
_SUFFIX = ".tar"
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")


class ShardError(ValueError):
    """Tar files or a member of them that cannot be read; the message names it."""


def split_member(path: str) -> tuple[str, str] | None:
    """The shards and the member that a path names; None for the path of an ordinary file."""
    start, found, member = path.partition(_SUFFIX + "/")
    shards = start + _SUFFIX
    return (shards, member) if found and not os.path.isdir(shards) else None


def shard_paths(pattern: str) -> list[str]:
    """The files that a pattern such as `{000..099}.tar` names, in order.

    Raises:
        ShardError: if a range runs backwards.
    """
    choices = []
    fixed = _RANGE.split(pattern)
    for first, last in zip(fixed[1::3], fixed[2::3], strict=True):
        numbers = range(int(first), int(last) + 1)
        if not numbers:
            raise ShardError(f"{pattern}: the range {first}..{last} runs backwards")
        choices.append([f"{number:0{len(first)}d}" for number in numbers])
    names = itertools.product(*choices)
    return ["".join(_interleave(fixed[::3], name)) for name in names]


def read_member(pattern: str, member: str) -> bytes:
    """The bytes of a member of some shards.

    Raises:
        ShardError: if there is none of this name, or more than one, or it is cut off.
        OSError: if a shard cannot be read.
    """
    return _open_index(pattern).read(member)


def list_members(pattern: str) -> Iterator[str]:
    """Names of the members of some shards, in their order.

    Raises:
        ShardError: if a shard does not exist.
    """
    for path in shard_paths(pattern):
        if not os.path.isfile(path):
            raise ShardError(f"shard {path} does not exist")
        yield from (member.name for member in _members(path))


def has_member(pattern: str, member: str) -> bool:
    """Whether some shards have a member.

    Raises:
        ShardError: if a shard does not exist.
    """
    return len(_open_index(pattern).places(member)) > 0


class ShardIndex:
    """Where the members of some tar files are: M members.

    Args:
        paths: of the files.
        arrays: `names`, (M,) uint64, hashes of the members' names, ascending; of each member
            `shards`, the number of its file, `offsets`, where its content begins there, and
            `sizes`, in bytes.
    """

    def __init__(self, paths: list[str], arrays: dict[str, np.ndarray]):
        self.paths, self.names = paths, arrays["names"]
        self.shards, self.offsets, self.sizes = (arrays[k] for k in ("shards", "offsets", "sizes"))

    def places(self, member: str) -> range:
        """Positions in the arrays of the members of a name."""
        key = np.uint64(_hash(member))
        left, right = (int(np.searchsorted(self.names, key, side)) for side in ("left", "right"))
        return range(left, right)

    def read(self, member: str) -> bytes:
        """See `read_member`."""
        places = self.places(member)
        if not places:
            raise ShardError("no shard has it")
        files = [self.paths[self.shards[place]] for place in places]
        if len(files) > 1:
            raise ShardError(f"{' and '.join(files)} both have it; rename one of them")
        size = int(self.sizes[places[0]])
        with open(files[0], "rb") as stream:
            stream.seek(int(self.offsets[places[0]]))
            content = stream.read(size)
        if len(content) < size:
            raise ShardError(f"{files[0]} ends within it")
        return content


@functools.lru_cache
def _open_index(pattern: str) -> ShardIndex:
    """The index of some shards; each process checks once whether they are still the same."""
    paths = shard_paths(pattern)
    try:
        states = [(s.st_size, s.st_mtime_ns) for s in map(os.stat, paths)]
    except OSError as error:
        raise ShardError(f"shard {error.filename} cannot be read: {error.strerror}") from error
    identity = {"format": FORMAT, "shards": states}
    file = pattern + ".index"
    arrays = map_arrays(file, identity)
    if arrays is None:
        with write_lock(paths[0]):  # of several processes, one makes the index
            arrays = map_arrays(file, identity) or _index(paths, file, identity)
    return ShardIndex(paths, arrays)


def _index(paths: list[str], file: str, identity: Any) -> dict[str, np.ndarray]:
    """Index some shards and write the index, if possible."""
    logger.info("indexing %d tar files for %s, which is done once", len(paths), file)
    names, shards, offsets, sizes = array("Q"), array("i"), array("q"), array("q")
    for number, path in enumerate(paths):
        for member in _members(path):
            names.append(_hash(member.name))
            shards.append(number)
            offsets.append(member.offset_data)
            sizes.append(member.size)
    columns: dict[str, Any] = {"names": names, "shards": shards, "offsets": offsets, "sizes": sizes}
    order = np.argsort(np.array(names), kind="stable")
    arrays = {key: np.array(values)[order] for key, values in columns.items()}
    try:
        with replace_file(file) as stream:
            append_arrays(stream, identity, arrays)
    except OSError as error:
        warn_unwritten(file, error.strerror or str(error))
    return map_arrays(file, identity) or arrays


def _members(path: str) -> Iterator[tarfile.TarInfo]:
    """The files of a tar file, up to the first damage, which is reported."""
    try:
        with open(path, "rb") as stream, tarfile.open(fileobj=stream, mode="r:") as shard:
            while (member := shard.next()) is not None:
                shard.members.clear()  # type: ignore[attr-defined]
                if member.isreg():
                    yield member
            # tarfile takes any bad header but the first for the end.
            stream.seek(shard.offset)
            if stream.read(tarfile.BLOCKSIZE).strip(b"\0"):
                raise tarfile.ReadError(f"no header at byte {shard.offset}")
    except (tarfile.TarError, OSError) as error:
        logger.warning("%s is damaged (%s); its further images are missing", path, error)


def _hash(member: str) -> int:
    name = posixpath.normpath(member).encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "little")


def _interleave(fixed: list[str], chosen: tuple[str, ...]) -> Iterator[str]:
    return itertools.chain.from_iterable(itertools.zip_longest(fixed, chosen, fillvalue=""))
