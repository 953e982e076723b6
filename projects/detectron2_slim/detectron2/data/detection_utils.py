"""Pieces that dataset mappers are made of."""

from contextlib import suppress
from typing import Any

import numpy as np
import torch
from PIL import Image

from detectron2.config import CfgNode
from detectron2.structures import Boxes, BoxMode, Instances
from detectron2.utils.file_io import PathManager

from . import transforms as T

_EXIF_ORIENTATION_TAG = 274
# Value of that tag -> the value of Pillow's `Transpose` that brings the picture upright.
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


def transform_instance_annotations(annotation: dict, transforms: Any, image_size: tuple) -> dict:
    """Move the box of one annotation, in place.

    Args:
        annotation: has `bbox` and `bbox_mode`; masks and keypoints are not looked at.
        transforms: what happened to the image, one transform or a list.
        image_size: (height, width) after it; the box is clipped to it.

    Returns:
        The same dict; its box is now (x0, y0, x1, y1).
    """
    if isinstance(transforms, (tuple, list)):
        transforms = T.TransformList(transforms)
    box = BoxMode.convert(annotation["bbox"], annotation["bbox_mode"], BoxMode.XYXY_ABS)
    moved = transforms.apply_box(np.array([box]))[0]
    annotation["bbox"] = np.clip(moved, 0, [*image_size[::-1], *image_size[::-1]])
    annotation["bbox_mode"] = BoxMode.XYXY_ABS
    return annotation


def annotations_to_instances(annos: list[dict], image_size: tuple[int, int]) -> Instances:
    """Annotations of one image -> `Instances` with `gt_boxes` and `gt_classes`.

    Args:
        annos: each with `bbox`, `bbox_mode`, `category_id`.
        image_size: (height, width).
    """
    boxes = [BoxMode.convert(a["bbox"], a["bbox_mode"], BoxMode.XYXY_ABS) for a in annos]
    target = Instances(image_size)
    target.gt_boxes = Boxes(np.array(boxes, dtype=np.float64).reshape(-1, 4))
    target.gt_classes = torch.tensor([int(a["category_id"]) for a in annos], dtype=torch.int64)
    return target


def filter_empty_instances(
    instances: Instances, box_threshold: float = 1e-5, return_mask: bool = False
) -> Any:
    """Leave out instances whose box is empty.

    Args:
        instances: has `gt_boxes`.
        box_threshold: a side must be longer than this, in pixels.
        return_mask: return the (N,) bool tensor of the kept ones, too.
    """
    keep = instances.gt_boxes.nonempty(threshold=box_threshold)
    return (instances[keep], keep) if return_mask else instances[keep]


def build_augmentation(cfg: CfgNode, is_train: bool) -> list:
    """The augmentations of `cfg.INPUT`: resizing and, in training, a flip."""
    if not is_train:
        test_size = cfg.INPUT.MIN_SIZE_TEST
        return [T.ResizeShortestEdge(test_size, cfg.INPUT.MAX_SIZE_TEST, "choice")]
    style = cfg.INPUT.MIN_SIZE_TRAIN_SAMPLING
    augs = [T.ResizeShortestEdge(cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MAX_SIZE_TRAIN, style)]
    if (flip := cfg.INPUT.RANDOM_FLIP) == "none":
        return augs
    return [*augs, T.RandomFlip(horizontal=flip == "horizontal", vertical=flip == "vertical")]
