"""Dataset dict -> model input of stage 1."""

from collections.abc import Sequence
from typing import Any

from detectron2.config import CfgNode, configurable
from detectron2.data import transforms as T

from ..data.augmentation import build_augmentations
from ..data.images import IMAGE_KEYS, image_to_tensor, read_record

# No positions: stage 1 is trained on transcriptions alone, so the mapper drops all other keys.
TRAINING_KEYS = (*IMAGE_KEYS, "queries", "negatives")


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
            record: a dataset dict, for training with `queries` and `negatives` added.

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
