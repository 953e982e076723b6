"""Things of a street that look like text and are none: bricks, windows, shelves, strokes, leaves.

Each painter fills a flat patch; `add_clutter` puts such patches into the background in perspective.
Patches are (h, w, 4) uint8: RGB and coverage.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from ..backgrounds import colour_of_luminance

Rng = np.random.Generator
Painter = Callable[[Rng, int, int], np.ndarray]


def add_clutter(rng: Rng, image: np.ndarray, most: int) -> None:
    """Draw up to `most` patches into an image, in place.

    Args:
        rng: decides everything.
        image: (height, width, 3) uint8 RGB.
        most: largest number of patches.
    """
    height, width = image.shape[:2]
    for _ in range(int(rng.integers(most + 1))):
        kind = int(rng.choice(len(_PAINTERS), p=_WEIGHTS))
        fraction = np.exp(rng.uniform(np.log(0.1), np.log(1.1), 2))
        size = np.maximum((fraction * (height, width)).astype(int), 16)
        patch = _PAINTERS[kind][1](rng, int(size[0]), int(size[1]))
        _insert(rng, image, patch)


def _insert(rng: Rng, image: np.ndarray, patch: np.ndarray) -> None:
    """Blend a patch into a random, slightly skewed quadrilateral of the image."""
    height, width = image.shape[:2]
    h, w = patch.shape[:2]
    corners = np.array([[0, 0], [w, 0], [w, h], [0, h]], np.float32)
    skewed = corners * rng.uniform(0.75, 1.0, (4, 2)) * (1, 1) + rng.uniform(0, 0.1, (4, 2)) * w
    place = rng.uniform(-0.3, 0.9, 2) * (width, height)
    target = (skewed + place).astype(np.float32)
    low = np.maximum(np.floor(target.min(axis=0)).astype(int), 0)
    high = np.minimum(np.ceil(target.max(axis=0)).astype(int), (width, height))
    if (high - low).min() < 2:
        return
    matrix = cv2.getPerspectiveTransform(corners, (target - low).astype(np.float32))
    seen = cv2.warpPerspective(patch, matrix, tuple((high - low).tolist()))
    region = image[low[1] : high[1], low[0] : high[0]]
    weight = seen[:, :, 3:].astype(np.uint16)
    mixed = (region * (255 - weight) + seen[:, :, :3] * weight + 127) // 255
    region[:] = mixed.astype(np.uint8)


def _flat(rng: Rng, height: int, width: int, colour: np.ndarray) -> np.ndarray:
    patch = np.empty((height, width, 4), np.uint8)
    patch[:, :, :3] = np.clip(colour, 0, 255)
    patch[:, :, 3] = 255
    return patch


def any_colour(rng: Rng, saturation: float | None = None) -> np.ndarray:
    """(3,) float32 RGB of any luminance, more often dull than gaudy."""
    saturation = float(rng.random() ** 2.5) if saturation is None else saturation
    return colour_of_luminance(rng, rng.uniform(10, 245), saturation)


def _near(rng: Rng, colour: np.ndarray, step: float) -> tuple[float, ...]:
    """A colour like the given one, opaque, as OpenCV takes it."""
    shifted = colour + rng.uniform(-step, step) + rng.uniform(-step / 4, step / 4, 3)
    return (*np.clip(shifted, 0, 255).tolist(), 255.0)


def _bricks(rng: Rng, height: int, width: int) -> np.ndarray:
    tall = int(rng.integers(5, 22))
    wide = int(tall * rng.uniform(1, 3.2))
    base = (
        any_colour(rng, 0.5)
        if rng.random() < 0.4
        else np.array([150.0, 85, 65]) * rng.uniform(0.6, 1.3)
    )
    joint = 1 if tall < 12 else int(rng.integers(1, 4))
    rows, columns = height // tall + 1, width // wide + 2
    tones = base + rng.normal(0, rng.uniform(4, 22), (rows, columns, 1))
    y, x = np.arange(height), np.arange(width)
    course = y // tall
    shift = (course % 2)[:, None] * (wide // 2) if rng.random() < 0.7 else 0
    across = x[None] + shift
    patch = _flat(rng, height, width, base)
    patch[:, :, :3] = np.clip(tones[course[:, None], across // wide], 0, 255)
    mortar = (across % wide < joint) | (y % tall < joint)[:, None]
    patch[mortar] = _near(rng, base + rng.choice([-1, 1]) * rng.uniform(20, 70), 5)
    return patch


def _windows(rng: Rng, height: int, width: int) -> np.ndarray:
    patch = _flat(rng, height, width, any_colour(rng, 0.3))
    tall, wide = rng.integers(14, 64, 2).tolist()
    pane, frame = any_colour(rng, 0.3) * 0.6, any_colour(rng, 0.2)
    gap_y, gap_x = (rng.uniform(0.1, 0.6, 2) * (tall, wide)).astype(int).tolist()
    bars = int(rng.integers(0, 3))
    for top in range(gap_y, height, tall + gap_y):
        for left in range(gap_x, width, wide + gap_x):
            end = (left + wide, top + tall)
            cv2.rectangle(patch, (left, top), end, _near(rng, pane, 40), cv2.FILLED)
            for bar in range(1, bars + 1):
                x = left + bar * wide // (bars + 1)
                cv2.line(patch, (x, top), (x, end[1]), _near(rng, frame, 5), 1 + wide // 30)
            cv2.rectangle(patch, (left, top), end, _near(rng, frame, 5), 1 + wide // 20)
    return patch


def _fence(rng: Rng, height: int, width: int) -> np.ndarray:
    turned = rng.random() < 0.4
    height, width = (width, height) if turned else (height, width)
    patch = np.zeros((height, width, 4), np.uint8)
    colour = any_colour(rng, 0.3)
    pitch = rng.uniform(5, 26)
    thick = max(1, round(pitch * rng.uniform(0.12, 0.55)))
    for x in np.arange(0, width, pitch).astype(int).tolist():
        cv2.line(patch, (x, 0), (x, height), _near(rng, colour, 12), thick)
    for y in (height * rng.random(int(rng.integers(0, 4)))).astype(int).tolist():
        cv2.line(patch, (0, y), (width, y), _near(rng, colour, 12), thick)
    return cv2.transpose(patch) if turned else patch


def _foliage(rng: Rng, height: int, width: int) -> np.ndarray:
    patch = np.zeros((height, width, 4), np.uint8)
    base = np.array([[60.0, 90, 35], [110, 95, 45], [35, 60, 30], [140, 130, 70]])[
        int(rng.integers(4))
    ] * rng.uniform(0.5, 1.4)
    middle = np.array([width, height]) / 2
    count = int(rng.integers(60, 260))
    places = np.clip(rng.normal(0, 0.5, (count, 2)), -1, 1) * middle + middle
    reach = rng.uniform(1.5, 8, (count, 2)) * rng.uniform(0.6, 1.6)
    turns = rng.uniform(0, 180, count)
    for place, axes, turn in zip(places.astype(int), reach.astype(int) + 1, turns, strict=True):
        cv2.ellipse(
            patch, place.tolist(), axes.tolist(), float(turn), 0, 360, _near(rng, base, 45), -1
        )
    return patch


def _shelf(rng: Rng, height: int, width: int) -> np.ndarray:
    """Rows of goods: boxes of many colours, some with a label of another colour."""
    patch = _flat(rng, height, width, any_colour(rng, 0.2) * 0.5)
    tall = int(rng.integers(16, 60))
    board = any_colour(rng, 0.2)
    for floor in range(tall, height + tall, tall + 4):
        x = 0
        while x < width:
            wide, high = int(rng.integers(4, 36)), int(tall * rng.uniform(0.5, 0.97))
            colour = any_colour(rng)
            end = (x + wide, floor)
            cv2.rectangle(patch, (x, floor - high), end, _near(rng, colour, 10), cv2.FILLED)
            if rng.random() < 0.5:
                top = floor - int(high * rng.uniform(0.4, 0.9))
                bottom = top + int(high * rng.uniform(0.1, 0.4))
                cv2.rectangle(
                    patch, (x + 1, top), (end[0] - 1, bottom), _near(rng, any_colour(rng), 5), -1
                )
            x += wide + int(rng.integers(0, 4))
        cv2.rectangle(patch, (0, floor), (width, floor + 3), _near(rng, board, 8), cv2.FILLED)
    return patch


def _strokes(rng: Rng, height: int, width: int) -> np.ndarray:
    """Rows of random strokes, like a script that nobody reads."""
    paper, ink = any_colour(rng), any_colour(rng)
    patch = _flat(rng, height, width, paper)
    if rng.random() < 0.5:
        patch[:, :, 3] = 0
    size = int(np.exp(rng.uniform(np.log(6), np.log(max(8, height / 2)))))
    weight = max(1, round(size * rng.uniform(0.05, 0.16)))
    colour = _near(rng, ink, 0)
    for top in range(2, height - size, int(size * rng.uniform(1.1, 1.8)) + 1):
        x = 2
        while x < width - size:
            if rng.random() < 0.85:
                _draw_stroke_sign(rng, patch, (x, top), size, weight, colour)
            x += int(size * rng.uniform(0.7, 1.2)) + 1
    return patch


def _draw_stroke_sign(
    rng: Rng,
    patch: np.ndarray,
    corner: tuple[int, int],
    size: int,
    weight: int,
    colour: tuple[float, ...],
) -> None:
    for _ in range(int(rng.integers(2, 6))):
        ends = (rng.integers(0, 4, (2, 2)) * (size / 3) + corner).astype(int)
        if rng.random() < 0.6:  # upright or level
            axis = int(rng.integers(2))
            ends[1, axis] = ends[0, axis]
        cv2.line(patch, ends[0].tolist(), ends[1].tolist(), colour, weight, cv2.LINE_AA)


def _signs(rng: Rng, height: int, width: int) -> np.ndarray:
    """A board with arrows, rings, crosses or bars."""
    patch = _flat(rng, height, width, any_colour(rng))
    size = max(8, min(height, width, int(np.exp(rng.uniform(np.log(10), np.log(80))))))
    colour = _near(rng, any_colour(rng), 0)
    weight = max(1, size // int(rng.integers(6, 16)))
    kind = int(rng.integers(5))
    for left in range(size // 4, width - size, int(size * rng.uniform(1.2, 2.5))):
        x0, y0, x1, y1 = left, size // 4, left + size // 2, size // 4 + size // 2
        middle = ((x0 + x1) // 2, (y0 + y1) // 2)
        if kind == 0:
            cv2.arrowedLine(patch, (x0, middle[1]), (x1, middle[1]), colour, weight, tipLength=0.4)
        elif kind == 1:
            cv2.circle(patch, middle, size // 3, colour, weight, cv2.LINE_AA)
        elif kind == 2:
            cv2.line(patch, (x0, middle[1]), (x1, middle[1]), colour, weight)
            cv2.line(patch, (middle[0], y0), (middle[0], y1), colour, weight)
        elif kind == 3:
            cv2.rectangle(patch, (x0, y0), (x1, y1), colour, cv2.FILLED)
        else:
            for x in range(x0, x1, 3):
                cv2.line(patch, (x, y0), (x, y1), colour, int(rng.integers(1, 3)))
    return patch


def _shutter(rng: Rng, height: int, width: int) -> np.ndarray:
    pitch = rng.uniform(4, 20)
    wave = np.sin(np.arange(height) * (2 * np.pi / pitch)) * rng.uniform(5, 40)
    colour = any_colour(rng, 0.3) + wave[:, None, None]
    return _flat(rng, height, width, colour)


def _lamps(rng: Rng, height: int, width: int) -> np.ndarray:
    """Bright discs, as of lamps on a ceiling or of lights out of focus."""
    patch = np.zeros((height, width, 4), np.uint8)
    colour = colour_of_luminance(rng, 240, 0.6)
    radius = int(rng.integers(2, 14))
    for x, y in (rng.random((int(rng.integers(2, 16)), 2)) * (width, height)).astype(int).tolist():
        cv2.circle(patch, (x, y), radius, _near(rng, colour, 12), -1, cv2.LINE_AA)
    return patch


def _people(rng: Rng, height: int, width: int) -> np.ndarray:
    """Heads and shoulders in dull clothes."""
    patch = np.zeros((height, width, 4), np.uint8)
    for _ in range(int(rng.integers(1, 6))):
        head = int(np.exp(rng.uniform(np.log(3), np.log(max(4, height / 6)))))
        x, y = int(rng.integers(width)), int(rng.integers(head, max(head + 1, height // 2)))
        coat, skin = any_colour(rng, 0.4), np.array([190.0, 150, 125]) * rng.uniform(0.4, 1.1)
        hips = (x, y + int(head * rng.uniform(3.5, 5)))
        reach = (int(head * rng.uniform(1.4, 2.2)), int(head * rng.uniform(2.4, 3.6)))
        cv2.ellipse(patch, hips, reach, 0, 0, 360, _near(rng, coat, 10), -1, cv2.LINE_AA)
        legs = (x - head, hips[1], 2 * head, max(1, height - hips[1]))
        cv2.rectangle(patch, legs, _near(rng, any_colour(rng, 0.2) * 0.6, 10), -1)
        face = (head, int(1.25 * head))
        cv2.ellipse(patch, (x, y), face, 0, 0, 360, _near(rng, skin, 10), -1, cv2.LINE_AA)
        hair = (x, y - int(head * rng.uniform(0.2, 0.6)))
        cv2.ellipse(patch, hair, face, 0, 0, 360, _near(rng, skin * 0.25, 10), -1, cv2.LINE_AA)
    return patch


_PAINTERS: tuple[tuple[float, Painter], ...] = (
    (1.5, _bricks),
    (1.5, _windows),
    (1.0, _fence),
    (1.0, _foliage),
    (1.5, _shelf),
    (1.5, _strokes),
    (1.0, _signs),
    (0.7, _shutter),
    (0.5, _lamps),
    (1.2, _people),
)
_WEIGHTS = np.array([weight for weight, _ in _PAINTERS])
_WEIGHTS /= _WEIGHTS.sum()

WALLS: tuple[Painter, ...] = (_bricks, _windows, _shelf, _shelf, _shutter, _signs)
