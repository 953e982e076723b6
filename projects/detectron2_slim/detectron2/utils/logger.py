"""Console and file logging."""

import functools
import logging
import os
import sys
import time
from typing import IO, Any

from termcolor import colored

from detectron2.utils.file_io import PathManager

_times: dict[Any, float] = {}


class _ColorFormatter(logging.Formatter):
    """Green head, short names, red warnings."""

    def __init__(self, name: str, abbrev_name: str, datefmt: str) -> None:
        super().__init__(colored("[%(asctime)s %(name)s]: ", "green") + "%(message)s", datefmt)
        self._long, self._short = f"{name}.", abbrev_name and f"{abbrev_name}."

    def formatMessage(self, record: logging.LogRecord) -> str:
        record.name = record.name.replace(self._long, self._short)
        warns = record.levelno >= logging.WARNING
        return (colored(record.levelname, "red") + " ") * warns + super().formatMessage(record)


@functools.cache
def _open_log(filename: str) -> IO[str]:
    """Open a log file once, whichever loggers write to it."""
    PathManager.mkdirs(os.path.dirname(filename))
    return PathManager.open(filename, "a", encoding="utf-8")


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
    short = ("d2" if name == "detectron2" else name) if abbrev_name is None else abbrev_name
    datefmt = "%m/%d %H:%M:%S"
    plain = logging.Formatter("[%(asctime)s] %(name)s %(levelname)s: %(message)s", datefmt)
    if configure_stdout and distributed_rank == 0:
        console = logging.StreamHandler(sys.stdout)
        console.setFormatter(_ColorFormatter(name, short, datefmt) if color else plain)
        logger.addHandler(console)
    if output is not None:
        is_file = output.endswith((".txt", ".log"))
        filename = output if is_file else os.path.join(output, "log.txt")
        filename += f".rank{distributed_rank}" if distributed_rank > 0 else ""
        file_handler = logging.StreamHandler(_open_log(filename))
        file_handler.setFormatter(plain)
        logger.addHandler(file_handler)
    return logger


def _caller() -> tuple[str, tuple]:
    """Module name and code position of the first frame outside this file."""
    frame: Any = sys._getframe(1)
    while frame.f_code.co_filename == __file__:
        frame = frame.f_back
    name = frame.f_globals["__name__"].replace("__main__", "detectron2")
    return name, (frame.f_code.co_filename, frame.f_lineno)


def log_every_n_seconds(lvl: int, msg: str, n: float = 1, *, name: str | None = None) -> None:
    """Log calls from the same line at most once in ``n`` seconds."""
    module, position = _caller()
    if time.monotonic() - _times.get(position, float("-inf")) >= n:
        _times[position] = time.monotonic()
        logging.getLogger(name or module).log(lvl, msg)
