"""`wecromcl read --bulk`: reading of any number of images, one JSON line each, in order.

Threads decode images ahead while the model works. The lines of each batch are written at once, into
FILE.part until all images are done; the same command continues there.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from ..data.shards import list_members
from ..files import replace_file
from ..predictor import ImageError, read_image
from .film import FILM_SUFFIXES
from .inputs import Model, UsageError
from .status import DONE, INTERRUPTED, LOSSES

# Threads that decode images, and batches that they are ahead.
THREADS, AHEAD = 2, 2
# Options that decide what the lines say.
SETTINGS = (
    "inputs", "model", "config_file", "weights", "max_side", "threshold", "full_size", "tile",
    "tile_overlap", "batch_size", "scales",
)  # fmt: skip

# Name in the output, and path.
Item = tuple[str, str]


def add_bulk_argument(parser: argparse.ArgumentParser) -> None:
    """Add `--bulk`."""
    parser.add_argument(
        "--bulk",
        action="store_true",
        help="for any number of images in folders and tar files (such as SHARDS/{000..099}.tar): "
        "write the lines of --json batch by batch, and continue there if the command is run again",
    )


def check_bulk(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Report options that `--bulk` excludes or needs."""
    if args.bulk and (args.json is None or args.output is not None or args.print):
        parser.error("--bulk writes the lines of --json FILE and takes no --output and no --print")
    if args.bulk and args.every != 1:
        parser.error(f"--every {args.every} is for films, which --bulk does not read")


def read_bulk(args: argparse.Namespace, build_model: Callable[[], Model]) -> int:
    """Read all images of a command line that have no line yet; returns the exit status.

    Raises:
        UsageError: if there is no image, or the lines so far are of another run.
    """
    part, state = (args.json.with_name(args.json.name + end) for end in (".part", ".run"))
    check_settings(args, part, state)
    items = list_items(args.inputs)
    done, problems = skip_finished(part, items, args.batch_size)
    with open(part, "ab") as file, tqdm(unit="image", disable=None, initial=done) as bar:
        try:
            for records in read_batches(build_model(), items, args.batch_size):
                lines = [json.dumps(record, ensure_ascii=False) + "\n" for record in records]
                file.write("".join(lines).encode("utf-8", "backslashreplace"))
                file.flush()
                bar.update(len(records))
                done += len(records)
                problems += sum("problem" in record for record in records)
        except KeyboardInterrupt:
            print(f"interrupted; the same command continues after {done} images", file=sys.stderr)
            return INTERRUPTED
    state.unlink()
    if not done:
        part.unlink()
        raise UsageError(f"there is no image in {', '.join(args.inputs)}")
    os.replace(part, args.json)
    print(f"{done - problems} images done, {problems} skipped", file=sys.stderr)
    return LOSSES if problems else DONE


def check_settings(args: argparse.Namespace, part: Path, state: Path) -> None:
    """Write down the settings of a new run, or compare them with those of the run so far.

    Raises:
        UsageError: if they differ.
    """
    settings = {"folder": os.getcwd()} | {name: getattr(args, name) for name in SETTINGS}
    if part.exists() and state.exists():
        before = json.loads(state.read_text(encoding="utf-8"))
        other = [name for name in settings if before.get(name) != settings[name]]
        if other:
            raise UsageError(
                f"{part} is of a run with another {' and '.join(other)}; delete it to start anew"
            )
        return
    part.unlink(missing_ok=True)
    with replace_file(state) as file:
        file.write(json.dumps(settings).encode())


def list_items(arguments: list[str]) -> Iterator[Item]:
    """The images of folders, tar files and single files, one by one, in an order that stays.

    Names are relative to the argument if it is the only one.

    Raises:
        UsageError: if there is no such file or folder, or it is a film.
        ShardError: likewise, for a tar file.
    """
    Image.init()
    for argument in arguments:
        if os.path.isdir(argument):
            names = _files_below(argument, "")
        elif argument.endswith(".tar"):
            names = list_members(argument)
        elif argument.lower().endswith(FILM_SUFFIXES):
            raise UsageError(f"{argument} is a film, which --bulk does not read; leave out --bulk")
        elif os.path.exists(argument):
            yield (os.path.basename(argument) if len(arguments) == 1 else argument), argument
            continue
        else:
            raise UsageError(f"{argument}: no such file or folder")
        for name in filter(_is_image, names):
            path = os.path.join(argument, name)
            yield (name if len(arguments) == 1 else path), path


def _files_below(root: str, folder: str) -> Iterator[str]:
    """Files below a folder, relative to the root."""
    with os.scandir(os.path.join(root, folder)) as stream:
        entries = sorted((entry.name, entry.is_dir()) for entry in stream)
    for name, is_folder in entries:
        path = os.path.join(folder, name)
        if is_folder:
            yield from _files_below(root, path)
        else:
            yield path


def _is_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in Image.EXTENSION


def skip_finished(part: Path, items: Iterator[Item], batch_size: int) -> tuple[int, int]:
    """Leave out the images that have their line, and cut off what is behind the last whole batch.

    Batches stay as they would be without the interruption, and so do the lines, to the last digit.

    Returns:
        Number of lines, and of those that tell a problem.

    Raises:
        UsageError: if a line is of another image than the one in its place.
    """
    if not part.exists():
        return 0, 0
    with open(part, "rb") as file:
        whole = sum(line.endswith(b"\n") for line in file) // batch_size * batch_size
        file.seek(0)
        problems = 0
        for number in range(whole):
            record, item = json.loads(file.readline()), next(items, ("", ""))
            if record["file_name"] != item[0]:
                raise UsageError(
                    f"{part}: line {number + 1} is of {record['file_name']!r}, in whose place is "
                    f"{item[0]!r} now; delete it to start anew"
                )
            problems += "problem" in record
        end = file.tell()
    os.truncate(part, end)
    return whole, problems


def read_batches(
    model: Model, items: Iterator[Item], batch_size: int
) -> Iterator[list[dict[str, Any]]]:
    """The records of all images, batch by batch."""
    with ThreadPoolExecutor(THREADS) as pool:
        waiting: deque[list[tuple[str, Future]]] = deque()

        def fetch() -> None:
            few = list(islice(items, batch_size))
            waiting.append([(name, pool.submit(_decode, path)) for name, path in few])

        for _ in range(AHEAD):
            fetch()
        while batch := waiting.popleft():
            fetch()
            decoded = [(name, future.result()) for name, future in batch]
            pixels = [image for _, image in decoded if not isinstance(image, ImageError)]
            results = iter(model(pixels, [[] for _ in pixels]))
            yield [
                (_problem(image) if isinstance(image, ImageError) else next(results).to_dict())
                | {"file_name": name}
                for name, image in decoded
            ]


def _decode(path: str) -> np.ndarray | ImageError:
    try:
        return read_image(path)
    except ImageError as error:
        return error


def _problem(error: ImageError) -> dict[str, Any]:
    """Record of an image that could not be read: without words."""
    return {"texts": [], "points": [], "scores": [], "problem": str(error)}
