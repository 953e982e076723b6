"""The reader of images, shared by training, evaluation and predictors."""

from __future__ import annotations

import copy
import io
import os
import struct
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, BinaryIO, Literal

import numpy as np
import torch
from detectron2.data import detection_utils as utils
from detectron2.utils.file_io import PathManager
from PIL import Image, ImageOps, UnidentifiedImageError

from .shards import ShardError, has_member, read_member, split_member

ImageInput = str | os.PathLike[str] | bytes | BinaryIO | np.ndarray | Image.Image
ColorOrder = Literal["RGB", "BGR"]

# Keys of a record that are copied into a training input.
IMAGE_KEYS = ("file_name", "image_id", "height", "width")

_ORIENTATION_TAG = 0x0112
# EXIF orientations from this one on swap height and width.
_FIRST_TRANSPOSING = 5
_WITH_ALPHA = ("RGBA", "LA", "PA", "RGBa", "La")
# 16-bit values per 8-bit value: 65535 / 255.
_STEPS = 257
# Exceptions of Pillow for damaged files.
_READ_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    struct.error,
    Image.DecompressionBombError,
)


class ImageError(ValueError):
    """An image that cannot be read or does not fit its record; the message names the file."""


def read_record(
    record: dict[str, Any], keys: Iterable[str], image_format: str
) -> tuple[dict[str, Any], np.ndarray]:
    """A new model input with some keys of a record, and the pixels of its image.

    Args:
        record: a dataset dict.
        keys: keys to copy.
        image_format: color order of the result, INPUT.FORMAT: "RGB" or "BGR".

    Returns:
        Copies of these keys, and `height` and `width` in any case; the image as uint8 (H, W, 3).

    Raises:
        ImageError: if the file is missing, damaged or of another size than its record says.
    """
    if image_format not in ("RGB", "BGR"):
        raise ValueError(f"INPUT.FORMAT is {image_format!r}; use 'RGB' or 'BGR'")
    result = {key: copy.deepcopy(record[key]) for key in keys if key in record}
    image = read_image(record["file_name"])
    try:
        utils.check_image_size(result, image)
    except utils.SizeMismatchError as error:
        stated = (record["height"], record["width"])
        turned = stated == image.shape[1::-1]
        hint = "it is turned upright as its EXIF tag says; " if turned else ""
        height, width = image.shape[:2]
        raise ImageError(
            f"cannot use image {record['file_name']}: it is {height} pixels high and {width} wide, "
            f"but its record says {stated[0]} and {stated[1]}; {hint}correct height and width, or "
            "leave them out"
        ) from error
    return result, image[..., ::-1] if image_format == "BGR" else image


def read_image(image: ImageInput, color_order: ColorOrder = "RGB") -> np.ndarray:
    """Upright 8-bit RGB pixels of a file, its bytes, a Pillow image or an array.

    Files and Pillow images are turned upright as their EXIF orientation asks. Gray values are
    repeated, 16 bits are scaled to 8, transparent pixels are laid on white, and of several frames
    the first is taken.

    Args:
        image: path, bytes of a file, file object, Pillow image, or array (H, W), (H, W, 1),
            (H, W, 3) or, with alpha last, (H, W, 4), of uint8 or uint16.
        color_order: of the channels of an array; not used for files and Pillow images.

    Returns:
        (H, W, 3) uint8 RGB, possibly read-only.

    Raises:
        ImageError: if the file is missing or damaged, or the array has another shape or type.
    """
    if color_order not in ("RGB", "BGR"):
        raise ValueError(f"color_order is {color_order!r}; use 'RGB' or 'BGR'")
    if isinstance(image, np.ndarray):
        return _from_array(image, color_order)
    if isinstance(image, Image.Image):
        return _from_pillow(_upright(image))
    if isinstance(image, bytes):
        return _from_stream(io.BytesIO(image), f"of {len(image)} bytes")
    if not isinstance(image, (str, os.PathLike)):
        if hasattr(image, "read"):
            return _from_stream(image, repr(getattr(image, "name", "of a file object")))
        raise ImageError(
            "an image is a path, the bytes of a file, a file object, a Pillow image or a numpy "
            f"array, not {type(image).__name__}"
        )
    path = os.fspath(image)
    check_no_url(path)
    try:
        with _open_file(path) as stream:
            return _from_stream(stream, path)
    except (OSError, ShardError) as error:
        raise ImageError(f"cannot use image {path}: {_reason(error)}") from error


def check_no_url(path: str) -> None:
    """Refuse the address of an image on the web.

    Raises:
        ImageError: if it is one.
    """
    if path.startswith(("http://", "https://", "ftp://")):
        raise ImageError(
            f"{path} is a URL, and nothing is downloaded here; give the file you saved"
        )


def read_header(path: str | os.PathLike[str], decode: bool = False) -> tuple[tuple[int, int], int]:
    """(height, width) of the stored pixels of an image file, and its EXIF orientation, 1 to 8.

    Args:
        path: of the file.
        decode: read the pixels too, so that damaged ones are noticed.

    Raises:
        ImageError: if the file is missing or no image.
    """
    try:
        with _open_file(os.fspath(path)) as stream, Image.open(stream) as file:
            size, orientation = (file.height, file.width), 1
            with suppress(Exception):  # broken EXIF data makes Pillow raise errors of many types
                orientation = file.getexif().get(_ORIENTATION_TAG, 1)
            if decode:
                file.convert("RGB")
    except _READ_ERRORS as error:
        raise ImageError(f"cannot use image {os.fspath(path)}: {_reason(error)}") from error
    known = isinstance(orientation, int) and 1 <= orientation <= 8
    return size, orientation if known else 1


def image_exists(path: str) -> bool:
    """Whether there is an image file, or a member of tar files, of this name.

    Raises:
        ShardError: if such a tar file cannot be read.
    """
    place = split_member(path)
    return os.path.isfile(path) if place is None else has_member(*place)


class _Member(io.BytesIO):
    """A member of tar files, which Pillow's messages show by its path."""

    def __init__(self, content: bytes, path: str):
        super().__init__(content)
        self._path = path

    def __repr__(self) -> str:
        return repr(self._path)


def _open_file(path: str) -> BinaryIO:
    place = split_member(path)
    return PathManager.open(path, "rb") if place is None else _Member(read_member(*place), path)


def upright_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """(height, width) that `read_image` gives a file, from its header alone.

    Raises:
        ImageError: see `read_header`.
    """
    return turned_size(*read_header(path))


def turned_size(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    """(height, width) of an image after turning.

    Args:
        size: (height, width) of the stored pixels.
        orientation: EXIF orientation, 1 to 8.
    """
    return size[::-1] if orientation >= _FIRST_TRANSPOSING else size


def image_to_tensor(image: np.ndarray) -> torch.Tensor:
    """(H, W, C) pixels -> contiguous (C, H, W) tensor."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))


def _from_stream(stream: BinaryIO, name: str) -> np.ndarray:
    """See `read_image`; `name` is for messages."""
    try:
        with Image.open(stream) as file:
            return _from_pillow(_upright(file))
    except _READ_ERRORS as error:
        raise ImageError(f"cannot use image {name}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """What an error says, without the name of the file, which our messages have."""
    if isinstance(error, UnidentifiedImageError):
        return "no image, or of a type that Pillow cannot read, as HEIC; save it as JPEG or PNG"
    return str((isinstance(error, OSError) and error.strerror) or error)


def _upright(image: Image.Image) -> Image.Image:
    with suppress(Exception):  # broken EXIF data makes Pillow raise errors of many types
        # Pillow's function copies an image that is upright already.
        if image.getexif().get(_ORIENTATION_TAG, 1) != 1:
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
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def _from_array(pixels: np.ndarray, color_order: ColorOrder) -> np.ndarray:
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    if pixels.ndim not in (2, 3) or channels not in (1, 3, 4) or not pixels.size:
        raise ImageError(
            f"an array of shape {pixels.shape} is no image; give (height, width) with 1, 3 or 4 "
            "channels behind it, and several images as a list"
        )
    if pixels.dtype == np.uint16:
        pixels = ((pixels.astype(np.uint32) + _STEPS // 2) // _STEPS).astype(np.uint8)
    if pixels.dtype != np.uint8:
        raise ImageError(f"an array of {pixels.dtype} is no image; scale it to uint8, 0 to 255")
    if channels == 1:
        return np.repeat(pixels.reshape(*pixels.shape[:2], 1), 3, axis=2)
    colors = pixels[..., 2::-1] if color_order == "BGR" else pixels[..., :3]
    if channels == 4:
        alpha = pixels[..., 3:].astype(np.float32) / 255
        colors = np.round(colors * alpha + 255 * (1 - alpha)).astype(np.uint8)
    return np.ascontiguousarray(colors)
