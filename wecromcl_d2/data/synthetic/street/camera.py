"""From a painted scene to a photograph: light, lens, sensor and compression."""

from __future__ import annotations

from statistics import NormalDist

import cv2
import numpy as np

from ..backgrounds import LUMINANCE_WEIGHTS

Rng = np.random.Generator

_LARGEST_GAIN = 1.8  # of the exposure
_MOST_DARKENED = 40.0  # luminance that may become black

# Standard normal noise for each value of a uniform byte.
_NORMAL = np.array([NormalDist().inv_cdf((i + 0.5) / 256) for i in range(256)])


def light(rng: Rng, image: np.ndarray) -> np.ndarray:
    """Light the scene unevenly, with a colour cast, perhaps with a lamp's reflection.

    Args:
        rng: decides everything.
        image: (height, width, 3) float32 RGB in [0, 255].
    """
    height, width = image.shape[:2]
    cells = int(rng.integers(2, 5))
    swing = rng.uniform(0, 0.45)
    grid = 1 + rng.uniform(-swing, swing, (cells, cells)).astype(np.float32)
    field = cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
    # Mostly somewhat darker than painted: few photographs hold pure white paint.
    warmth, tint = rng.normal(0, 0.07), rng.normal(0, 0.02)
    cast = np.array([warmth, tint, -warmth])
    gain = np.exp(np.clip(rng.normal(-0.1, 0.2), -0.7, 0.15) + cast)
    grey = (image @ LUMINANCE_WEIGHTS)[:, :, None]
    image = grey + rng.uniform(0.35, 1.05) * (image - grey)
    image *= cv2.merge([np.maximum(field, 0.1) * np.float32(g) for g in gain])
    if rng.random() < 0.08:
        _add_bloom(rng, image)
    if rng.random() < 0.08:
        _add_glare(rng, image)
    if rng.random() < 0.75:
        return _expose(rng, image)
    if rng.random() < 0.4:
        black, white = rng.uniform(0, 40), rng.uniform(190, 255)
        image = black + image * ((white - black) / 255)
    return image


def _expose(rng: Rng, image: np.ndarray) -> np.ndarray:
    """Use most of the range of tones, as a camera that measures the light does."""
    dark, bright = np.percentile(image[::4, ::4] @ LUMINANCE_WEIGHTS, (1, 99))
    black, white = rng.uniform(0, 15), rng.uniform(215, 290)
    dark = min(dark, _MOST_DARKENED)
    gain = min((white - black) / (bright - dark + 1), _LARGEST_GAIN)
    return (image - np.float32(dark)) * np.float32(gain) + np.float32(black)


def _add_glare(rng: Rng, image: np.ndarray) -> None:
    height, width = image.shape[:2]
    x, y = rng.random(2) * (width, height)
    reach = rng.uniform(0.05, 0.3, 2) * min(height, width)
    across = np.exp(-0.5 * ((np.arange(width, dtype=np.float32) - x) / reach[0]) ** 2)
    down = np.exp(-0.5 * ((np.arange(height, dtype=np.float32) - y) / reach[1]) ** 2)
    spot = (down[:, None] * across[None] * rng.uniform(20, 90)).astype(np.float32)
    image += spot[:, :, None]


def _add_bloom(rng: Rng, image: np.ndarray) -> None:
    """Let bright places shine into their surroundings."""
    small = cv2.resize(image, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    shine = np.maximum(small - rng.uniform(190, 235), 0) * np.float32(rng.uniform(0.5, 1.5))
    spread = cv2.GaussianBlur(shine, (0, 0), rng.uniform(1.5, 8))
    image += cv2.resize(spread, image.shape[1::-1], interpolation=cv2.INTER_LINEAR)


def photograph(rng: Rng, image: np.ndarray, detail: float, contrast: float) -> np.ndarray:
    """Blur, sharpen, and add noise, so that the finest text stays mostly legible.

    Args:
        rng: decides everything.
        image: (height, width, 3) float32 RGB in [0, 255], may exceed it.
        detail: height of the lowest line of text in pixels; limits the blur.
        contrast: least luminance difference between ink and ground; limits the noise.

    Returns:
        (height, width, 3) uint8.
    """
    limit = 0.085 * detail
    image = np.clip(image, 0, 255)
    if rng.random() < 0.25:
        image = _coarsen(rng, image, detail)
    sigma = min(abs(rng.normal(0, 0.8)), limit, 3.0)
    if sigma > 0.25:
        image = cv2.GaussianBlur(image, (0, 0), sigma)
    length = min(rng.uniform(2, 9), 2.5 * limit)
    if rng.random() < 0.15 and length > 2:
        image = cv2.filter2D(image, -1, _motion(length, rng.uniform(0, np.pi)))
    if rng.random() < 0.25:
        soft = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.8, 2))
        image = cv2.addWeighted(image, 1 + (gain := rng.uniform(0.2, 1.2)), soft, -gain, 0)
    amplitude = min(abs(rng.normal(0, 5)), 3 + 0.2 * contrast)
    pixels = _add_noise(rng, np.clip(image, 0, 255).astype(np.uint8), amplitude)
    if detail > 14 and rng.random() < 0.15:  # noise removed by the camera, and detail with it
        pixels = cv2.medianBlur(pixels, 3)
    return pixels


def _coarsen(rng: Rng, image: np.ndarray, detail: float) -> np.ndarray:
    """As if seen by a sensor with fewer pixels."""
    factor = rng.uniform(min(1.0, max(0.4, 7 / detail)), 1)
    small = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    how = cv2.INTER_LINEAR if rng.random() < 0.6 else cv2.INTER_CUBIC
    return cv2.resize(small, image.shape[1::-1], interpolation=how)


def _motion(length: float, angle: float) -> np.ndarray:
    """Kernel of a straight movement of `length` pixels."""
    half = int(np.ceil(length / 2))
    kernel = np.zeros((2 * half + 1, 2 * half + 1), np.float32)
    step = np.array([np.cos(angle), np.sin(angle)]) * length / 2
    ends = np.round((half + np.stack([-step, step])) * 16).astype(int)
    cv2.line(kernel, ends[0].tolist(), ends[1].tolist(), 1.0, 1, cv2.LINE_AA, 4)
    return kernel / kernel.sum()


def _add_noise(rng: Rng, image: np.ndarray, amplitude: float) -> np.ndarray:
    if amplitude < 0.5:
        return image
    coarse = rng.random() < 0.4
    height, width = image.shape[:2]
    size = (-(-height // 2), -(-width // 2), 3) if coarse else image.shape
    grains = np.frombuffer(rng.bytes(int(np.prod(size))), np.uint8).reshape(size)
    noise = cv2.LUT(grains, np.round(_NORMAL * amplitude).astype(np.int16))
    if coarse:
        noise = cv2.resize(noise, (width, height), interpolation=cv2.INTER_LINEAR)
    return cv2.add(image, noise, dtype=cv2.CV_8U)


def jpeg_quality(rng: Rng, detail: float) -> int:
    """Quality of the stored file: mostly good, at times poor where lines are high."""
    worst = float(np.interp(detail, (8, 20), (65, 25)))
    return round(95 - (95 - worst) * float(rng.random() ** 2))
