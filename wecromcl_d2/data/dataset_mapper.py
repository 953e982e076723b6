"""Dataset dict -> model input of stage 1, and the reading of images that both stages share."""

import copy
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.data import detection_utils as utils
from detectron2.data import transforms as T

from .augmentation import build_augmentations

# What a training input carries over from the record of its image.
IMAGE_KEYS = ("file_name", "image_id", "height", "width")
# Positions are not among what stage 1 gets: it learns from transcriptions alone.
TRAINING_KEYS = (*IMAGE_KEYS, "queries", "false_texts")


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


class AnchorMapper:
    """Reads and augments the image of a record.

    Args:
        is_train: keep only `TRAINING_KEYS` of the record. Otherwise the whole record is kept, for
            the evaluators.
        augmentations: applied to the image.
        image_format: colour order, as in INPUT.FORMAT.
    """

    @configurable
    def __init__(
        self,
        is_train: bool,
        *,
        augmentations: Sequence[T.Augmentation | T.Transform],
        image_format: str,
    ):
        self.is_train = is_train
        self.augmentations = T.AugmentationList(list(augmentations))
        self.image_format = image_format

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool) -> dict:
        """Read INPUT."""
        return {
            "is_train": is_train,
            "augmentations": build_augmentations(cfg, is_train),
            "image_format": cfg.INPUT.FORMAT,
        }

    def __call__(self, record: dict[str, Any]) -> dict[str, Any]:
        """Read one image.

        Args:
            record: a dataset dict, for training with `queries` and `false_texts` added.

        Returns:
            The record's allowed keys, copied, and `image`, a uint8 tensor (C, H, W).

        Raises:
            ImageError: if the file is missing, damaged or of another size than its record says.
        """
        keys = TRAINING_KEYS if self.is_train else tuple(record)
        result, image = read_record(record, keys, self.image_format)
        aug_input = T.AugInput(image)
        self.augmentations(aug_input)
        result["image"] = image_to_tensor(aug_input.image)
        return result
