"""Drawing of spotted words, in any script."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw

from ..fonts import font_for
from ..geometry import Box, bounding_box, overlap
from ..visualizer import (
    ANCHOR,
    BACKGROUND,
    SHIFT,
    Color,
    check_image,
    fixed_point,
)

# Smaller images are enlarged so that their longest side has at least this many pixels.
SHORTEST_SHOWN = 640


def draw_spotting(
    image: np.ndarray,
    texts: Sequence[str],
    points: np.ndarray,
    polylines: np.ndarray | None = None,
    colors: Sequence[Color] | None = None,
) -> np.ndarray:
    """Draw spotted words: a dot at each point, the line through each word, and its text beside it.

    Every text is written, even if there is no free place for it.

    Args:
        image: RGB image; a small one is enlarged by a whole number.
        texts: `N` words.
        points: `(N, 2)`.
        polylines: `(N, K, 2)`, None without lines.
        colors: of each word; one colour for all by default.
    """
    check_image(image)
    inks = [ANCHOR] * len(texts) if colors is None else list(colors)
    scale = -(-SHORTEST_SHOWN // max(image.shape[:2]))
    result = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    longest = max(result.shape[:2])
    pen = max(1, round(longest / 500))
    dots = np.asarray(points, dtype=np.float64).reshape(-1, 2) * scale
    lines = np.zeros((0, 1, 2)) if polylines is None else np.asarray(polylines, np.float64) * scale
    for own, extra in (([BACKGROUND] * len(inks), 2), (inks, 0)):
        for ink, line in zip(own, lines, strict=polylines is not None):
            cv2.polylines(result, [fixed_point(line)], False, ink, pen + extra, cv2.LINE_AA, SHIFT)
        for ink, (x, y) in zip(own, fixed_point(dots).tolist(), strict=True):
            radius = (2 * pen + extra) << SHIFT
            cv2.circle(result, (x, y), radius, ink, cv2.FILLED, cv2.LINE_AA, SHIFT)
    outlines = (
        dots[:, None] if polylines is None else np.concatenate([dots[:, None], lines], axis=1)
    )
    boxes = [word_box(*parts) for parts in zip(texts, outlines, strict=True)]
    canvas = Image.fromarray(result)
    _write_beside(canvas, texts, boxes, inks, 8 + round(longest / 80))
    return np.array(canvas)


def word_box(text: str, points: np.ndarray) -> Box:
    """The estimated box of a word from `points` (M, 2): its own point, then those of its line."""
    left, top, right, bottom = bounding_box(points.ravel().tolist())
    length = float(np.linalg.norm(np.diff(points[1:], axis=0), axis=1).sum())
    around = 0.55 * length / max(len(text) - 1, 1)
    return left - around, top - around, right + around, bottom + around


def _write_beside(
    canvas: Image.Image,
    texts: Sequence[str],
    boxes: Sequence[Box],
    colors: Sequence[Color],
    size: int,
) -> None:
    """Write texts above, below or beside their boxes, inside the image and without overlaps."""
    draw = ImageDraw.Draw(canvas)
    occupied = list(boxes)
    for text, color, (left, top, right, bottom) in zip(texts, colors, boxes, strict=True):
        font, shown = font_for(text, size)
        length, centered = font.getlength(shown), (top + bottom - size) / 2
        spots = []
        for x, y in (
            (left, top - 1.5 * size),
            (left, bottom + size / 2),
            (right + size / 2, centered),
            (left - size / 2 - length, centered),
        ):
            x = max(2.0, min(x, canvas.width - length - 2))
            y = max(2.0, min(y, canvas.height - size - 3))
            spots.append((x - 2, y - 2, x + length + 2, y + size + 3))
        free = [box for box in spots if not any(overlap(box, other) for other in occupied)]
        box = (free or spots)[0]
        spot = (box[0] + 2, box[1] + size)
        draw.text(spot, shown, color, font, "ls", stroke_width=2, stroke_fill=BACKGROUND)
        occupied.append(box)
