"""Lookup of files that come with the package, and atomic writing of files."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

_PACKAGE = Path(__file__).resolve().parent


@contextmanager
def replace_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a temporary neighbour of `path` for bytes and rename it to `path` at the end.

    Missing folders are created. If the block raises, `path` stays as it was and the temporary
    file is removed.

    Raises:
        OSError: if the folder or the file cannot be written.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(target)) from error
    try:
        with os.fdopen(handle, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o666 & ~umask())
        os.replace(temporary, target)
    except BaseException:
        os.unlink(temporary)
        raise


def umask() -> int:
    """The process's file mode mask; the only way to read it is to set it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def find_file(path: str | os.PathLike[str]) -> Path:
    """The file of a path; a relative one is looked up in the current folder, then in the package.

    `configs/quick/anchors.yaml` is thus found from any folder, in a clone and in an installation.

    Raises:
        FileNotFoundError: if the file is in none of these folders.
    """
    for folder in (Path(), _PACKAGE, _PACKAGE.parent):
        if (folder / path).is_file():
            return folder / path
    places = "" if Path(path).is_absolute() else f", neither here nor in {_PACKAGE.parent}"
    raise FileNotFoundError(f"{os.fspath(path)} does not exist{places}")
