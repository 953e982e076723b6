"""Console and file logging."""

import atexit
import functools
import logging
import os
import sys
import time
from collections import Counter
from collections.abc import Hashable, Sequence
from typing import IO, Any

from tabulate import tabulate
from termcolor import colored

from detectron2.utils.file_io import PathManager

__all__ = [
    "create_small_table",
    "log_every_n",
    "log_every_n_seconds",
    "log_first_n",
    "setup_logger",
]

_counts: Counter[Hashable] = Counter()
_times: dict[Hashable, float] = {}


class _ColorFormatter(logging.Formatter):
    """Green head, short names, red warnings."""

    def __init__(self, name: str, abbrev_name: str, datefmt: str) -> None:
        super().__init__(colored("[%(asctime)s %(name)s]: ", "green") + "%(message)s", datefmt)
        self._long, self._short = f"{name}.", abbrev_name and f"{abbrev_name}."

    def formatMessage(self, record: logging.LogRecord) -> str:
        record.name = record.name.replace(self._long, self._short)
        level = "ERROR" if record.levelno >= logging.ERROR else "WARNING"
        marked = record.levelno >= logging.WARNING
        prefix = colored(level, "red", attrs=["bold"]) + " " if marked else ""
        return prefix + super().formatMessage(record)


@functools.cache
def _open_log(filename: str) -> IO[str]:
    """Open a log file once, whichever loggers write to it."""
    stream = PathManager.open(filename, "a", encoding="utf-8")
    atexit.register(stream.close)
    return stream


@functools.cache
def setup_logger(
    output: str | None = None,
    distributed_rank: int = 0,
    *,
    color: bool = True,
    name: str = "detectron2",
    abbrev_name: str | None = None,
    enable_propagation: bool = False,
    configure_stdout: bool = True,
) -> logging.Logger:
    """Give a logger its handlers; a second call with the same arguments changes nothing.

    Args:
        output: A folder (the file is then ``log.txt``), a ``.txt`` or ``.log`` file, or None.
        distributed_rank: Ranks above 0 stay off the console and append ``.rank{r}`` to the file.
        color: Colour the console.
        name: Name of the logger.
        abbrev_name: What the console shows in place of ``name``; ``d2`` for this package.
        enable_propagation: Hand records on to the parent loggers too.
        configure_stdout: Whether to write to the console at all.
    """
    logger = logging.getLogger(name)
    logger.setLevel(logging.DEBUG)
    logger.propagate = enable_propagation
    if abbrev_name is None:
        abbrev_name = "d2" if name == "detectron2" else name
    datefmt = "%m/%d %H:%M:%S"
    plain = logging.Formatter("[%(asctime)s] %(name)s %(levelname)s: %(message)s", datefmt)
    if configure_stdout and distributed_rank == 0:
        console = logging.StreamHandler(sys.stdout)
        console.setFormatter(_ColorFormatter(name, abbrev_name, datefmt) if color else plain)
        logger.addHandler(console)
    if output is not None:
        is_file = output.endswith((".txt", ".log"))
        filename = output if is_file else os.path.join(output, "log.txt")
        filename += f".rank{distributed_rank}" if distributed_rank > 0 else ""
        PathManager.mkdirs(os.path.dirname(filename))
        file_handler = logging.StreamHandler(_open_log(filename))
        file_handler.setFormatter(plain)
        logger.addHandler(file_handler)
    return logger


def _caller() -> tuple[str, tuple[Hashable, ...]]:
    """Module name and code position of the first frame outside this file."""
    frame = sys._getframe(1)
    while frame.f_code.co_filename == __file__ and frame.f_back is not None:
        frame = frame.f_back
    module = frame.f_globals["__name__"]
    position = (frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name)
    return "detectron2" if module == "__main__" else module, position


def log_first_n(
    lvl: int, msg: str, n: int = 1, *, name: str | None = None, key: str | Sequence[str] = "caller"
) -> None:
    """Log only the first ``n`` times.

    Args:
        lvl: Logging level.
        msg: The message.
        n: How often.
        name: Logger; the caller's module by default.
        key: What counts as "the same": "caller", "message" or both.
    """
    module, position = _caller()
    keys = (key,) if isinstance(key, str) else key
    parts = {"caller": position, "message": (msg,)}
    identity = tuple(parts[k] for k in keys)
    _counts[identity] += 1
    if _counts[identity] <= n:
        logging.getLogger(name or module).log(lvl, msg)


def log_every_n(lvl: int, msg: str, n: int = 1, *, name: str | None = None) -> None:
    """Log the first of every ``n`` calls from the same line."""
    module, position = _caller()
    if _counts[position] % n == 0:
        logging.getLogger(name or module).log(lvl, msg)
    _counts[position] += 1


def log_every_n_seconds(lvl: int, msg: str, n: float = 1, *, name: str | None = None) -> None:
    """Log calls from the same line at most once in ``n`` seconds."""
    module, position = _caller()
    now = time.monotonic()
    if now - _times.get(position, float("-inf")) >= n:
        logging.getLogger(name or module).log(lvl, msg)
        _times[position] = now


def create_small_table(small_dict: dict[str, Any]) -> str:
    """Lay out a few numbers as a table of one row, keys on top."""
    return tabulate(
        [list(small_dict.values())],
        headers=list(small_dict),
        tablefmt="pipe",
        floatfmt=".3f",
        stralign="center",
        numalign="center",
    )
