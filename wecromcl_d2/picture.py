"""What all drawing on pictures shares: colours, checks and boxes.

Pictures are uint8 RGB arrays of shape `(H, W, 3)`. Points are (x, y) in continuous pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Color = tuple[int, int, int]
Box = tuple[float, float, float, float]

BACKGROUND: Color = (24, 26, 30)

# OpenCV's drawing takes integers; with this shift they are sixteenths of a pixel.
SHIFT = 4


def check_picture(image: np.ndarray) -> None:
    """Make sure that an array is a picture.

    Raises:
        ValueError: if it is not.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise ValueError(
            f"a picture is a uint8 array (height, width, 3), got {image.dtype} of {image.shape}"
        )


def fixed_point(points: np.ndarray) -> np.ndarray:
    """Continuous points as OpenCV's shifted integers, whose origin is a pixel's centre."""
    return np.round((points - 0.5) * (1 << SHIFT)).astype(np.int32)


def bounding_box(outline: Sequence[float]) -> Box:
    """Left, top, right and bottom of an outline `x1, y1, ...`."""
    vertices = np.asarray(outline, dtype=np.float64).reshape(-1, 2)
    (left, top), (right, bottom) = vertices.min(axis=0), vertices.max(axis=0)
    return float(left), float(top), float(right), float(bottom)


def overlap(one: Box, other: Box) -> bool:
    """Say whether two boxes share an area."""
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
