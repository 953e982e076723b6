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

    def _pixels(self, image: np.ndarray) -> np.ndarray:
        """An image in the size and the channel order of the network input.

        Raises:
            ValueError: for anything but an (H, W, 3) uint8 array.
        """
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(
                f"an image is an (H, W, 3) uint8 RGB array, not {image.dtype} {image.shape}"
            )
        return self._resize(image[..., ::-1] if self.settings["bgr"] else image)

    def _prepare(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Network input (1, 3, h, w), padded, and its cells without padding."""
        (height, width), step = pixels.shape[:2], self.settings["divisibility"]
        padded = np.empty((-(-height // step) * step, -(-width // step) * step, 3), np.float32)
        padded[:] = self.settings["pixel_mean"]
        padded[:height, :width] = pixels
        stride = self.settings["stride"]
        valid = np.zeros((1, padded.shape[0] // stride, padded.shape[1] // stride), bool)
        valid[:, : -(-height // stride), : -(-width // stride)] = True
        return np.ascontiguousarray(padded.transpose(2, 0, 1)[None]), valid

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


def scale_image(image: np.ndarray, factor: float) -> np.ndarray:
    """An image (H, W, 3) uint8 resized bilinearly with antialiasing; as it is for a factor of 1."""
    if factor == 1:
        return image
    rows, columns = (
        _weights(side, max(1, round(side * factor)), antialias=True) for side in image.shape[:2]
    )
    scaled = resample(image.transpose(2, 0, 1).astype(np.float32), rows, columns)
    return scaled.round().clip(0, 255).astype(np.uint8).transpose(1, 2, 0)


def resize_maps(maps: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Maps (Q, H, W) on another grid, bilinearly."""
    rows, columns = (
        _weights(*sides, antialias=False) for sides in zip(maps.shape[1:], grid, strict=True)
    )
    return resample(maps, rows, columns)


def resample(values: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Values (..., H, W) by the weights of their rows (h, H) and of their columns (w, W)."""
    return rows @ (values @ columns.T)


def _weights(before: int, after: int, *, antialias: bool) -> np.ndarray:
    """Shares (after, before) of the old places in the new ones; those of a row add up to 1."""
    step = before / after
    reach = max(step, 1.0) if antialias else 1.0
    centers = (np.arange(after) + 0.5) * step
    if not antialias:
        centers = centers.clip(0.5, before - 0.5)  # outside, the border is repeated
    distance = np.abs(np.arange(before) + 0.5 - centers[:, None]) / reach
    shares = (1 - distance).clip(0)
    return (shares / shares.sum(1, keepdims=True)).astype(np.float32)


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
