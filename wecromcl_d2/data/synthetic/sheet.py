"""A contact sheet: many scenes on one picture, with their truth drawn on them."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from .scenes import Scene

_GUTTER = 4
_CAPTION = 12  # pixels below each scene for its words


def contact_sheet(
    scenes: Sequence[Scene], *, columns: int = 6, zoom: int = 2, truth: bool = True
) -> np.ndarray:
    """Lay scenes out in rows.

    Args:
        scenes: at least one.
        columns: scenes in a row.
        zoom: each scene is drawn this many times its size.
        truth: draw polygons, a dot on each polygon's first point, and the words below.

    Returns:
        (height, width, 3) uint8 RGB.

    Raises:
        ValueError: if there is no scene.
    """
    if not scenes:
        raise ValueError("a contact sheet needs at least one scene")
    tiles = [_tile(scene, zoom, truth) for scene in scenes]
    height = max(t.shape[0] for t in tiles) + _GUTTER
    width = max(t.shape[1] for t in tiles) + _GUTTER
    rows = -(-len(tiles) // columns)
    sheet = np.full((rows * height, min(columns, len(tiles)) * width, 3), 32, np.uint8)
    for number, tile in enumerate(tiles):
        y, x = number // columns * height, number % columns * width
        sheet[y : y + tile.shape[0], x : x + tile.shape[1]] = tile
    return sheet


def _tile(scene: Scene, zoom: int, truth: bool) -> np.ndarray:
    # The stored file is what training sees, so show the picture after its JPEG round trip.
    options = [cv2.IMWRITE_JPEG_QUALITY, scene.jpeg_quality]
    _, data = cv2.imencode(".jpg", scene.image[:, :, ::-1], options)
    stored = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert stored is not None
    image = stored[:, :, ::-1]
    image = cv2.resize(image, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_NEAREST)
    if not truth:
        return image
    for polygon in scene.polygons:
        points = np.round((polygon * zoom - 0.5) * 16).astype(np.int32)
        cv2.polylines(image, [points], True, (255, 0, 0), 1, cv2.LINE_AA, 4)
        start = tuple(np.round(polygon[0] * zoom).astype(int).tolist())
        cv2.circle(image, start, 2, (0, 255, 0), -1)
    caption = np.zeros((_CAPTION, image.shape[1], 3), np.uint8)
    line = " ".join(scene.texts)
    cv2.putText(caption, line, (1, 9), cv2.FONT_HERSHEY_SIMPLEX, 0.3, (255, 255, 255))
    return np.concatenate([image, caption])
