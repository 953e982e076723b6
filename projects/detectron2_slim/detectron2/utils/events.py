"""Scalars and pictures of a running training, and the writers that show them."""

import datetime
import itertools
import json
import logging
import os
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import torch
from fvcore.common.history_buffer import HistoryBuffer

from detectron2.utils.file_io import PathManager

__all__ = [
    "CommonMetricPrinter",
    "EventStorage",
    "EventWriter",
    "JSONWriter",
    "TensorboardXWriter",
    "get_event_storage",
    "has_event_storage",
]

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

    Use it as a context manager; blocks nest.
    """

    def __init__(self, start_iter: int = 0) -> None:
        self.iter = start_iter
        self._history: defaultdict[str, HistoryBuffer] = defaultdict(HistoryBuffer)
        self._hints: dict[str, bool] = {}
        self._latest: dict[str, tuple[float, int]] = {}
        self._prefix = ""
        self._images: list[tuple[str, Any, int]] = []
        self._histograms: list[dict[str, Any]] = []

    def __enter__(self) -> "EventStorage":
        _stack.append(self)
        return self

    def __exit__(self, *exc_info: object) -> None:
        assert _stack.pop() is self, "event storages must be left in the order they nest"

    @property
    def iter(self) -> int:
        """The current iteration."""
        return self._iter

    @iter.setter
    def iter(self, value: int) -> None:
        self._iter = int(value)

    @property
    def iteration(self) -> int:
        """Older name of `iter`."""
        return self._iter

    def step(self) -> None:
        """Go to the next iteration."""
        self._iter += 1

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
        self._latest[name] = (float(value), self._iter if cur_iter is None else cur_iter)
        self._history[name].update(*self._latest[name])

    def put_scalars(
        self, *, smoothing_hint: bool = True, cur_iter: int | None = None, **kwargs: Any
    ) -> None:
        """Add several values, see `put_scalar`."""
        for name, value in kwargs.items():
            self.put_scalar(name, value, smoothing_hint, cur_iter)

    def put_image(self, img_name: str, img_tensor: Any) -> None:
        """Keep a (3, H, W) RGB picture, uint8 or float in [0, 1], for TensorBoard."""
        self._images.append((img_name, img_tensor, self._iter))

    def put_histogram(self, hist_name: str, hist_tensor: torch.Tensor, bins: int = 1000) -> None:
        """Keep the histogram of a tensor for TensorBoard."""
        low, high = hist_tensor.min().item(), hist_tensor.max().item()
        self._histograms.append(
            {
                "tag": hist_name,
                "min": low,
                "max": high,
                "num": len(hist_tensor),
                "sum": float(hist_tensor.sum()),
                "sum_squares": float((hist_tensor**2).sum()),
                "bucket_limits": torch.linspace(low, high, bins + 1)[1:].tolist(),
                "bucket_counts": torch.histc(hist_tensor, bins=bins).tolist(),
                "global_step": self._iter,
            }
        )

    def history(self, name: str) -> HistoryBuffer:
        """Return all values of a name.

        Raises:
            KeyError: If there is none.
        """
        if name not in self._history:
            raise KeyError(f"no scalar named '{name}' was put into this storage")
        return self._history[name]

    def histories(self) -> dict[str, HistoryBuffer]:
        """Return all values of all names."""
        return self._history

    def latest(self) -> dict[str, tuple[float, int]]:
        """Return the newest (value, iteration) of each name."""
        return self._latest

    def count_samples(self, name: str, window_size: int = 20) -> int:
        """Count the values of the name's last ``window_size`` iterations."""
        newest_first = [iteration for _, iteration in reversed(self._history[name].values())]
        start = newest_first[0] - window_size if newest_first else 0
        return sum(1 for _ in itertools.takewhile(lambda i: i > start, newest_first))

    def latest_with_smoothing_hint(self, window_size: int = 20) -> dict[str, tuple[float, int]]:
        """Like `latest`, with the window's median for the names that want smoothing."""
        return {
            name: (self._median(name, window_size) if self._hints[name] else value, iteration)
            for name, (value, iteration) in self._latest.items()
        }

    def _median(self, name: str, window_size: int) -> float:
        return self._history[name].median(self.count_samples(name, window_size))

    def smoothing_hints(self) -> dict[str, bool]:
        """Return the hint of each name."""
        return self._hints

    @contextmanager
    def name_scope(self, name: str) -> Iterator[None]:
        """Put ``name/`` before all names used inside the block."""
        old, self._prefix = self._prefix, name.rstrip("/") + "/"
        try:
            yield
        finally:
            self._prefix = old

    def clear_images(self) -> None:
        """Forget the kept pictures."""
        self._images = []

    def clear_histograms(self) -> None:
        """Forget the kept histograms."""
        self._histograms = []


class EventWriter:
    """Reads the active storage and shows it somewhere."""

    def write(self) -> None:
        """Show what is new."""
        raise NotImplementedError

    def close(self) -> None:
        """Release files."""


class JSONWriter(EventWriter):
    """One JSON object per line and iteration, appended to a file."""

    def __init__(self, json_file: str, window_size: int = 20) -> None:
        self._file = PathManager.open(json_file, "a", encoding="utf-8")
        self._window_size = window_size
        self._last_write = -1

    def write(self) -> None:
        """Append the scalars that are newer than the last write, and make them durable."""
        lines: defaultdict[int, dict[str, float]] = defaultdict(dict)
        latest = get_event_storage().latest_with_smoothing_hint(self._window_size)
        for name, (value, iteration) in latest.items():
            if iteration > self._last_write:
                lines[iteration][name] = value
        for iteration, scalars in lines.items():
            line = json.dumps({**scalars, "iteration": iteration}, sort_keys=True)
            self._file.write(line + "\n")
        self._last_write = max(lines, default=self._last_write)
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class TensorboardXWriter(EventWriter):
    """Scalars, pictures and histograms for TensorBoard.

    Args:
        log_dir: Folder of the event files.
        window_size: Iterations of the median.
        kwargs: More arguments of ``SummaryWriter``.
    """

    def __init__(self, log_dir: str, window_size: int = 20, **kwargs: Any) -> None:
        self._window_size = window_size
        self._arguments = {"log_dir": log_dir, **kwargs}
        self._last_write = -1

    @cached_property
    def _writer(self) -> Any:
        from torch.utils.tensorboard import SummaryWriter

        return SummaryWriter(**self._arguments)

    def write(self) -> None:
        """Send what is new; sent pictures and histograms leave the storage."""
        storage = get_event_storage()
        latest = storage.latest_with_smoothing_hint(self._window_size)
        new = {name: item for name, item in latest.items() if item[1] > self._last_write}
        for name, (value, iteration) in new.items():
            self._writer.add_scalar(name, value, iteration)
        self._last_write = max((i for _, i in new.values()), default=self._last_write)
        for image in storage._images:
            self._writer.add_image(*image)
        for histogram in storage._histograms:
            self._writer.add_histogram_raw(**histogram)
        storage.clear_images()
        storage.clear_histograms()

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
        self.logger = logging.getLogger("detectron2.utils.events")
        self._max_iter = max_iter
        self._window_size = window_size

    def write(self) -> None:
        """Log the line."""
        storage = get_event_storage()
        if storage.iter == self._max_iter:
            return
        histories = storage.histories()
        parts = [f"iter: {storage.iter}"]
        if self._max_iter is not None and "time" in histories:
            eta = histories["time"].median(1000) * (self._max_iter - storage.iter - 1)
            storage.put_scalar("eta_seconds", eta, smoothing_hint=False)
            parts.insert(0, f"eta: {datetime.timedelta(seconds=int(eta))}")
        for mark in ("loss", "[metric]"):
            names = [name for name in histories if mark in name]
            parts += [f"{name}: {storage._median(name, self._window_size):.4g}" for name in names]
        for name in ("time", "data_time"):
            if name in histories:
                mean = histories[name].global_avg()
                parts.append(f"{name}: {mean:.4f}  last_{name}: {histories[name].latest():.4f}")
        lr = f"{histories['lr'].latest():.5g}" if "lr" in histories else "N/A"
        parts.append(f"lr: {lr}")
        if torch.cuda.is_available():
            parts.append(f"max_mem: {torch.cuda.max_memory_allocated() / 2**20:.0f}M")
        self.logger.info(" " + "  ".join(parts))
