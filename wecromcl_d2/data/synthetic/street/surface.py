"""Paint a flat block of text: the board behind it, the ink, and what surrounds the ink.

Layers are float32 in [0, 1] over the block's canvas; the result is RGB times coverage, with the
coverage as a fourth channel.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ..backgrounds import LUMINANCE_WEIGHTS, colour_of_luminance
from .clutter import any_colour

Rng = np.random.Generator

BOARD_SHAPES = ("sharp", "round", "oval", "band")

_SIGN_COLOURS = np.array(
    [
        *([190, 25, 35], [215, 60, 30], [20, 70, 160], [10, 40, 95], [0, 105, 70], [40, 130, 50]),
        *([245, 200, 30], [240, 130, 30], [110, 60, 35], [90, 35, 110], [200, 40, 120]),
        *([60, 160, 200], [170, 150, 110], [120, 20, 30]),
    ],
    np.float32,
)


class _Layers:
    """A stack of paint: colour times coverage and coverage, painted over layer by layer."""

    def __init__(self, size: tuple[int, int]) -> None:
        self.colour = np.zeros((3, *size), np.float32)  # planes are far quicker to blend
        self.coverage = np.zeros(size, np.float32)

    def paint(self, alpha: np.ndarray, colour: np.ndarray) -> None:
        """Put a layer on top; its colour is (3,), or (h or 1, w or 1, 3) for rows or pixels."""
        keep = 1 - alpha
        planes = np.reshape(colour, (1, 1, 3)) if colour.ndim == 1 else colour
        for plane, channel in zip(self.colour, np.moveaxis(planes, 2, 0), strict=True):
            plane *= keep
            plane += alpha * channel.astype(np.float32, copy=False)
        self.coverage *= keep
        self.coverage += alpha

    def result(self) -> np.ndarray:
        return cv2.merge([*self.colour, self.coverage])


@dataclass(frozen=True, eq=False)
class Painted:
    """A painted block.

    Attributes:
        rgba: (h, w, 4) float32: RGB in [0, 255] times coverage, and coverage in [0, 1].
        contrast: luminance difference between ink and what is behind it.
    """

    rgba: np.ndarray
    contrast: float


def luminance(image: np.ndarray) -> np.ndarray:
    """(height, width) luminance of an RGB image."""
    return image.astype(np.float32) @ LUMINANCE_WEIGHTS


def draw_contrast(rng: Rng) -> float:
    """A luminance difference: mostly large, often the largest possible, rarely down to 10."""
    kind = rng.random()
    if kind < 0.04:
        return rng.uniform(10, 30)
    if kind < 0.2:
        return rng.uniform(30, 80)
    return rng.uniform(80, 235) if kind < 0.6 else 255.0


def paint_block(
    rng: Rng,
    mask: np.ndarray,
    em: int,
    board: str | None,
    ground: tuple[float, float],
    photo: np.ndarray | None,
) -> Painted:
    """Paint a block.

    Args:
        rng: decides everything.
        mask: (h, w) uint8 of the ink.
        em: font size in canvas pixels.
        board: one of `BOARD_SHAPES`; None: the ink lies on the scene itself.
        ground: mean and deviation of the scene's luminance where the block will lie.
        photo: (h, w, 3) uint8, printed on the board; None: one colour.
    """
    layers = _Layers(mask.shape)
    contrast = draw_contrast(rng)
    if board is not None:
        ground = _paint_board(rng, layers, em, board, contrast, photo)
    tone, contrast = _choose_tone(rng, *ground, contrast)
    ink = mask.astype(np.float32) / 255
    if contrast > 30:
        _paint_surroundings(rng, layers, ink, em, tone, ground[0])
    if rng.random() < 0.06 and em > 24 and contrast > 60:
        ink = _worn(rng, ink)
    saturation = 0.15 if rng.random() < 0.5 else rng.random()
    colour: np.ndarray = colour_of_luminance(rng, tone, saturation)
    if rng.random() < 0.12:
        ends = np.linspace(-1, 1, len(mask))[:, None, None] * rng.uniform(-30, 30)
        colour = np.clip(colour + ends * min(1.0, contrast / 80), 0, 255)
    layers.paint(ink, colour)
    if rng.random() < 0.08:
        _paint_relief(rng, layers, ink, em)
    return Painted(layers.result(), contrast)


def board_colour(rng: Rng) -> np.ndarray:
    """(3,) float32 RGB as signs, labels and posters have it."""
    kind = rng.random()
    if kind < 0.3:
        return colour_of_luminance(rng, rng.uniform(205, 250), 0.15)
    if kind < 0.45:
        return colour_of_luminance(rng, rng.uniform(8, 60), 0.4)
    if kind < 0.8:
        base = _SIGN_COLOURS[int(rng.integers(len(_SIGN_COLOURS)))]
        shade = base * rng.uniform(0.7, 1.15) + rng.uniform(-15, 15, 3)
        return np.clip(shade, 0, 255).astype(np.float32)
    return any_colour(rng)


def _paint_board(
    rng: Rng, layers: _Layers, em: int, shape: str, contrast: float, photo: np.ndarray | None
) -> tuple[float, float]:
    """Paint the board; returns mean and deviation of its luminance."""
    height, width = layers.coverage.shape
    alpha = _board_mask(rng, (height, width), em, shape)
    colour = board_colour(rng)
    calm = min(1.0, contrast / 100)
    swing = rng.uniform(-25, 25) * calm
    face = np.empty((height, width, 3), np.float32)
    face[:] = colour + np.linspace(-1, 1, height)[:, None, None] * swing
    if photo is not None:
        printed = np.subtract(photo, colour, dtype=np.float32)
        printed *= rng.uniform(0.15, 0.6) * calm
        face += printed
    if rng.random() < 0.4:
        face += _texture(rng, (height, width), 25 * calm)
    np.clip(face, 0, 255, out=face)
    layers.paint(alpha, face)
    if rng.random() < 0.3:
        _paint_border(rng, layers, alpha, em)
    tones = luminance(face)
    return float(tones.mean()), float(tones.std())


def _board_mask(rng: Rng, size: tuple[int, int], em: int, shape: str) -> np.ndarray:
    height, width = size
    mask = np.zeros(size, np.uint8)
    if shape == "oval":
        axes = (width // 2 - 2, height // 2 - 2)
        cv2.ellipse(mask, (width // 2, height // 2), axes, 0, 0, 360, 255, -1, cv2.LINE_AA)
    elif shape == "round":
        radius = max(2, min(int(em * rng.uniform(0.15, 0.6)), min(size) // 3))
        low, right, bottom = 2 + radius, width - 3 - radius, height - 3 - radius
        mask[low : bottom + 1, 2 : width - 2] = 255
        mask[2 : height - 2, low : right + 1] = 255
        for middle in ((low, low), (right, low), (right, bottom), (low, bottom)):
            cv2.circle(mask, middle, radius, 255, -1, cv2.LINE_AA)
    else:
        mask[1 : height - 1, 1 : width - 1] = 255
    return mask.astype(np.float32) / 255


def _paint_border(rng: Rng, layers: _Layers, board: np.ndarray, em: int) -> None:
    """A line along the board's edge."""
    thick = max(1, round(em * rng.uniform(0.02, 0.1)))
    inset = int(rng.integers(0, 1 + max(1, em // 12)))
    solid = (board * 255).astype(np.uint8)
    solid[0], solid[-1], solid[:, 0], solid[:, -1] = 0, 0, 0, 0
    outer = _eroded(solid, inset)
    ring = cv2.subtract(outer, _eroded(outer, thick)).astype(np.float32) / 255
    layers.paint(ring, board_colour(rng))


def _eroded(mask: np.ndarray, pixels: int) -> np.ndarray:
    if pixels < 1:
        return mask
    return cv2.erode(mask, np.ones((2 * pixels + 1, 2 * pixels + 1), np.uint8))


def _texture(rng: Rng, size: tuple[int, int], amplitude: float) -> np.ndarray:
    """(height, width, 1) float32 of blotches, streaks or grain."""
    cells = np.exp(rng.uniform(np.log(2), np.log(60), 2))
    grid = (2 + np.array(size) / cells).astype(int)
    coarse = rng.normal(0, rng.uniform(0.2, 0.6) * amplitude, grid).astype(np.float32)
    return cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_LINEAR)[:, :, None]


def _choose_tone(rng: Rng, mean: float, deviation: float, contrast: float) -> tuple[float, float]:
    """The ink's luminance, and its difference from the mean luminance of the ground."""
    wanted = contrast + min(1.3 * deviation, 70.0)
    sides = [side for side in (-1, 1) if 0 <= mean + side * wanted <= 255]
    if sides:
        tone = mean + sides[int(rng.integers(len(sides)))] * wanted
    else:
        tone = 250.0 if mean < 128 else 6.0
    return tone, abs(tone - mean)


def _paint_surroundings(
    rng: Rng, layers: _Layers, ink: np.ndarray, em: int, tone: float, ground: float
) -> None:
    """Perhaps a shadow, an outline or a glow around the ink."""
    kind = rng.random()
    if kind < 0.16:
        shift = em * rng.uniform(0.02, 0.1) * rng.choice([-1, 1], 2)
        matrix = np.array([[1, 0, shift[0]], [0, 1, shift[1]]])
        shadow = cv2.warpAffine(ink, matrix, ink.shape[::-1])
        if rng.random() < 0.6:
            shadow = cv2.GaussianBlur(shadow, (0, 0), max(0.4, em * rng.uniform(0.01, 0.06)))
        dark = ground * rng.uniform(0.1, 0.6) if rng.random() < 0.8 else 255 - 0.5 * tone
        layers.paint(shadow * rng.uniform(0.4, 1), colour_of_luminance(rng, dark, 0.3))
    elif kind < 0.3:
        width = max(1, round(em * rng.uniform(0.015, 0.07)))
        wide = cv2.dilate(ink, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * width + 1,) * 2))
        other = rng.uniform(0, tone / 2) if tone > 128 else rng.uniform((tone + 255) / 2, 255)
        layers.paint(wide, colour_of_luminance(rng, other, rng.random()))
    elif kind < 0.35:
        halo = cv2.GaussianBlur(ink, (0, 0), max(1.0, em * rng.uniform(0.04, 0.12)))
        other = 255.0 if tone < 128 else tone
        glow = np.minimum(halo * rng.uniform(0.8, 2), 1) * (0.8 if tone < 128 else 0.5)
        layers.paint(glow, colour_of_luminance(rng, other, 0.7))


def _worn(rng: Rng, ink: np.ndarray) -> np.ndarray:
    """Ink with thin places."""
    grid = (2 + np.array(ink.shape) / rng.uniform(2, 8)).astype(int)
    holes = cv2.resize(rng.random(grid, np.float32), ink.shape[::-1])
    return ink * np.clip((holes - rng.uniform(0.05, 0.25)) * 6, 0.4, 1).astype(np.float32)


def _paint_relief(rng: Rng, layers: _Layers, ink: np.ndarray, em: int) -> None:
    """Lit and shaded edges, as of raised or carved letters."""
    depth = max(1.0, em * rng.uniform(0.015, 0.05)) * (1 if rng.random() < 0.6 else -1)
    moved = [
        cv2.warpAffine(ink, np.array([[1, 0, d], [0, 1, d]]), ink.shape[::-1])
        for d in (-depth, depth)
    ]
    strength = rng.uniform(0.3, 0.8)
    layers.paint(np.clip(ink - moved[1], 0, 1) * strength, np.full(3, 245.0))
    layers.paint(np.clip(ink - moved[0], 0, 1) * strength, np.full(3, 15.0))
