"""Scalars and images of a running training, and the writers that show them."""

import datetime
import itertools
import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import torch
from fvcore.common.history_buffer import HistoryBuffer

from detectron2.utils.file_io import PathManager

_stack: list["EventStorage"] = []


def get_event_storage() -> "EventStorage":
    """Return the storage whose ``with`` block was entered last.

    Raises:
        AssertionError: Outside of any such block.
    """
    assert _stack, "get_event_storage() works only inside 'with EventStorage(...)'"
    return _stack[-1]


def has_event_storage() -> bool:
    """Whether a storage is active."""
    return bool(_stack)


class EventStorage:
    """Histories of named scalars, each value stamped with an iteration.

    Use it as a context manager; blocks nest. ``iteration`` is another name of ``iter``.
    """

    iteration = property(lambda self: self.iter)

    def __init__(self, start_iter: int = 0) -> None:
        self.iter = start_iter
        self._history: dict[str, HistoryBuffer] = {}
        self._hints: dict[str, bool] = {}
        self._latest: dict[str, tuple[float, int]] = {}
        self._prefix = ""
        self._images: list[tuple[str, Any, int]] = []

    def __enter__(self) -> "EventStorage":
        _stack.append(self)
        return self

    def __exit__(self, *exc_info: object) -> None:
        assert _stack.pop() is self, "event storages must be left in the order they nest"

    def step(self) -> None:
        """Go to the next iteration."""
        self.iter += 1

    def put_scalar(
        self, name: str, value: Any, smoothing_hint: bool = True, cur_iter: int | None = None
    ) -> None:
        """Add one value.

        Args:
            name: Name, put behind the current `name_scope`.
            value: Anything ``float`` accepts; a GPU tensor makes the CPU wait.
            smoothing_hint: Whether writers should show a median; fixed per name.
            cur_iter: Iteration of the value; the current one by default.

        Raises:
            AssertionError: If the name had the other hint before.
        """
        name = self._prefix + name
        hint = self._hints.setdefault(name, smoothing_hint)
        assert hint == smoothing_hint, f"scalar '{name}' came with another smoothing_hint before"
        self._latest[name] = (float(value), self.iter if cur_iter is None else cur_iter)
        self._history.setdefault(name, HistoryBuffer()).update(*self._latest[name])

    def put_scalars(self, *, smoothing_hint: Any = True, cur_iter: Any = None, **kw: Any) -> None:
        """Add several values, see `put_scalar`."""
        for name, value in kw.items():
            self.put_scalar(name, value, smoothing_hint, cur_iter)

    def put_image(self, img_name: str, img_tensor: Any) -> None:
        """Keep a (3, H, W) RGB image, uint8 or float in [0, 1], for TensorBoard."""
        self._images.append((img_name, img_tensor, self.iter))

    def history(self, name: str) -> HistoryBuffer:
        """Return all values of a name.

        Raises:
            KeyError: If there is none.
        """
        return self._history[name]

    def histories(self) -> dict[str, HistoryBuffer]:
        """Return all values of all names."""
        return self._history

    def latest(self) -> dict[str, tuple[float, int]]:
        """Return the newest (value, iteration) of each name."""
        return self._latest

    def count_samples(self, name: str, window_size: int = 20) -> int:
        """Count the values of the name's last ``window_size`` iterations."""
        iterations = [iteration for _, iteration in self._history[name].values()]
        recent = (i > iterations[-1] - window_size for i in reversed(iterations))
        return len([*itertools.takewhile(bool, recent)])

    def latest_with_smoothing_hint(self, window_size: int = 20) -> dict[str, tuple[float, int]]:
        """Like `latest`, with the window's median for the names that want smoothing."""
        result = dict(self._latest)
        for name in filter(self._hints.get, result):
            median = self._history[name].median(self.count_samples(name, window_size))
            result[name] = (median, result[name][1])
        return result

    @contextmanager
    def name_scope(self, name: str) -> Iterator[None]:
        """Put ``name/`` before all names used inside the block."""
        old, self._prefix = self._prefix, name.rstrip("/") + "/"
        try:
            yield
        finally:
            self._prefix = old

    def clear_images(self) -> None:
        """Forget the kept images."""
        self._images = []


class EventWriter:
    """Reads the active storage and shows it somewhere."""

    def write(self) -> None:
        """Show what is new."""
        raise NotImplementedError

    def close(self) -> None:
        """Release files."""


class _ScalarWriter(EventWriter):
    """Remembers up to which iteration it has written."""

    def __init__(self, window_size: int) -> None:
        self._window_size = window_size
        self._last_write = -1

    def _new_scalars(self) -> list[tuple[str, float, int]]:
        latest = get_event_storage().latest_with_smoothing_hint(self._window_size)
        new = [(name, value, i) for name, (value, i) in latest.items() if i > self._last_write]
        self._last_write = max([i for _, _, i in new], default=self._last_write)
        return new


class JSONWriter(_ScalarWriter):
    """One JSON object per line and iteration, appended to a file."""

    def __init__(self, json_file: str, window_size: int = 20) -> None:
        super().__init__(window_size)
        self._file = PathManager.open(json_file, "a", encoding="utf-8")

    def write(self) -> None:
        """Append the scalars that are newer than the last write, and make them durable."""
        lines: dict[int, dict[str, float]] = {}
        for name, value, iteration in self._new_scalars():
            lines.setdefault(iteration, {"iteration": iteration})[name] = value
        self._file.writelines(f"{json.dumps(line, sort_keys=True)}\n" for line in lines.values())
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class TensorboardXWriter(_ScalarWriter):
    """Scalars and images for TensorBoard.

    Args:
        log_dir: Folder of the event files.
        window_size: Iterations of the median.
        kwargs: More arguments of ``SummaryWriter``.
    """

    def __init__(self, log_dir: str, window_size: int = 20, **kwargs: Any) -> None:
        super().__init__(window_size)
        self._arguments = {"log_dir": log_dir, **kwargs}

    @cached_property
    def _writer(self) -> Any:
        from torch.utils.tensorboard import SummaryWriter

        return SummaryWriter(**self._arguments)

    def write(self) -> None:
        """Write new scalars and images; written images are removed from the storage."""
        storage = get_event_storage()
        for scalar in self._new_scalars():
            self._writer.add_scalar(*scalar)
        for image in storage._images:
            self._writer.add_image(*image)
        storage.clear_images()

    def close(self) -> None:
        """Close the event file if one was opened."""
        if "_writer" in self.__dict__:
            self._writer.close()


class CommonMetricPrinter(EventWriter):
    """One log line with the losses, the ``[metric]`` scalars, times, learning rate and memory.

    Args:
        max_iter: Last iteration; gives the remaining time, which is also put into the storage as
            ``eta_seconds``. At this iteration nothing is printed.
        window_size: Iterations of the median.
    """

    def __init__(self, max_iter: int | None = None, window_size: int = 20) -> None:
        self._max_iter = max_iter
        self._window_size = window_size

    def write(self) -> None:
        """Log the line."""
        storage, last = get_event_storage(), self._max_iter
        if storage.iter == last:
            return
        histories = storage.histories()
        parts = [f"iter: {storage.iter}"]
        if last is not None and "time" in histories:
            eta = histories["time"].median(1000) * (last - storage.iter - 1)
            storage.put_scalar("eta_seconds", eta, smoothing_hint=False)
            parts.insert(0, f"eta: {datetime.timedelta(seconds=int(eta))}")
        smooth = storage.latest_with_smoothing_hint(self._window_size)
        for mark in ("loss", "[metric]"):
            parts += [f"{name}: {smooth[name][0]:.4g}" for name in histories if mark in name]
        for name in (name for name in ("time", "data_time") if name in histories):
            mean, newest = histories[name].global_avg(), histories[name].latest()
            parts.append(f"{name}: {mean:.4f}  last_{name}: {newest:.4f}")
        parts.append(f"lr: {smooth['lr'][0]:.5g}" if "lr" in smooth else "lr: N/A")
        if torch.cuda.is_available():
            parts.append(f"max_mem: {torch.cuda.max_memory_allocated() / 2**20:.0f}M")
        logging.getLogger(__name__).info(" " + "  ".join(parts))
