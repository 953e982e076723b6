"""Reading of images: record -> pixels and the keys that go with them."""

import copy
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from detectron2.data import detection_utils as utils

# What a training input carries over from the record of its image.
IMAGE_KEYS = ("file_name", "image_id", "height", "width")


class ImageError(ValueError):
    """An image that cannot be read or does not fit its record; the message names the file."""


def read_record(
    record: dict[str, Any], keys: Iterable[str], image_format: str
) -> tuple[dict[str, Any], np.ndarray]:
    """Begin a model input.

    Args:
        record: a dataset dict.
        keys: of the record, to be kept.
        image_format: colour order, as in INPUT.FORMAT.

    Returns:
        The kept keys, copied, with `height` and `width` in any case, and the image as uint8 array
        (H, W, 3).

    Raises:
        ImageError: if the file is missing, damaged or of another size than its record says.
    """
    result = {key: copy.deepcopy(record[key]) for key in keys if key in record}
    try:
        image = utils.read_image(record["file_name"], image_format)
        utils.check_image_size(result, image)
    except (OSError, SyntaxError, ValueError) as error:
        raise ImageError(f"cannot use image {record['file_name']}: {error}") from error
    return result, image


def image_to_tensor(image: np.ndarray) -> torch.Tensor:
    """(H, W, C) pixels -> (C, H, W) tensor of its own."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
