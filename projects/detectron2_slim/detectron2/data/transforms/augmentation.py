"""Augmentations: look at an input, choose a transform, apply it."""

import inspect
import sys
from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np
from fvcore.transforms import transform as fv
from PIL import Image

from .transform import ResizeTransform


class Augmentation:
    """A policy, usually random, that chooses a `Transform` for its input.

    Subclasses write `get_transform`. With one parameter it gets the image, otherwise the
    attributes of the input that its parameters name. Randomness is numpy's global state.
    """

    input_args: tuple[str, ...] | None = None

    def get_transform(self, *args: Any) -> fv.Transform:
        """Choose the transform; to be written by subclasses."""
        raise NotImplementedError(f"{type(self).__name__} chooses no transform")

    def __call__(self, aug_input: Any) -> fv.Transform:
        """Choose a transform for `aug_input`, apply it to it in place and return it.

        Args:
            aug_input: an `AugInput` or any object with the needed attributes and a method
                `transform(tfm)`; a missing attribute is an `AttributeError`.
        """
        if self.input_args is None:
            parameters = inspect.signature(self.get_transform).parameters
            self.input_args = tuple(parameters) if len(parameters) > 1 else ("image",)
        tfm = self.get_transform(*[getattr(aug_input, name) for name in self.input_args])
        assert isinstance(tfm, fv.Transform), f"{self} chose {tfm!r}, which is no Transform"
        aug_input.transform(tfm)
        return tfm

    def _rand_range(self, low: float = 1.0, high: float | None = None, size: Any = None) -> Any:
        return np.random.uniform(*((0.0, low) if high is None else (low, high)), size)


def _apply(chooser: Augmentation | fv.Transform, aug_input: Any) -> fv.Transform:
    if not isinstance(chooser, fv.Transform):
        return chooser(aug_input)
    aug_input.transform(chooser)
    return chooser


@dataclass
class AugmentationList(Augmentation):
    """Augmentations and transforms `augs` in sequence, each chosen on what the last one left."""

    augs: list[Any]

    def __call__(self, aug_input: Any) -> fv.TransformList:
        """Apply all in place and return the chosen transforms."""
        return fv.TransformList([_apply(aug, aug_input) for aug in self.augs])


@dataclass
class RandomApply(Augmentation):
    """Apply the augmentation or transform `tfm_or_aug` with probability `prob`, or nothing."""

    tfm_or_aug: Any
    prob: float = 0.5

    def __call__(self, aug_input: Any) -> fv.Transform:
        """Apply the other one, or nothing, in place."""
        do = self._rand_range() < self.prob
        return _apply(self.tfm_or_aug, aug_input) if do else fv.NoOpTransform()


class AugInput:
    """An image and what moves with it."""

    def __init__(self, image: np.ndarray, *, boxes: Any = None, sem_seg: Any = None) -> None:
        """Bundle the input.

        Args:
            image: (H, W) or (H, W, C), uint8 in 0..255 or float.
            boxes: (N, 4) float array, (x0, y0, x1, y1) in pixels.
            sem_seg: (H, W) uint8 array, the label of every pixel.
        """
        assert isinstance(image, np.ndarray) and image.ndim in (2, 3), "need an (H, W[, C]) array"
        self.image, self.boxes, self.sem_seg = image, boxes, sem_seg

    def transform(self, tfm: fv.Transform) -> None:
        """Replace every attribute by its transformed form."""
        self.image = tfm.apply_image(self.image)
        if self.boxes is not None:
            self.boxes = tfm.apply_box(self.boxes)
        if self.sem_seg is not None:
            self.sem_seg = tfm.apply_segmentation(self.sem_seg)


@dataclass
class RandomFlip(Augmentation):
    """Flip along exactly one axis with probability `prob`."""

    prob: float = 0.5
    _: KW_ONLY
    horizontal: bool = True
    vertical: bool = False

    def __post_init__(self) -> None:
        if self.horizontal == self.vertical:
            raise ValueError("RandomFlip needs exactly one of horizontal and vertical")

    def get_transform(self, image: np.ndarray) -> fv.Transform:
        """A flip or nothing."""
        if self._rand_range() >= self.prob:
            return fv.NoOpTransform()
        h, w = image.shape[:2]
        return fv.HFlipTransform(w) if self.horizontal else fv.VFlipTransform(h)


@dataclass
class ResizeShortestEdge(Augmentation):
    """Resize the shorter side to a chosen length unless the longer one gets too long.

    Attributes:
        short_edge_length: pixels; one number, (lowest, highest) for "range", or the numbers to
            choose from for "choice".
        max_size: longest allowed longer side; beyond it the image shrinks.
        sample_style: "range" or "choice".
        interp: Pillow's constant.
    """

    short_edge_length: Any
    max_size: int = sys.maxsize
    sample_style: str = "range"
    interp: int = Image.Resampling.BILINEAR

    def __post_init__(self) -> None:
        assert self.sample_style in ("range", "choice"), self.sample_style
        if isinstance(self.short_edge_length, int):
            self.short_edge_length = (self.short_edge_length,) * 2
        assert self.sample_style == "choice" or len(self.short_edge_length) == 2, self

    def get_transform(self, image: np.ndarray) -> fv.Transform:
        """The resize; nothing for a chosen length of 0."""
        (h, w), lengths = image.shape[:2], self.short_edge_length
        if self.sample_style == "range":
            size = np.random.randint(lengths[0], lengths[1] + 1)
        else:
            size = np.random.choice(lengths)
        if size == 0:
            return fv.NoOpTransform()
        return ResizeTransform(h, w, *self.get_output_shape(h, w, size, self.max_size), self.interp)

    @staticmethod
    def get_output_shape(
        oldh: int, oldw: int, short_edge_length: int, max_size: int
    ) -> tuple[int, int]:
        """(height, width) of an image of (oldh, oldw) after the resize."""
        size = short_edge_length * 1.0
        scale = size / min(oldh, oldw)
        new_h, new_w = (size, scale * oldw) if oldh < oldw else (scale * oldh, size)
        if (longest := max(new_h, new_w)) > max_size:
            new_h, new_w = new_h * (max_size / longest), new_w * (max_size / longest)
        return int(new_h + 0.5), int(new_w + 0.5)
