"""Backgrounds without text: gradients, noise, textures and clutter.

Luminance and colours are in [0, 255]; images are RGB.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

LUMINANCE_WEIGHTS = np.array([0.299, 0.587, 0.114], np.float32)

Field = Callable[[np.random.Generator, int, int], np.ndarray]


def colour_of_luminance(
    rng: np.random.Generator, luminance: float, saturation: float
) -> np.ndarray:
    """A random colour of a given luminance.

    Args:
        rng: source of the hue.
        luminance: target luminance, clipped to [0, 255].
        saturation: 0 gives grey, 1 any hue.

    Returns:
        (3,) float32 RGB.
    """
    luminance = min(max(luminance, 0.0), 255.0)
    colour = rng.random(3, np.float32) * 255
    own = float(colour @ LUMINANCE_WEIGHTS)
    colour = own + saturation * (colour - own)
    if own > luminance:
        return colour * (luminance / own)
    return 255 - (255 - colour) * ((255 - luminance) / (255 - own))


def paint_background(
    rng: np.random.Generator,
    size: tuple[int, int],
    *,
    bright: bool,
    saturation: float,
    texture: float,
    clutter: float,
) -> np.ndarray:
    """Paint an image without text.

    Args:
        rng: source of all random choices.
        size: (height, width) in pixels.
        bright: light tones only, as of paper; otherwise any tone.
        saturation: largest saturation of colours, 0 for grey to 1.
        texture: largest luminance step of the texture; 0 leaves a plain gradient.
        clutter: largest number of shapes per 160x160 pixels.

    Returns:
        (height, width, 3) uint8 RGB.
    """
    height, width = size
    tone = rng.uniform(185, 240) if bright else rng.uniform(20, 235)
    spread = 12 + 0.4 * texture
    corners = np.stack(
        [
            colour_of_luminance(rng, tone + rng.uniform(-spread, spread), 0.6 * saturation)
            for _ in range(4)
        ]
    ).reshape(2, 2, 3)
    shape = (int(rng.integers(3, 8)), int(rng.integers(3, 8)))
    coarse = _stretch(corners, *shape) + _signed(rng, (*shape, 3)) * (0.35 * texture)
    image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    if texture > 0 and rng.random() < 0.75:
        field = _FIELDS[int(rng.integers(len(_FIELDS)))](rng, height, width)
        step = _signed(rng, (3,)) * (0.4 * saturation) + (1 if rng.random() < 0.5 else -1)
        step *= texture * rng.uniform(0.3, 1)
        image += cv2.merge([field * channel for channel in step])
    image = np.clip(image, 0, 255).astype(np.uint8)
    _draw_clutter(rng, image, clutter, contrast=20 + texture, saturation=saturation)
    return image


def _signed(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.random(shape, np.float32) * 2 - 1


def _stretch(grid: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize so that the corners keep their values."""
    rows, columns = grid.shape[:2]
    scale_y, scale_x = (rows - 1) / (height - 1), (columns - 1) / (width - 1)
    matrix = np.array([[scale_x, 0, 0], [0, scale_y, 0]], np.float64)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(
        grid, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE
    )


def _turned(
    rng: np.random.Generator, height: int, width: int, largest: float
) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates of all pixels, turned by up to `largest` radians and shifted."""
    angle = rng.uniform(-largest, largest)
    x = np.arange(width, dtype=np.float32)[None] + np.float32(rng.uniform(0, 100))
    y = np.arange(height, dtype=np.float32)[:, None] + np.float32(rng.uniform(0, 100))
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return x * cos + y * sin, y * cos - x * sin


def _stripes(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    along, _ = _turned(rng, height, width, np.pi)
    wave = np.sin(along * np.float32(2 * np.pi / rng.uniform(7, 48)))
    return np.clip(wave * np.float32(rng.uniform(0.8, 6)), -0.5, 0.5)


def _checks(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    u, v = _turned(rng, height, width, 0.8)
    cell = np.float32(1 / rng.uniform(8, 32))
    odd = ((u * cell).astype(np.int32) + (v * cell).astype(np.int32)) & 1
    return odd.astype(np.float32) - np.float32(0.5)


def _bricks(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    u, v = _turned(rng, height, width, 0.15)
    tall = rng.uniform(7, 20)
    row = v * np.float32(1 / tall) + 64
    course = row.astype(np.int32)
    column = u * np.float32(1 / (tall * rng.uniform(1.5, 3))) + 64 + (course & 1) * np.float32(0.5)
    brick = column.astype(np.int32)
    tones = _signed(rng, (256,)) * np.float32(0.25)
    field = tones[(brick * 37 + course * 101) & 255]
    mortar = np.float32(0.12)
    joint = (row - course < mortar) | (column - brick < mortar * np.float32(0.5))
    field[joint] = -0.6 if rng.random() < 0.5 else 0.6
    return field


def _speckle(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    coarse = int(rng.integers(1, 4))
    grains = rng.integers(0, 256, (-(-height // coarse), -(-width // coarse)), np.uint8)
    dots = (grains < rng.integers(10, 60)).astype(np.float32)
    return cv2.resize(dots, (width, height), interpolation=cv2.INTER_LINEAR)


def _blotches(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    cell = rng.uniform(8, 40)
    grid = _signed(rng, (2 + int(height / cell), 2 + int(width / cell)))
    field = cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(field * np.float32(rng.uniform(1, 8)), -0.5, 0.5)


def _grain(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Long thin streaks, like those of wood or cloth."""
    long, thin = rng.uniform(20, 60), rng.uniform(2, 5)
    down, across = (long, thin) if rng.random() < 0.5 else (thin, long)
    grid = _signed(rng, (2 + int(height / down), 2 + int(width / across)))
    return cv2.resize(grid, (width, height), interpolation=cv2.INTER_LINEAR) * np.float32(0.6)


_FIELDS: tuple[Field, ...] = (_stripes, _checks, _bricks, _speckle, _blotches, _grain)


def _draw_clutter(
    rng: np.random.Generator,
    image: np.ndarray,
    most: float,
    *,
    contrast: float,
    saturation: float,
) -> None:
    height, width = image.shape[:2]
    count = int(rng.random() * (most * height * width / 160**2 + 1)) if most else 0
    for _ in range(count):
        start = (int(rng.integers(width)), int(rng.integers(height)))
        own = float(image[start[1], start[0]] @ LUMINANCE_WEIGHTS)
        colour = colour_of_luminance(rng, own + rng.uniform(-contrast, contrast), saturation)
        _draw_shape(rng, image, start, tuple(colour.tolist()))


def _draw_shape(
    rng: np.random.Generator,
    image: np.ndarray,
    start: tuple[int, int],
    colour: tuple[float, ...],
) -> None:
    height, width = image.shape[:2]
    thickness = int(rng.integers(1, 4))
    kind = int(rng.integers(5))
    if kind == 0:
        end = (int(rng.integers(width)), int(rng.integers(height)))
        cv2.line(image, start, end, colour, thickness, cv2.LINE_AA)
        return
    reach = rng.integers(4, max(5, min(height, width) // 3), 2)
    if kind == 1:
        filled = thickness if rng.random() < 0.6 else cv2.FILLED
        cv2.ellipse(
            image, start, reach.tolist(), rng.uniform(0, 180), 0, 360, colour, filled, cv2.LINE_AA
        )
    elif kind == 2:
        end = (start[0] + int(reach[0]), start[1] + int(reach[1]))
        filled = thickness if rng.random() < 0.6 else cv2.FILLED
        cv2.rectangle(image, start, end, colour, filled)
    elif kind == 3:
        first = rng.uniform(0, 360)
        last = first + rng.uniform(40, 200)
        cv2.ellipse(image, start, reach.tolist(), 0, first, last, colour, thickness, cv2.LINE_AA)
    else:
        steps = rng.normal(0, 0.35, (int(rng.integers(3, 8)), 2)) * reach
        scribble = (np.cumsum(steps, axis=0) + start).astype(np.int32)
        cv2.polylines(image, [scribble], False, colour, thickness, cv2.LINE_AA)
