"""Render a recipe once into a folder, and use that folder again only if it is complete.

A finished folder holds `images/NNNNNN.jpg`, `labels.jsonl` in the project's label format, and
`manifest.json`: the recipe, the count, the renderer's version, and size and checksum of each file.
The folder is created by one rename at the end, so it is complete or absent. A lock file beside it
makes other processes that render into the same folder wait for the first and use its result. Until
the rename, images are in a folder beside it, which the next process with the same recipe continues
after an interruption.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import logging
import multiprocessing
import os
import shutil
import sys
import tempfile
import threading
import zlib
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, nullcontext
from functools import partial
from multiprocessing import spawn
from pathlib import Path
from typing import NamedTuple

import cv2
from tqdm import tqdm

from ...files import umask
from .rendering import Recipe, prepare, render, renderer_version
from .scenes import Scene

_IMAGES = "images"
_LABELS = "labels.jsonl"
_MANIFEST = "manifest.json"
_JOURNAL = "journal"  # in an unfinished folder: results of `_render_chunk`, one file per chunk
_CHUNK = 64  # images of a chunk, the unit of work of a process


class _File(NamedTuple):
    """Entries of one image in the manifest and the label file."""

    size: int
    checksum: int
    label: str


def build_cache(
    recipe: Recipe,
    count: int,
    folder: str | os.PathLike[str],
    *,
    workers: int | None = None,
    progress: bool = True,
) -> Path:
    """Create a folder with the first `count` images of a recipe, unless it exists.

    A folder that is damaged or was rendered from something else is rendered again. An interrupted
    call is continued by the next one. The bytes do not depend on the number of workers.

    Args:
        recipe: what to render.
        count: number of images, at least 1.
        folder: of the result; created with its parents.
        workers: processes, started afresh ("spawn"), so a script that calls this needs the usual
            `if __name__ == "__main__"` guard. None: one per CPU, fewer for few images. 1: none.
        progress: show count, rate and remaining time on the standard error.

    Returns:
        The path of the label file.

    Raises:
        ValueError: if `count` or `workers` is below 1.
        RuntimeError: if the calling script lacks the guard.
        FileExistsError: if the folder contains files that this function did not write; nothing is
            changed then.
        OSError: if writing fails; an existing folder is not changed.
    """
    if count < 1:
        raise ValueError(f"count {count} is below 1: ask for at least one image")
    if workers is not None and workers < 1:
        raise ValueError(f"workers {workers} is below 1: use None or at least 1")
    # If the script lacks the main guard, a worker calls this function while it is being started.
    # This line then raises an error with the reason; otherwise the worker would wait for the lock
    # forever.
    spawn.get_preparation_data("")
    target = Path(folder).absolute()
    if _is_valid(target, recipe, count):
        return target / _LABELS  # no lock, so a read-only copy can be used
    target.parent.mkdir(parents=True, exist_ok=True)
    with _lock(target):
        if _is_valid(target, recipe, count):
            return target / _LABELS
        _refuse_foreign(target)
        prepare(recipe)  # here, so that warnings on its files appear once, from this process
        part = _unfinished(target, recipe, count)
        try:
            _fill(part, recipe, count, workers or _default_workers(count), progress)
            _replace(target, part)
        except Exception as error:
            shutil.rmtree(part, ignore_errors=True)
            raise (_explained(error, target) if isinstance(error, OSError) else error) from error
    return target / _LABELS


@contextmanager
def _lock(target: Path) -> Iterator[None]:
    # The kernel releases the lock when the process ends, so a killed run never blocks the next one.
    with open(target.parent / f".{target.name}.lock", "w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _default_workers(count: int) -> int:
    # Starting a process, which imports the whole package, takes as long as about 1000 images.
    return max(1, min(os.cpu_count() or 1, count // 1000))


def _identity(recipe: Recipe, count: int) -> dict[str, object]:
    return {
        "recipe": recipe.to_dict(),
        "count": count,
        "renderer_version": renderer_version(recipe),
    }


def _unfinished(target: Path, recipe: Recipe, count: int) -> Path:
    """The folder for unfinished work, with the results of interrupted runs of the same recipe."""
    identity = json.dumps(_identity(recipe, count), sort_keys=True).encode("utf-8")
    name = f".{target.name}.part-{hashlib.sha256(identity).hexdigest()[:16]}"
    for leftover in target.parent.glob(f".{target.name}.part-*"):
        if leftover.name != name:
            shutil.rmtree(leftover)
    part = target.parent / name
    for folder in (part, part / _IMAGES, part / _JOURNAL):
        folder.mkdir(mode=0o700, exist_ok=True)
    return part


def _is_valid(target: Path, recipe: Recipe, count: int) -> bool:
    """Whether a folder is whole, by its labels' checksum and the sizes of its images."""
    try:
        manifest = json.loads((target / _MANIFEST).read_text(encoding="utf-8"))
        labels = (target / _LABELS).read_bytes()
        if {key: manifest.get(key) for key in _identity(recipe, count)} != _identity(recipe, count):
            return False
        if manifest["labels_sha256"] != hashlib.sha256(labels).hexdigest():
            return False
        with os.scandir(target / _IMAGES) as entries:
            sizes = {entry.name: entry.stat().st_size for entry in entries}
        stated = (size for size, _ in manifest["files"])
        return all(sizes.get(_name(index)) == size for index, size in enumerate(stated))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _refuse_foreign(target: Path) -> None:
    if not target.exists():
        return
    if not target.is_dir():
        raise FileExistsError(f"{target} is a file: name another folder for the rendered images")
    foreign = {p.name for p in target.iterdir()} - {_IMAGES, _LABELS, _MANIFEST}
    if foreign:
        raise FileExistsError(
            f"{target} holds {sorted(foreign)[0]!r}, which is not part of a rendered data set, and "
            "would have to be replaced: name another folder or empty this one"
        )


def _fill(part: Path, recipe: Recipe, count: int, workers: int, progress: bool) -> None:
    """Render the missing images into an unfinished folder, then write labels and manifest."""
    chunks = [range(i, min(i + _CHUNK, count)) for i in range(0, count, _CHUNK)]
    work = partial(_render_chunk, recipe, part)
    pool = (
        ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _start_worker)
        if workers > 1
        else nullcontext()
    )
    digest = hashlib.sha256()
    files: list[tuple[int, int]] = []
    bar = tqdm(total=count, desc=f"rendering {recipe.split} {recipe.family}", unit="img",
               disable=not progress, file=sys.stderr, mininterval=0.5)  # fmt: skip
    with pool as executor, bar, open(part / _LABELS, "wb") as labels:
        for results in (executor.map if executor else map)(work, chunks):
            for file in results:
                line = file.label.encode("utf-8")
                labels.write(line)
                digest.update(line)
                files.append((file.size, file.checksum))
            bar.update(len(results))
    shutil.rmtree(part / _JOURNAL)
    manifest = _identity(recipe, count)
    manifest.update(labels_sha256=digest.hexdigest(), files=files)
    (part / _MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")


def _start_worker() -> None:
    cv2.setNumThreads(1)
    logging.getLogger(__package__).setLevel(logging.ERROR)  # the parent process logs the warnings
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    # If the parent is killed, its pool gets no message and would wait for work forever.
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _render_chunk(recipe: Recipe, part: Path, indices: range) -> list[_File]:
    journal = part / _JOURNAL / f"{indices.start:06d}.json"
    files = _read_journal(journal, part, indices)
    if files is None:
        files = [_render_file(recipe, part, index) for index in indices]
        journal.write_text(json.dumps(files), encoding="utf-8")
    return files


def _read_journal(journal: Path, part: Path, indices: range) -> list[_File] | None:
    """Entries of a chunk that an interrupted run rendered; None if a file is missing or damaged."""
    try:
        entries = json.loads(journal.read_text(encoding="utf-8"))
        files = [_File(*entry) for entry in entries]
        data = [(part / _IMAGES / _name(index)).read_bytes() for index in indices]
    except (OSError, ValueError, TypeError):
        return None
    found = [(len(d), zlib.crc32(d)) for d in data]
    return files if found == [(file.size, file.checksum) for file in files] else None


def _render_file(recipe: Recipe, part: Path, index: int) -> _File:
    scene = render(recipe, index)
    options = [cv2.IMWRITE_JPEG_QUALITY, scene.jpeg_quality]
    encoded, buffer = cv2.imencode(".jpg", scene.image[:, :, ::-1], options)
    assert encoded
    data = buffer.tobytes()
    (part / _IMAGES / _name(index)).write_bytes(data)
    return _File(len(data), zlib.crc32(data), _label(scene, index))


def _name(index: int) -> str:
    return f"{index:06d}.jpg"


def _label(scene: Scene, index: int) -> str:
    record = {
        "file_name": f"{_IMAGES}/{_name(index)}",
        "height": scene.image.shape[0],
        "width": scene.image.shape[1],
        "texts": scene.texts,
        "polygons": [polygon.round(2).ravel().tolist() for polygon in scene.polygons],
    }
    return json.dumps(record) + "\n"


def _replace(target: Path, part: Path) -> None:
    """Rename the finished folder to its final name; an old folder is deleted after that."""
    mode = 0o777 & ~umask()
    for folder in (part, part / _IMAGES):
        os.chmod(folder, mode)
    if not target.exists():
        part.rename(target)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{target.name}.part-", dir=target.parent))
    target.rename(old)
    part.rename(target)
    shutil.rmtree(old)


def _explained(error: OSError, target: Path) -> OSError:
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return error
    free = shutil.disk_usage(target.parent).free // 2**20
    return OSError(
        error.errno,
        f"no space left to render images into {target} ({free} MiB free): "
        "free some, choose another disk, or ask for fewer images",
    )
