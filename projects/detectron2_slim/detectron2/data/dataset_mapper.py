"""The default step from a dataset dict to the input of a model."""

import copy
import logging
from typing import Any

import numpy as np
import torch

from detectron2.config import CfgNode, configurable

from . import detection_utils as utils
from . import transforms as T

logger = logging.getLogger(__name__)


class DatasetMapper:
    """Reads the image of a record, augments it and adds what a detector needs.

    The result is a deep copy of the record with `image`, a (C, H, W) tensor of the image's own
    dtype, while `height` and `width` stay those of the file. In training, `annotations` turn
    into an `Instances` under `instances`; otherwise they are dropped. Boxes only.
    """

    @configurable
    def __init__(self, is_train: bool, *, augmentations: list, image_format: str) -> None:
        """Set up the mapper; also callable with `(cfg, is_train)`.

        Args:
            is_train: whether annotations are wanted.
            augmentations: augmentations or transforms, applied in order.
            image_format: see `detection_utils.read_image`.
        """
        self.is_train, self.image_format = is_train, image_format
        self.augmentations = T.AugmentationList(augmentations)
        mode = "training" if is_train else "inference"
        logger.info(f"[DatasetMapper] Augmentations used in {mode}: {augmentations}")

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool = True) -> dict[str, Any]:
        """Arguments of the constructor: crop if enabled, resize, flip."""
        augs = utils.build_augmentation(cfg, is_train)
        if cfg.INPUT.CROP.ENABLED and is_train:
            augs.insert(0, T.RandomCrop(cfg.INPUT.CROP.TYPE, cfg.INPUT.CROP.SIZE))
        return {"is_train": is_train, "augmentations": augs, "image_format": cfg.INPUT.FORMAT}

    def _transform_annotations(self, dataset_dict: dict, transforms: Any, size: tuple) -> None:
        annos = [a for a in dataset_dict.pop("annotations") if not a.get("iscrowd", 0)]
        annos = [utils.transform_instance_annotations(a, transforms, size) for a in annos]
        instances = utils.annotations_to_instances(annos, size)
        dataset_dict["instances"] = utils.filter_empty_instances(instances)

    def __call__(self, dataset_dict: dict[str, Any]) -> dict[str, Any]:
        """Map one record; it is not changed."""
        dataset_dict = copy.deepcopy(dataset_dict)
        image = utils.read_image(dataset_dict["file_name"], format=self.image_format)
        utils.check_image_size(dataset_dict, image)
        aug_input = T.AugInput(image)
        transforms = self.augmentations(aug_input)
        image = aug_input.image
        dataset_dict["image"] = torch.as_tensor(np.ascontiguousarray(image.transpose(2, 0, 1)))
        if not self.is_train:
            dataset_dict.pop("annotations", None)
        elif "annotations" in dataset_dict:
            self._transform_annotations(dataset_dict, transforms, image.shape[:2])
        return dataset_dict
