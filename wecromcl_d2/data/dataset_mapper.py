"""Dataset dict -> model input of stage 1."""

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.data import detection_utils as utils
from detectron2.data import transforms as T

from .augmentation import build_augmentations

# What a training input may carry over from its record. Positions are not among it: stage 1 learns
# from transcriptions alone.
TRAINING_KEYS = ("file_name", "image_id", "height", "width", "queries", "false_texts")


class ImageError(ValueError):
    """An image that cannot be read or does not fit its record; the message names the file."""


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
        result = {key: copy.deepcopy(record[key]) for key in keys if key in record}
        try:
            image = utils.read_image(record["file_name"], self.image_format)
            utils.check_image_size(result, image)
        except (OSError, SyntaxError, ValueError) as error:
            raise ImageError(f"cannot use image {record['file_name']}: {error}") from error
        aug_input = T.AugInput(image)
        self.augmentations(aug_input)
        pixels = np.ascontiguousarray(aug_input.image.transpose(2, 0, 1))
        result["image"] = torch.from_numpy(pixels)
        return result
