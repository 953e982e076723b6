"""Backgrounds without text: photographs, painted ones, and rooms seen in perspective."""

from __future__ import annotations

import cv2
import numpy as np

from ..backgrounds import paint_background
from .clutter import WALLS, add_clutter, any_colour
from .photos import PhotoPool
from .recipe import StreetRecipe

Rng = np.random.Generator

_PHOTO_SHARE = 0.55  # of the backgrounds, where there are photographs
_ROOM_SHARE = 0.4  # of the other backgrounds
_CLUTTER = {"words": 1, "groups": 4, "scenes": 8}  # most things that look like text


def paint_ground(
    rng: Rng, recipe: StreetRecipe, photos: PhotoPool | None, near: tuple[int, ...]
) -> np.ndarray:
    """A background, (height, width, 3) uint8.

    Args:
        rng: decides everything.
        recipe: size and family.
        photos: background images; None: there are none.
        near: key of the images at hand, see `PhotoPool.crop`.
    """
    size, ground = recipe.image_size, None
    if photos is not None and rng.random() < _PHOTO_SHARE:
        ground = photos.crop(rng, near, size)
    if ground is None and rng.random() < _ROOM_SHARE:
        ground = _paint_room(rng, size)
    if ground is None:
        ground = paint_background(
            rng,
            size,
            bright=rng.random() < 0.2,
            saturation=rng.uniform(0.05, 0.5),
            texture=rng.uniform(0, 60),
            clutter=0.0 if rng.random() < 0.5 else rng.uniform(0, 6),
        )
    add_clutter(rng, ground, _CLUTTER[recipe.family])
    if rng.random() < 0.18:  # a dark place, in which boards are lit
        ground = cv2.convertScaleAbs(ground, alpha=rng.uniform(0.3, 0.75))
    return ground


def _paint_room(rng: Rng, size: tuple[int, int]) -> np.ndarray:
    """Floor, ceiling and walls that meet at a far wall."""
    height, width = size
    far = rng.uniform(0.08, 0.4, 2) * (width, height)  # half the far wall's sides
    middle = rng.uniform(0.15, 0.85, 2) * (width, height)
    inner = middle + np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * far
    outer = middle + (inner - middle) * (1.5 * max(size) / far.min())
    image = np.empty((height, width, 3), np.uint8)
    image[:] = np.clip(any_colour(rng, 0.2), 0, 255).astype(np.uint8)
    for side in range(4):
        following = (side + 1) % 4
        quad = np.array([inner[side], inner[following], outer[following], outer[side]])
        plain = side in (0, 2) and rng.random() < 0.7  # ceiling and floor
        _cover(rng, image, quad, plain)
    if rng.random() < 0.7:
        _cover(rng, image, inner, rng.random() < 0.4)
    return image


def _cover(rng: Rng, image: np.ndarray, quad: np.ndarray, plain: bool) -> None:
    """Cover a quadrilateral of the image, in place: plain paint that fades, or a wall of things."""
    if plain:
        patch = np.empty((64, 64, 4), np.uint8)
        fade = np.linspace(1, rng.uniform(0.5, 1.4), 64)[:, None, None]
        patch[:, :, :3] = np.clip(any_colour(rng, 0.25) * fade, 0, 255)
        patch[:, :, 3] = 255
    else:
        painter = WALLS[int(rng.integers(len(WALLS)))]
        patch = painter(rng, int(rng.integers(60, 240)), int(rng.integers(60, 240)))
    height, width = patch.shape[:2]
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    matrix = cv2.getPerspectiveTransform(corners, quad.astype(np.float32))
    seen = cv2.warpPerspective(patch, matrix, image.shape[1::-1])
    cv2.copyTo(seen[:, :, :3], (seen[:, :, 3] > 127).astype(np.uint8), image)
