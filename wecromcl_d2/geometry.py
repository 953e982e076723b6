"""Points of word outlines.

Points are (x, y) in pixels. An outline is a flat list `x1, y1, x2, y2, ...` whose first half of
vertices runs along one long side of the word and whose second half runs back along the other.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# Left, top, right and bottom.
Box = tuple[float, float, float, float]


def polygon_vertices(polygon: Sequence[float]) -> np.ndarray:
    """The vertices of a flat outline as float64 of shape `(V, 2)`.

    Raises:
        ValueError: if there are fewer than 3 vertices or an odd count of numbers.
    """
    flat = np.asarray(polygon, dtype=np.float64)
    if flat.ndim != 1 or flat.size < 6 or flat.size % 2:
        raise ValueError(f"an outline is x1, y1, ... of 3 or more vertices, got {polygon!r:.80}")
    return flat.reshape(-1, 2)


def polygon_center(polygon: Sequence[float]) -> np.ndarray:
    """The center of a word: the mean of the midpoints of its two long sides.

    For a quadrilateral this is the mean of the vertices. For an odd count of vertices the second
    side is the longer one. The center of a curved word may lie outside its outline.

    Returns:
        Point (x, y), float64 of shape `(2,)`.

    Raises:
        ValueError: if the outline has fewer than 3 vertices.
    """
    vertices = polygon_vertices(polygon)
    half = len(vertices) // 2
    return (_midpoint(vertices[:half]) + _midpoint(vertices[half:])) / 2


def bounding_box(outline: Sequence[float]) -> Box:
    """Left, top, right and bottom of an outline."""
    vertices = np.asarray(outline, dtype=np.float64).reshape(-1, 2)
    (left, top), (right, bottom) = vertices.min(axis=0), vertices.max(axis=0)
    return float(left), float(top), float(right), float(bottom)


def overlap(one: Box, other: Box) -> bool:
    """Whether two boxes overlap."""
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _midpoint(side: np.ndarray) -> np.ndarray:
    """The point at half the arc length of a polyline of shape `(V, 2)`."""
    lengths = np.linalg.norm(np.diff(side, axis=0), axis=1)
    walked = np.concatenate([[0.0], np.cumsum(lengths)])
    if walked[-1] == 0:
        return side[0]
    half = walked[-1] / 2
    return np.array([np.interp(half, walked, side[:, axis]) for axis in (0, 1)])
