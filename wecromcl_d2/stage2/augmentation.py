"""Augmentations that transform word points with their image, and a crop that respects them.

Letters: N words of an image. Points are (x, y) in pixels, continuous in [0, W] x [0, H]; sizes are
(height, width).
"""

from collections.abc import Sequence

import numpy as np
from detectron2.config import CfgNode
from detectron2.data import transforms as T
from fvcore.transforms.transform import CropTransform, NoOpTransform, Transform

from ..config import check_choice
from ..data.augmentation import build_pixel_changes, build_resize, build_rotation

# Windows tried before an image is left uncropped.
CROP_TRIES = 50


def build_point_augmentations(cfg: CfgNode, is_train: bool) -> list[T.Augmentation]:
    """Rotation, crop, resize, blur and colour jitter of `PointInput`; for testing the resize alone.

    A relative crop comes before the resize, an absolute one after it.

    Raises:
        ValueError: for an unknown choice or a bad size, or colour jitter of images that are not
            RGB.
    """
    resize = build_resize(cfg, is_train)
    if not is_train:
        return [resize]
    placed = [resize]
    keys = cfg.INPUT.CROP
    if keys.ENABLED:
        check_choice("INPUT.CROP.TYPE", keys.TYPE, ("relative_range", "absolute"))
        relative = keys.TYPE == "relative_range"
        good = (min(keys.SIZE) > 0 and max(keys.SIZE) <= 1) if relative else min(keys.SIZE) >= 1
        if len(keys.SIZE) != 2 or not good:
            wanted = "shares above 0 and up to 1" if relative else "pixels, 1 or more"
            raise ValueError(f"INPUT.CROP.SIZE is {keys.SIZE}; give height and width in {wanted}")
        placed.insert(0 if relative else 1, PointCrop(keys.SIZE, relative, keys.MARGIN))
    return [*build_rotation(cfg), *placed, *build_pixel_changes(cfg)]


class PointInput(T.AugInput):
    """An image and the points of its words, for augmentations to change together.

    Args:
        image: (H, W, 3) uint8.
        points: (N, 2) on the image, arbitrary for words that are not located.
        located: (N,) bool, whether the word has a point.
        readable: (N,) bool, whether the word is a training target, which no crop may cut.
        lengths: (N,) characters of each word.

    Attributes:
        cut: (N,) bool: the word's point is outside a crop, but the word may extend into the image.
            Its point is then the nearest one on the image border.
        gone: (N,) bool: the word is outside a crop.
    """

    def __init__(
        self,
        image: np.ndarray,
        points: np.ndarray,
        *,
        located: np.ndarray,
        readable: np.ndarray,
        lengths: np.ndarray,
    ):
        super().__init__(image)
        self.points = np.array(points, dtype=np.float64)
        self.located, self.readable, self.lengths = located, readable, lengths
        self.cut = np.zeros(len(points), dtype=bool)
        self.gone = np.zeros(len(points), dtype=bool)

    def transform(self, tfm: Transform) -> None:
        """Transform pixels and points; points stay on the image."""
        super().transform(tfm)
        height, width = self.image.shape[:2]
        # Rounded canvas sizes leave a point of the border up to a pixel outside.
        self.points = tfm.apply_coords(self.points).clip(0, (width, height))

    def crop(self, x: int, y: int, height: int, width: int, reach: np.ndarray) -> Transform:
        """Crop the image to a window.

        Args:
            x: left border.
            y: upper border.
            height: of the window.
            width: of the window.
            reach: (N,) how far from its point a word may extend, in pixels.

        Returns:
            The transform that was applied.
        """
        outside = distance_outside(self.points, np.array((x, y)), np.array((x + width, y + height)))
        lost = self.located & (outside > 0)
        self.cut |= lost & (outside <= reach)
        self.gone |= lost & (outside > reach)
        transform = CropTransform(x, y, width, height)
        self.transform(transform)
        return transform


def distance_outside(points: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Distance from each point to a window, 0 inside.

    Args:
        points: (N, 2).
        low: upper left corner of the window, (x, y).
        high: lower right corner.

    Returns:
        (N,) pixels.
    """
    return np.linalg.norm(points - points.clip(low, high), axis=1)


class PointCrop(T.Augmentation):
    """A random window whose border keeps a distance m from the points of all readable words.

    Only the point of a word is known, so m stands for its extent: a share of the window's shorter
    side, and the assumed largest width of a character. Words outside the window but within m times
    their length are marked as cut. No distance is kept from window borders that are image borders,
    since they cut nothing. Images with a readable word that is not located are not cropped, as it
    is unknown whether the window contains it. If the image has a readable word, so has the window.

    Args:
        size: (height, width) in pixels, or least shares of the image's height and width.
        relative: whether `size` is given as shares.
        margin: m / shorter side of the window.
    """

    def __init__(self, size: Sequence[float], relative: bool, margin: float):
        super().__init__()
        self.size, self.relative, self.margin = tuple(size), relative, margin

    def __call__(self, aug_input: PointInput) -> Transform:
        """Crop in place, or do nothing where `CROP_TRIES` windows fail."""
        if not (aug_input.located | ~aug_input.readable).all():
            return NoOpTransform()
        full = np.array(aug_input.image.shape[:2])
        points = aug_input.points[aug_input.readable]
        for _ in range(CROP_TRIES):
            height, width = self._draw_size(full)
            y, x = (int(np.random.randint(room + 1)) for room in full - (height, width))
            margin = self.margin * min(height, width)
            if window_fits(points, (x, y, x + width, y + height), full, margin):
                return aug_input.crop(x, y, height, width, margin * aug_input.lengths)
        return NoOpTransform()

    def _draw_size(self, full: np.ndarray) -> tuple[int, int]:
        """(height, width) of a window in an image of size `full`."""
        if not self.relative:
            height, width = np.minimum(full, self.size).astype(int)
            return int(height), int(width)
        shares = np.random.uniform(self.size, 1.0)
        height, width = np.rint(full * shares).astype(int).clip(1, full)
        return int(height), int(width)


def window_fits(
    points: np.ndarray, window: tuple[int, int, int, int], full: np.ndarray, margin: float
) -> bool:
    """Whether a crop cuts none of some words, judged by their points.

    Args:
        points: (N, 2).
        window: left, upper, right and lower border.
        full: size of the image.
        margin: least distance of a point from those borders that are not the image's, in pixels.

    Returns:
        True if every point has the distance and, if there are points, one is inside.
    """
    if not len(points):
        return True
    low, high = np.array(window[:2], dtype=float), np.array(window[2:], dtype=float)
    inner_low = np.where(low > 0, low + margin, -np.inf)
    inner_high = np.where(high < full[::-1], high - margin, np.inf)
    kept = ((points >= inner_low) & (points <= inner_high)).all(axis=1)
    lost = distance_outside(points, low, high) >= margin
    return bool(kept.any() and (kept | lost).all())
