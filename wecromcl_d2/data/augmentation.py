"""The published resize rule and augmentations, as Detectron2 augmentations.

Images are (H, W, 3) uint8 arrays, sizes (height, width) in pixels.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial

import cv2
import numpy as np
from detectron2.config import CfgNode
from detectron2.data import transforms as T
from fvcore.transforms.transform import NoOpTransform, Transform
from PIL import Image, ImageEnhance

from ..config import check_choice

BLUR_KINDS = ("gaussian", "average", "median", "bilateral", "motion")
BLUR_SIZES = (3, 9)  # pixels, both included
BLUR_MAX_SIGMA = 3.0  # pixels
BILATERAL_SIGMA = 250.0  # pixels, and steps of colour


def build_augmentations(cfg: CfgNode, is_train: bool) -> list[T.Augmentation]:
    """Augmentations of INPUT: rotation, resize, blur and colour jitter; in testing, the resize.

    Raises:
        ValueError: for an unknown choice, or colour jitter of images that are not RGB.
    """
    if not is_train:
        return [build_resize(cfg, is_train)]
    return [*build_rotation(cfg), build_resize(cfg, is_train), *build_pixel_changes(cfg)]


def build_rotation(cfg: CfgNode) -> list[T.Augmentation]:
    """The random rotation as a list, empty if it is switched off.

    Raises:
        ValueError: for an unknown border.
    """
    keys = cfg.INPUT.AUG
    if keys.ROTATION == 0 or keys.ROTATION_PROB == 0:
        return []
    borders = {"mean": tuple(cfg.MODEL.PIXEL_MEAN), "black": (0.0, 0.0, 0.0)}
    check_choice("INPUT.AUG.ROTATION_BORDER", keys.ROTATION_BORDER, borders)
    rotation = RandomRotation(keys.ROTATION, borders[keys.ROTATION_BORDER])
    return [rotation if keys.ROTATION_PROB == 1 else T.RandomApply(rotation, keys.ROTATION_PROB)]


def build_pixel_changes(cfg: CfgNode) -> list[T.Augmentation]:
    """Blur and colour jitter, which leave coordinates unchanged.

    Raises:
        ValueError: for colour jitter of images that are not RGB.
    """
    keys = cfg.INPUT.AUG
    result: list[T.Augmentation] = []
    if keys.BLUR_PROB > 0:
        result.append(RandomBlur(keys.BLUR_PROB))
    if keys.JITTER_PROB > 0:
        if cfg.INPUT.FORMAT != "RGB":
            raise ValueError(
                f"INPUT.FORMAT is {cfg.INPUT.FORMAT!r}, but colour jitter reads RGB; "
                "set it to 'RGB' or INPUT.AUG.JITTER_PROB to 0"
            )
        result.append(RandomColor(keys.JITTER_PROB, *keys.JITTER))
    return result


def build_resize(cfg: CfgNode, is_train: bool) -> T.Augmentation:
    """The resize rule of training or of testing.

    Raises:
        ValueError: for an unknown choice.
    """
    keys = cfg.INPUT
    check_choice("INPUT.RESIZE", keys.RESIZE, ("shortest_edge", "multiple"))
    style = keys.MIN_SIZE_TRAIN_SAMPLING if is_train else "choice"
    side = keys.MIN_SIZE_TRAIN if is_train else keys.MIN_SIZE_TEST
    longest = keys.MAX_SIZE_TRAIN if is_train else keys.MAX_SIZE_TEST
    if keys.RESIZE == "shortest_edge":
        keeps_size = 0 in ((side,) if isinstance(side, int) else side)
        return (LimitedResize if keeps_size else T.ResizeShortestEdge)(side, longest, style)
    check_choice("INPUT.MIN_SIZE_TRAIN_SAMPLING", style, ("choice",))
    if is_train:
        return TrainResize(side, longest, keys.SIZE_DIVISIBILITY)
    return InferenceResize(side, longest, keys.SIZE_DIVISIBILITY)


def train_size(size: tuple[int, int], side: int, longest: int, multiple: int) -> tuple[int, int]:
    """The size of a training image after the published resize.

    Args:
        size: of the image.
        side: target of the shorter side, reduced until the longer one fits `longest`.
        longest: largest longer side before rounding.
        multiple: each side is rounded up to a multiple of it, so the aspect ratio changes
            slightly; an image whose shorter side already is `side` long keeps its size.
    """
    short, long = sorted(size)
    if long / short * side > longest:
        side = max(1, round(longest * short / long))
    if short == side:
        return size
    sides = _round_up(side, multiple), _round_up(int(side * long / short), multiple)
    return sides if size[0] <= size[1] else sides[::-1]


def inference_size(
    size: tuple[int, int], side: int, longest: int, multiple: int
) -> tuple[int, int]:
    """The size of a test image after the published resize.

    Args:
        size: of the image.
        side: shorter side; 0 makes the longer side `longest`.
        longest: largest longer side.
        multiple: each side is rounded up to a multiple of it.
    """
    short, long = sorted(size)
    side = math.ceil(side / multiple) * multiple
    longest = _round_up(longest, multiple)
    sides = side, _round_up(int(long * side / short), multiple)
    if side == 0 or sides[1] > longest:
        sides = _round_up(int(short * longest / long), multiple), longest
    return sides if size[0] <= size[1] else sides[::-1]


def _round_up(length: int, multiple: int) -> int:
    return max(1, math.ceil(length / multiple)) * multiple


class LimitedResize(T.ResizeShortestEdge):
    """Detectron2's resize, whose limit also holds for a shorter side of 0, which keeps the size."""

    def get_transform(self, image: np.ndarray) -> Transform:
        """The resize; the random draws are Detectron2's."""
        transform = super().get_transform(image)
        height, width = image.shape[:2]
        if not isinstance(transform, NoOpTransform):
            return transform
        return shrink_transform(height, width, self.max_size)


def shrink_transform(height: int, width: int, max_side: int) -> Transform:
    """Resize to a longer side of at most `max_side` pixels; 0 is no limit."""
    longest = max(height, width)
    if not max_side or longest <= max_side:
        return NoOpTransform()
    sides = (max(1, round(side * max_side / longest)) for side in (height, width))
    return T.ResizeTransform(height, width, *sides)


class PlainResizeTransform(T.ResizeTransform):
    """Bilinear resize without antialiasing."""

    def apply_image(self, img: np.ndarray, interp: int | None = None) -> np.ndarray:
        """Resize pixels; another interpolation than the default is left to Detectron2."""
        if interp is not None:
            return super().apply_image(img, interp)
        return cv2.resize(img, (self.new_w, self.new_h), interpolation=cv2.INTER_LINEAR)


class TrainResize(T.Augmentation):
    """`train_size` with a shorter side drawn from several.

    Args:
        sides: shorter sides to choose from.
        longest: largest longer side before rounding.
        multiple: of both sides.
    """

    def __init__(self, sides: Sequence[int], longest: int, multiple: int):
        super().__init__()
        self.sides, self.longest, self.multiple = tuple(sides), longest, multiple

    def get_transform(self, image: np.ndarray) -> Transform:
        """The resize."""
        height, width = image.shape[:2]
        side = int(np.random.choice(self.sides))
        new_size = train_size((height, width), side, self.longest, self.multiple)
        return PlainResizeTransform(height, width, *new_size)


class InferenceResize(T.Augmentation):
    """`inference_size`."""

    def __init__(self, side: int, longest: int, multiple: int):
        super().__init__()
        self.side, self.longest, self.multiple = side, longest, multiple

    def get_transform(self, image: np.ndarray) -> Transform:
        """The resize."""
        height, width = image.shape[:2]
        new_size = inference_size((height, width), self.side, self.longest, self.multiple)
        return PlainResizeTransform(height, width, *new_size)


class FilledRotationTransform(T.RotationTransform):
    """Rotation onto a canvas that contains the whole image, its size rounded down.

    Args:
        h: height of the image.
        w: width of the image.
        angle: degrees, counter-clockwise.
        border: colour of the corners.
    """

    def __init__(self, h: int, w: int, angle: float, border: tuple[float, ...]):
        super().__init__(h, w, angle)
        self.border = border
        sin, cos = abs(math.sin(math.radians(angle))), abs(math.cos(math.radians(angle)))
        self.bound_w, self.bound_h = int(h * sin + w * cos), int(h * cos + w * sin)
        self.rm_coords = self.create_rotation_matrix()
        self.rm_image = self.create_rotation_matrix(offset=-0.5)

    def apply_image(self, img: np.ndarray, interp: int | None = None) -> np.ndarray:
        """Rotate pixels; with another interpolation than the default, corners become zero."""
        border, interp = (self.border, self.interp) if interp is None else (0, interp)
        size = (self.bound_w, self.bound_h)
        return cv2.warpAffine(img, self.rm_image, size, flags=interp, borderValue=border)


class RandomRotation(T.Augmentation):
    """Rotation by a uniform angle."""

    def __init__(self, degrees: float, border: tuple[float, ...]):
        super().__init__()
        self.degrees, self.border = degrees, border

    def get_transform(self, image: np.ndarray) -> Transform:
        """The rotation."""
        angle = np.random.uniform(-self.degrees, self.degrees)
        height, width = image.shape[:2]
        return FilledRotationTransform(height, width, angle, self.border)


class RandomBlur(T.Augmentation):
    """One of `BLUR_KINDS`, of random strength.

    Args:
        prob: probability that an image is blurred.
    """

    def __init__(self, prob: float):
        super().__init__()
        self.prob = prob

    def get_transform(self, image: np.ndarray) -> Transform:
        """The blur, or nothing."""
        if np.random.uniform() >= self.prob:
            return NoOpTransform()
        kind = BLUR_KINDS[np.random.randint(len(BLUR_KINDS))]
        if kind == "gaussian":
            strength = np.random.uniform(0.0, BLUR_MAX_SIGMA)
        else:
            strength = np.random.randint(BLUR_SIZES[0], BLUR_SIZES[1] + 1)
        return T.ColorTransform(partial(blur, kind=kind, strength=strength))


def blur(image: np.ndarray, kind: str, strength: float) -> np.ndarray:
    """Blur an image.

    Args:
        image: (H, W, 3) uint8.
        kind: one of `BLUR_KINDS`.
        strength: sigma of "gaussian", diameter or side of the others, in pixels; for "median" and
            "motion", a vertical average, an even side is increased by one.
    """
    if kind == "gaussian":
        return cv2.GaussianBlur(image, (0, 0), strength) if strength > 0 else image
    size = int(strength)
    if kind == "average":
        return cv2.blur(image, (size, size))
    if kind == "bilateral":
        return cv2.bilateralFilter(image, size, BILATERAL_SIGMA, BILATERAL_SIGMA)
    odd = size + 1 - size % 2
    if kind == "median":
        return cv2.medianBlur(image, odd)
    return cv2.blur(image, (1, odd))


class RandomColor(T.Augmentation):
    """Brightness, contrast, saturation and hue, changed in random order.

    Args:
        prob: probability that an image is changed.
        brightness: factors are drawn from 1 - brightness, or 0, to 1 + brightness.
        contrast: likewise.
        saturation: likewise.
        hue: largest shift in either direction, in turns of the colour circle.
    """

    def __init__(
        self, prob: float, brightness: float, contrast: float, saturation: float, hue: float
    ):
        super().__init__()
        self.prob, self.hue = prob, hue
        self.brightness, self.contrast, self.saturation = brightness, contrast, saturation

    def get_transform(self, image: np.ndarray) -> Transform:
        """The change of colours of an RGB image, or nothing."""
        if np.random.uniform() >= self.prob:
            return NoOpTransform()
        steps: list[Callable] = [
            partial(
                _enhance, enhancer=enhancer, factor=np.random.uniform(max(0, 1 - reach), 1 + reach)
            )
            for enhancer, reach in (
                (ImageEnhance.Brightness, self.brightness),
                (ImageEnhance.Contrast, self.contrast),
                (ImageEnhance.Color, self.saturation),
            )
        ]
        if self.hue > 0:
            steps.append(partial(shift_hue, turns=np.random.uniform(-self.hue, self.hue)))
        order = np.random.permutation(len(steps))
        return T.ColorTransform(partial(_apply_steps, steps=[steps[i] for i in order]))


def _apply_steps(image: np.ndarray, steps: Sequence[Callable]) -> np.ndarray:
    """Apply functions of Pillow images one after the other."""
    result = Image.fromarray(image)
    for step in steps:
        result = step(result)
    return np.asarray(result)


def _enhance(image: Image.Image, enhancer: type, factor: float) -> Image.Image:
    return enhancer(image).enhance(factor)


def shift_hue(image: Image.Image, turns: float) -> Image.Image:
    """Shift the hue of an RGB image by `turns` of the colour circle."""
    hue, saturation, value = image.convert("HSV").split()
    turned = (np.asarray(hue).astype(np.int64) + round(turns * 255)) % 256
    planes = (Image.fromarray(turned.astype(np.uint8)), saturation, value)
    return Image.merge("HSV", planes).convert("RGB")
