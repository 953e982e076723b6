"""Sources of the predictors' images."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ..data.images import ColorOrder, ImageInput, read_image

# The types of one image, as opposed to a list of them.
SINGLE = (str, os.PathLike, np.ndarray, Image.Image)


@dataclass(frozen=True, eq=False)
class ImageSource:
    """Path, array or Pillow image of a result, read again for drawing.

    Attributes:
        image: path, array or Pillow image, see `read_image`.
        color_order: channel order of an array, "RGB" or "BGR".
    """

    image: ImageInput
    color_order: ColorOrder = "RGB"

    @property
    def file_name(self) -> str | None:
        """The path; None for an array or a Pillow image."""
        return os.fspath(self.image) if isinstance(self.image, (str, os.PathLike)) else None

    def read(self) -> np.ndarray:
        """Pixels of the image, see `read_image`."""
        return read_image(self.image, self.color_order)
