"""Sources of the predictors' images."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from ..data.images import ColorOrder, ImageInput, read_image


@dataclass(frozen=True, eq=False)
class ImageSource:
    """Path, array or Pillow image of a result, read again for drawing.

    Attributes:
        image: see `read_image`; of a file object, `of` keeps the bytes.
        color_order: channel order of an array, "RGB" or "BGR".
    """

    image: ImageInput
    color_order: ColorOrder = "RGB"

    @classmethod
    def of(cls, image: ImageInput, color_order: ColorOrder) -> ImageSource:
        """The origin of an image that a user has given."""
        return cls(image.read() if hasattr(image, "read") else image, color_order)

    @property
    def file_name(self) -> str | None:
        """The path; None for an array or a Pillow image."""
        return os.fspath(self.image) if isinstance(self.image, (str, os.PathLike)) else None

    def read(self) -> np.ndarray:
        """Pixels of the image, see `read_image`."""
        return read_image(self.image, self.color_order)


def sources_of(images: Any, color_order: ColorOrder) -> tuple[list[ImageSource], bool]:
    """The origin of each image, and whether one image was given and not a list.

    Args:
        images: one image, see `read_image`, or several.
        color_order: of arrays.
    """
    kinds = (str, os.PathLike, bytes, np.ndarray, Image.Image)
    single = isinstance(images, kinds) or hasattr(images, "read")
    return [
        ImageSource.of(image, color_order) for image in ([images] if single else images)
    ], single
