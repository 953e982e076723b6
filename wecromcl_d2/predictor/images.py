"""Whatever holds a picture -> upright RGB pixels."""

from __future__ import annotations

import os
import struct
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageOps

from ..data.images import ImageError

Picture = str | os.PathLike[str] | np.ndarray | Image.Image
ColorOrder = Literal["RGB", "BGR"]

# The types of one picture, as opposed to a list of them.
SINGLE = (str, os.PathLike, np.ndarray, Image.Image)

_WITH_ALPHA = ("RGBA", "LA", "PA", "RGBa", "La")
# Steps of 16 bits in one of 8.
_STEPS = 257
# What Pillow raises on damaged files of one kind or another.
_READ_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    struct.error,
    Image.DecompressionBombError,
)


@dataclass(frozen=True, eq=False)
class ImageSource:
    """Where a picture comes from, so that it can be read again for drawing.

    Attributes:
        picture: path, array or Pillow image, see `read_image`.
        color_order: of an array.
    """

    picture: Picture
    color_order: ColorOrder = "RGB"

    @property
    def file_name(self) -> str | None:
        """The path, if it is one."""
        return os.fspath(self.picture) if isinstance(self.picture, (str, os.PathLike)) else None

    def read(self) -> np.ndarray:
        """See `read_image`."""
        return read_image(self.picture, self.color_order)


def read_image(picture: Picture, color_order: ColorOrder = "RGB") -> np.ndarray:
    """Read a picture of any usual kind.

    Files and Pillow images are turned upright as their EXIF orientation asks. Gray values are
    repeated, 16 bits are scaled to 8, what is transparent is laid on white, and of several frames
    the first is taken.

    Args:
        picture: path, Pillow image, or array (H, W), (H, W, 1), (H, W, 3) or, with alpha last,
            (H, W, 4), of uint8 or uint16.
        color_order: of the channels of an array; files and Pillow images know theirs.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ImageError: if there is no such file, it is damaged, or there is no such array.
    """
    if color_order not in ("RGB", "BGR"):
        raise ValueError(f"color_order is {color_order!r}; use 'RGB' or 'BGR'")
    if isinstance(picture, np.ndarray):
        return _from_array(picture, color_order)
    if isinstance(picture, Image.Image):
        return _from_pillow(_upright(picture))
    if not isinstance(picture, (str, os.PathLike)):
        raise ImageError(
            f"a picture is a path, a Pillow image or a numpy array, not {type(picture).__name__}"
        )
    try:
        with Image.open(Path(picture)) as file:
            file.load()
            return _from_pillow(_upright(file))
    except _READ_ERRORS as error:
        raise ImageError(f"cannot use image {os.fspath(picture)}: {error}") from error


def _upright(image: Image.Image) -> Image.Image:
    with suppress(Exception):  # broken EXIF data makes Pillow raise errors of many types
        return ImageOps.exif_transpose(image)
    return image


def _from_pillow(image: Image.Image) -> np.ndarray:
    if image.mode == "F":
        raise ImageError("its pixels are floats of unknown range; save it with 8 or 16 bits")
    if image.mode == "I" or image.mode.startswith("I;16"):
        values = np.asarray(image)
        if values.min() < 0 or values.max() > np.iinfo(np.uint16).max:
            raise ImageError("its pixels have more than 16 bits; save it with 8 or 16 bits")
        return _from_array(values.astype(np.uint16), "RGB")
    if image.mode in _WITH_ALPHA or "transparency" in image.info:
        return _from_array(np.asarray(image.convert("RGBA")), "RGB")
    return np.asarray(image.convert("RGB"))


def _from_array(pixels: np.ndarray, color_order: ColorOrder) -> np.ndarray:
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    if pixels.ndim not in (2, 3) or channels not in (1, 3, 4) or not pixels.size:
        raise ImageError(
            f"an array of shape {pixels.shape} is no picture; give (height, width) with 1, 3 or 4 "
            "channels behind it, and several pictures as a list"
        )
    if pixels.dtype == np.uint16:
        pixels = ((pixels.astype(np.uint32) + _STEPS // 2) // _STEPS).astype(np.uint8)
    if pixels.dtype != np.uint8:
        raise ImageError(f"an array of {pixels.dtype} is no picture; scale it to uint8, 0 to 255")
    if channels == 1:
        return np.repeat(pixels.reshape(*pixels.shape[:2], 1), 3, axis=2)
    colors = pixels[..., 2::-1] if color_order == "BGR" else pixels[..., :3]
    if channels == 4:
        alpha = pixels[..., 3:].astype(np.float32) / 255
        colors = np.round(colors * alpha + 255 * (1 - alpha)).astype(np.uint8)
    return np.ascontiguousarray(colors)
