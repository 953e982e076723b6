"""Answers of both predictors in JSON types, activation maps included."""

from __future__ import annotations

import base64
import io
import threading
import time
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import numpy as np
from PIL import Image

from ..predictor import AnchorFinder, Spotter
from .limits import RequestError


class Models:
    """The models of a page, each absent or loaded; one request at a time runs.

    Args:
        spotter: reads words.
        finder: finds given words.
        missing: why a model is absent, by "read" and "find".
    """

    def __init__(
        self,
        spotter: Spotter | None = None,
        finder: AnchorFinder | None = None,
        missing: dict[str, str] | None = None,
    ):
        self.spotter, self.finder, self.missing = spotter, finder, missing or {}
        self._lock = threading.Lock()

    def read(self, pixels: np.ndarray) -> dict[str, Any]:
        """The words of an image, see `Spotting.to_dict`, with `advice` and `seconds`."""
        if self.spotter is None:
            raise self._absent("read")
        with self._lock:
            start = time.perf_counter()
            result = self.spotter(pixels)
            seconds = time.perf_counter() - start
        return result.to_dict() | {"advice": result.advice(), "seconds": seconds}

    def find(self, pixels: np.ndarray, words: Sequence[str]) -> dict[str, Any]:
        """The anchors of words, see `Anchors.to_dict`, with their maps.

        Returns:
            Also `maps`, each word's map, see `map_png`; `cell_size`, the (height, width) of a cell
            in pixels of the image; `unread`, the words without a map; `seconds`.
        """
        if self.finder is None:
            raise self._absent("find")
        with self._lock:
            start = time.perf_counter()
            result = self.finder(pixels, words)
            seconds = time.perf_counter() - start
        return result.to_dict() | {
            "maps": [map_png(cells) for cells in result.maps],
            "cell_size": list(result.cell_size),
            "unread": list(result.unread),
            "seconds": seconds,
        }

    def _absent(self, task: str) -> RequestError:
        reason = self.missing.get(task, "this page was started without a model for it")
        return RequestError(HTTPStatus.NOT_FOUND, reason)


def map_png(cells: np.ndarray) -> str:
    """A map (h, w) as a gray 8-bit PNG in base64: the square roots, which keep low values apart.

    The largest value is 255.
    """
    peak = float(cells.max(initial=0))
    levels = np.sqrt(cells.clip(0) / peak) if peak > 0 else np.zeros_like(cells)
    stream = io.BytesIO()
    Image.fromarray(np.round(levels * 255).astype(np.uint8)).save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode("ascii")
