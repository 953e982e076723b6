"""What both exported models share: their files, and the preparation of an image.

Letters: H x W pixels of an image, h x w of the network input.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np


class OnnxModel:
    """Graphs and settings of an exported model.

    Args:
        folder: that `wecromcl export-model` has written.
        threads: of onnxruntime; 0 for as many as there are cores.

    Raises:
        ValueError: if the folder has a model of another kind.
    """

    task = ""

    def __init__(self, folder: str | Path, threads: int = 0):
        self.settings: dict[str, Any] = json.loads(
            (Path(folder) / "model.json").read_text(encoding="utf-8")
        )
        if self.settings["task"] != self.task:
            raise ValueError(
                f"{folder} has a model for {self.settings['task']!r}, but {type(self).__name__} "
                f"needs one for {self.task!r}"
            )
        self._sessions = {
            name: open_graph(Path(folder) / f"{name}.onnx", threads)
            for name in self.settings["graphs"]
        }

    def _run(self, graph: str, **inputs: np.ndarray) -> list[np.ndarray]:
        return self._sessions[graph].run(None, inputs)

    def _prepare(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
        """Network input (1, 3, h, w), its cells without padding, and its true size."""
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(
                f"an image is an (H, W, 3) uint8 RGB array, not {image.dtype} {image.shape}"
            )
        pixels = self._resize(image[..., ::-1] if self.settings["bgr"] else image)
        (height, width), step = pixels.shape[:2], self.settings["divisibility"]
        padded = np.empty((-(-height // step) * step, -(-width // step) * step, 3), np.float32)
        padded[:] = self.settings["pixel_mean"]
        padded[:height, :width] = pixels
        stride = self.settings["stride"]
        valid = np.zeros((1, padded.shape[0] // stride, padded.shape[1] // stride), bool)
        valid[:, : -(-height // stride), : -(-width // stride)] = True
        return np.ascontiguousarray(padded.transpose(2, 0, 1)[None]), valid, (height, width)

    def _resize(self, image: np.ndarray) -> np.ndarray:
        """The image in the size that the config asks for; Pillow is needed where it differs."""
        (height, width), rule = image.shape[:2], self.settings["resize"]
        factor = rule["shortest"] / min(height, width) if rule["shortest"] else 1.0
        if rule["longest"] and max(height, width) * factor > rule["longest"]:
            factor = rule["longest"] / max(height, width)
        size = (max(1, int(width * factor + 0.5)), max(1, int(height * factor + 0.5)))
        if size == (width, height):
            return image
        from PIL import Image

        return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))


def open_graph(path: Path, threads: int) -> Any:
    """A session of onnxruntime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def window_maximum(maps: np.ndarray, window: int) -> np.ndarray:
    """The maximum of the window around each cell of non-negative maps (..., H, W)."""
    reach = window // 2
    for axis in (-1, -2):
        widths = [(0, 0)] * maps.ndim
        widths[axis] = (reach, reach)
        padded, length = np.pad(maps, widths), maps.shape[axis]
        shifted = [padded.take(range(i, i + length), axis) for i in range(window)]
        maps = np.maximum.reduce(shifted)
    return maps
