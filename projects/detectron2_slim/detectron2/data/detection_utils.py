"""Pieces that dataset mappers are made of."""

from contextlib import suppress
from typing import Any

import numpy as np
import torch
from PIL import Image

from detectron2.utils.file_io import PathManager

_EXIF_ORIENTATION_TAG = 274
# Value of that tag -> the value of Pillow's `Transpose` that brings the image upright.
_UPRIGHT = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}


class SizeMismatchError(ValueError):
    """The image file has another size than its record says."""


def _apply_exif_orientation(image: Image.Image) -> Image.Image:
    with suppress(Exception):  # broken EXIF data makes Pillow raise errors of many types
        orientation = image.getexif().get(_EXIF_ORIENTATION_TAG)
        if orientation in _UPRIGHT:
            return image.transpose(Image.Transpose(_UPRIGHT[orientation]))
    return image


def convert_PIL_to_numpy(image: Image.Image, format: str | None) -> np.ndarray:
    """Pixels of a Pillow image.

    Args:
        image: the image.
        format: a Pillow mode, "BGR", or None to keep the mode.

    Returns:
        (H, W, C) uint8 in most modes, with C = 1 for "L"; "BGR" is a view with its channels
        reversed.
    """
    if format is not None:
        image = image.convert("RGB" if format == "BGR" else format)
    pixels = np.asarray(image)
    if format == "L":
        return pixels[:, :, None]
    return pixels[:, :, ::-1] if format == "BGR" else pixels


def convert_image_to_rgb(image: np.ndarray | torch.Tensor, format: str) -> np.ndarray:
    """(H, W, C) pixels of a format of `read_image` -> (H, W, 3) RGB, range 0 to 255."""
    if isinstance(image, torch.Tensor):
        image = image.cpu().numpy()
    if format == "BGR":
        return image[:, :, [2, 1, 0]]
    image = (image[:, :, 0] if format == "L" else image).astype(np.uint8)
    return np.asarray(Image.fromarray(image).convert("RGB"))


def read_image(file_name: str, format: str | None = None) -> np.ndarray:
    """Read an image upright, as its EXIF orientation asks; see `convert_PIL_to_numpy`."""
    with PathManager.open(file_name, "rb") as f:
        return convert_PIL_to_numpy(_apply_exif_orientation(Image.open(f)), format)


def check_image_size(dataset_dict: dict[str, Any], image: np.ndarray) -> None:
    """Compare the size in a record with its image, or fill it in.

    Args:
        dataset_dict: record; absent `height` and `width` are added.
        image: (H, W, C) or (H, W).

    Raises:
        SizeMismatchError: the record claims another size.
    """
    height, width = image.shape[:2]
    claimed = dataset_dict.setdefault("width", width), dataset_dict.setdefault("height", height)
    if claimed != (width, height):
        message = f"Mismatched image shape for image {dataset_dict.get('file_name')}"
        size = f"(width, height) is {(width, height)}, but its record says {claimed}"
        raise SizeMismatchError(f"{message}: {size}. Correct the record.")
