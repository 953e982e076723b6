"""Dataset dict -> model input of stage 2.

Letters: N words of an image. Points are (x, y).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.data import transforms as T
from detectron2.structures import Instances

from ..data.datasets import LabelError, usable_words
from ..data.images import IMAGE_KEYS, ImageError, image_to_tensor, read_record
from ..data.label_format import per_text
from ..data.text import TextList
from .augmentation import PointInput, build_point_augmentations


class PointMapper:
    """Reads and augments the image of a record together with the points of its words.

    Args:
        is_train: return `IMAGE_KEYS` and `instances`; otherwise the whole record, for the
            evaluators.
        augmentations: of a `PointInput`.
        image_format: colour order, as in INPUT.FORMAT.
        require_points: raise an error for training records without points.
        ignore_radius: in pixels, of the ignored area around words that a crop cut.
    """

    @configurable
    def __init__(
        self,
        is_train: bool,
        *,
        augmentations: Sequence[T.Augmentation | T.Transform],
        image_format: str,
        require_points: bool,
        ignore_radius: float,
    ):
        self.is_train = is_train
        self.augmentations = T.AugmentationList(list(augmentations))
        self.image_format = image_format
        self.require_points, self.ignore_radius = require_points, ignore_radius

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool) -> dict:
        """Read INPUT."""
        return {
            "is_train": is_train,
            "augmentations": build_point_augmentations(cfg, is_train),
            "image_format": cfg.INPUT.FORMAT,
            "require_points": cfg.INPUT.REQUIRE_POINTS,
            "ignore_radius": cfg.INPUT.CROP.IGNORE_RADIUS,
        }

    def __call__(self, record: dict[str, Any]) -> dict[str, Any]:
        """Read one image.

        Args:
            record: a dataset dict.

        Returns:
            `image`, a uint8 tensor (C, H, W), with the record, copied, for testing; for training
            with its `IMAGE_KEYS` and `instances`, which has a row for each word, in the record's
            order, without those completely outside a crop:

            - `gt_points` (N, 2) float32, (x, y) in pixels of `image`; 0 where not located.
            - `gt_texts` TextList, as in the record; "" where a crop cut the word.
            - `gt_point_weights` (N,) float32 from 0, text known and place unknown, to 1; 0 for rows
              that are ignored or not located.
            - `gt_ignore` (N,) bool: possible text that is not a training target: the record
              ignores it, it is blank, or a crop cut it.
            - `gt_located` (N,) bool: the word has a point.
            - `gt_ignore_radii` (N,) float32: `ignore_radius` where a crop cut the word, otherwise
              0: the model then uses its own radius.

        Raises:
            ImageError: if the image is missing, damaged or of another size than its record says,
                if the point of a training target lies outside it, or no target has a point
                though points are required.
            LabelError: if points are required, but the record has no such key.
        """
        if not self.is_train:
            result, image = read_record(record, record, self.image_format)
            aug_input = T.AugInput(image)
            self.augmentations(aug_input)
        else:
            result, image = read_record(record, IMAGE_KEYS, self.image_format)
            aug_input = _point_input(record, image, self.require_points)
            self.augmentations(aug_input)
            result["instances"] = self._instances(record, aug_input)
        result["image"] = image_to_tensor(aug_input.image)
        return result

    def _instances(self, record: dict[str, Any], words: PointInput) -> Instances:
        """The words that remain after the crop."""
        keep = np.flatnonzero(~words.gone)
        located, cut = words.located[keep], words.cut[keep]
        learned = words.readable[keep] & ~cut
        instances = Instances(words.image.shape[:2])
        points = np.where(located[:, None], words.points[keep], 0)
        instances.gt_points = torch.from_numpy(points.astype(np.float32))
        instances.gt_texts = TextList("" if words.cut[i] else record["texts"][i] for i in keep)
        weights = np.where(learned & located, _read_weights(record)[keep], 0)
        instances.gt_point_weights = torch.from_numpy(weights.astype(np.float32))
        instances.gt_ignore = torch.from_numpy(~learned)
        instances.gt_located = torch.from_numpy(located)
        radii = np.where(cut, self.ignore_radius, 0)
        instances.gt_ignore_radii = torch.from_numpy(radii.astype(np.float32))
        return instances


def _point_input(record: dict[str, Any], image: np.ndarray, require_points: bool) -> PointInput:
    """Input of the augmentations: the image of a record and the points of its words."""
    texts = record["texts"]
    entries = per_text(record, "points")
    located = np.array([point is not None for point in entries], dtype=bool)
    readable = np.array(usable_words(record), dtype=bool)
    if require_points and readable.any() and not (readable & located).any():
        raise _no_points(record)
    points = np.array([point or (0, 0) for point in entries], dtype=float).reshape(-1, 2)
    height, width = image.shape[:2]
    on_image = points.clip(0, (width, height))
    # An ignored word may extend beyond the image; its point is clipped to the border.
    wrong = readable & (points != on_image).any(axis=1)
    if wrong.any():
        first = int(wrong.argmax())
        raise ImageError(
            f"cannot use image {record['file_name']}: points[{first}] is {entries[first]}, outside "
            f"of its {width} x {height} pixels; correct the label of {texts[first]!r}"
        )
    lengths = np.array([len(text) for text in texts], dtype=int)
    return PointInput(image, on_image, located=located, readable=readable, lengths=lengths)


def _no_points(record: dict[str, Any]) -> ValueError:
    if "points" not in record:
        return LabelError(
            f"the record of {record['file_name']} has no 'points', which stage 2 learns from; "
            "let `wecromcl anchors` find them, and train on the label file that it writes"
        )
    return ImageError(
        f"cannot use image {record['file_name']}: none of its words has a point; "
        "`wecromcl anchors` finds points"
    )


def _read_weights(record: dict[str, Any]) -> np.ndarray:
    """Weights (N,) of the points, from 0 to 1."""
    weights = per_text(record, "point_weights", 1.0)
    return np.array([weight or 0.0 for weight in weights], dtype=float)
