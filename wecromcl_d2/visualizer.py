"""Drawing of activation maps, anchors, outlines and words in any script.

Images are uint8 RGB arrays of shape `(H, W, 3)`; every function returns a new one. Points and
outlines are (x, y) in continuous pixels of the image they are drawn on, sizes (height, width).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw

from .files import replace_file
from .fonts import font_for
from .geometry import bounding_box, overlap

Polygon = Sequence[float]
Color = tuple[int, int, int]

BACKGROUND: Color = (24, 26, 30)

# OpenCV's drawing functions expect integers; with this shift their unit is 1/16 pixel.
SHIFT = 4
FOREGROUND: Color = (236, 238, 242)
HIT: Color = (96, 222, 128)
MISS: Color = (255, 112, 96)
GROUND_TRUTH: Color = (96, 222, 128)
ANCHOR: Color = (64, 224, 255)

# An anchor around which a map stays below this share of its maximum is not at the maximum.
_APART = 0.5

# Factor by which images are enlarged, and the bounds on the longest side of the result in pixels.
_ENLARGEMENT = 2.75
_SHORTEST_TILE, _LONGEST_TILE = 320, 640


@dataclass(frozen=True)
class WordView:
    """Content of one word's tile in a sheet.

    Attributes:
        text: the word.
        activation: float map of shape `(h, w)`, not negative.
        point: anchor (x, y) in pixels of the image; None if the word has none.
        score: the anchor's score; None if the word has none.
        polygon: the word's outline `x1, y1, ...`; None if unknown.
    """

    text: str
    activation: np.ndarray
    point: Sequence[float] | None = None
    score: float | None = None
    polygon: Polygon | None = None


def overlay_map(
    image: np.ndarray, activation: np.ndarray, cell_size: tuple[float, float] | None = None
) -> np.ndarray:
    """A map as a heat map over the dimmed image, relative to its largest value.

    Args:
        image: RGB image.
        activation: float map of shape `(h, w)`, not negative.
        cell_size: (height, width) of a cell in pixels of the image, in whose upper left corner
            the map starts; it may extend beyond the image. None if it covers the image exactly.

    Raises:
        ValueError: if the image is no RGB array or the map is not a matrix of finite numbers.
    """
    check_image(image)
    heat = _relative_map(activation, image.shape[:2], cell_size)
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None].astype(np.float32)
    base = 0.55 * (0.35 * image + 0.65 * gray)
    levels = np.round(heat * 255).astype(np.uint8)
    glow = cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO)[..., ::-1].astype(np.float32)
    # The square root keeps low values around a sharp peak visible.
    weight = 0.9 * np.sqrt(heat)[..., None]
    return np.round(base * (1 - weight) + glow * weight).astype(np.uint8)


def draw_polygons(
    image: np.ndarray,
    polygons: Sequence[Polygon | None],
    color: Color = GROUND_TRUTH,
    thickness: int = 1,
) -> np.ndarray:
    """Draw outlines `x1, y1, ...`; None entries are skipped."""
    check_image(image)
    result = image.copy()
    for polygon in polygons:
        if polygon is not None:
            vertices = fixed_point(np.asarray(polygon, dtype=np.float64).reshape(-1, 2))
            cv2.polylines(result, [vertices], True, color, thickness, cv2.LINE_AA, SHIFT)
    return result


def draw_anchors(
    image: np.ndarray, points: np.ndarray | Sequence[Sequence[float]], color: Color = ANCHOR
) -> np.ndarray:
    """Draw a cross with a dark rim at each of `(P, 2)` points, its size relative to the image."""
    check_image(image)
    result = image.copy()
    arm = max(5.0, min(image.shape[:2]) / 36)
    for x, y in np.asarray(points, dtype=np.float64).reshape(-1, 2):
        for ink, thickness in ((BACKGROUND, 4), (color, 2)):
            for dx, dy in ((arm, arm), (arm, -arm)):
                ends = fixed_point(np.array([[x - dx, y - dy], [x + dx, y + dy]]))
                cv2.polylines(result, [ends], False, ink, thickness, cv2.LINE_AA, SHIFT)
    return result


def draw_words(
    image: np.ndarray,
    texts: Sequence[str],
    polygons: Sequence[Polygon | None],
    color: Color = GROUND_TRUTH,
) -> np.ndarray:
    """Write words above or below their outlines.

    A word without outline is skipped, and one whose text would overlap an outline or an earlier
    text or would not fit into the image.
    """
    check_image(image)
    size = 13  # of the font, in pixels
    canvas = Image.fromarray(image)
    draw = ImageDraw.Draw(canvas)
    known = [(t, bounding_box(p)) for t, p in zip(texts, polygons, strict=True) if p is not None]
    occupied = [box for _, box in known]
    for text, (left, top, _, bottom) in known:
        font, shown = font_for(text, size)
        length = font.getlength(shown)
        x = max(2.0, min(left, image.shape[1] - length - 2))
        for y in (top - size - 4, bottom + 3):
            # Including the rim and descenders.
            box = (x - 2, y - 2, x + length + 2, y + size + 3)
            inside = box[1] >= 0 and box[3] <= image.shape[0]
            if inside and not any(overlap(box, other) for other in occupied):
                spot = (x, y + size - 2)
                draw.text(spot, shown, color, font, "ls", stroke_width=2, stroke_fill=BACKGROUND)
                occupied.append(box)
                break
    return np.array(canvas)


def add_caption(
    image: np.ndarray, text: str, note: str = "", color: Color = FOREGROUND, size: int = 18
) -> np.ndarray:
    """The image with a line below: left the text, shortened to fit, right the note."""
    check_image(image)
    width = image.shape[1]
    strip = Image.new("RGB", (width, size + 12), BACKGROUND)
    draw = ImageDraw.Draw(strip)
    baseline, margin = size + 2, 6
    note_font, note = font_for(note, size)
    note_width = note_font.getlength(note)
    draw.text((width - margin - note_width, baseline), note, FOREGROUND, note_font, anchor="ls")
    room = width - 2 * margin - (note_width + margin if note else 0)
    font, shown = font_for(text, size)
    if font.getlength(shown) > room:
        while shown and font.getlength(shown + "…") > room:
            shown = shown[:-1]
        shown += "…"
    draw.text((margin, baseline), shown, color, font, anchor="ls")
    return np.concatenate([image, np.asarray(strip)])


def contact_sheet(
    tiles: Sequence[np.ndarray], columns: int, gap: int = 8, background: Color = BACKGROUND
) -> np.ndarray:
    """Images in rows and columns; each column has the width, each row the height of its largest.

    Args:
        tiles: images of any sizes, at least one.
        columns: images in a row, at least 1.
        gap: pixels between and around the images.
        background: colour of the sheet.

    Raises:
        ValueError: if there is no tile or no column, or a tile is no RGB array.
    """
    if not tiles or columns < 1:
        raise ValueError(f"{len(tiles)} tiles in {columns} columns: a sheet needs one of each")
    for tile in tiles:
        check_image(tile)
    rows = [tiles[start : start + columns] for start in range(0, len(tiles), columns)]
    heights = [max(tile.shape[0] for tile in row) for row in rows]
    widths = [max(tile.shape[1] for tile in tiles[c::columns]) for c in range(len(rows[0]))]
    shape = (sum(heights) + gap * (len(rows) + 1), sum(widths) + gap * (len(widths) + 1), 3)
    sheet = np.full(shape, background, dtype=np.uint8)
    top = gap
    for row, height in zip(rows, heights, strict=True):
        left = gap
        for tile, width in zip(row, widths, strict=False):
            sheet[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
            left += width + gap
        top += height + gap
    return sheet


def draw_activation(
    image: np.ndarray, word: WordView, cell_size: tuple[float, float] | None = None
) -> np.ndarray:
    """The tile of one word: its map over the image, with anchor, outline and score if given.

    Small images are enlarged and large ones reduced to keep lines and captions legible. With
    an outline the caption is green if the anchor lies in it and red if not; without, it is white.
    "a lower peak" says why an anchor stands apart from the glow: MODEL.WECROMCL.ANCHOR_DISTANCE
    gave the highest peak to another word, or PEAK_CANDIDATES found another one more similar.

    Args:
        image: RGB image.
        word: what is known of it.
        cell_size: see `overlay_map`, in pixels of `image`.
    """
    shown, scale = _display(image)
    cell = None if cell_size is None else (cell_size[0] * scale, cell_size[1] * scale)
    polygon, point = word.polygon, word.point
    tile = draw_polygons(overlay_map(shown, word.activation, cell), [_scaled(polygon, scale)])
    if point is not None:
        tile = draw_anchors(tile, [[float(value) * scale for value in point]])
    color = FOREGROUND if polygon is None else HIT if _is_on(point, polygon) else MISS
    note = "" if word.score is None else f"{word.score:.3f}"
    top = point is None or at_highest_peak(word.activation, point, image.shape, cell_size)
    if note and not top:
        note += ", a lower peak"
    return add_caption(tile, word.text, note, color)


def anchor_sheet(
    image: np.ndarray,
    words: Sequence[WordView],
    gt_texts: Sequence[str] = (),
    gt_polygons: Sequence[Polygon | None] = (),
    *,
    title: str = "",
    cell_size: tuple[float, float] | None = None,
    columns: int = 3,
) -> np.ndarray:
    """One image with its ground truth, then one tile per word, see `draw_activation`.

    Args:
        image: RGB image.
        words: the words to show.
        gt_texts: ground-truth words.
        gt_polygons: their outlines, None where unknown.
        title: caption of the first tile.
        cell_size: see `overlay_map`, in pixels of `image`.
        columns: tiles in a row, fewer if there are fewer.
    """
    shown, scale = _display(image)
    outlines = [_scaled(polygon, scale) for polygon in gt_polygons]
    first = draw_polygons(draw_words(shown, gt_texts, outlines), outlines)
    tiles = [add_caption(first, title, f"{image.shape[1]} x {image.shape[0]}")]
    tiles += [draw_activation(image, word, cell_size) for word in words]
    return contact_sheet(tiles, min(columns, len(tiles)))


def save_image(path: str | os.PathLike[str], image: np.ndarray) -> None:
    """Write an image in the format of the path's suffix; if that fails, an old file is kept.

    Raises:
        ValueError: if the suffix names no image format or `image` is no RGB array.
        OSError: if the file cannot be written.
    """
    check_image(image)
    suffix = Path(path).suffix.lower()
    image_format = Image.registered_extensions().get(suffix)
    if image_format is None:
        raise ValueError(f"{os.fspath(path)!r} names no image format; end it in .png or .jpg")
    with replace_file(path) as stream:
        Image.fromarray(image).save(stream, image_format)


def at_highest_peak(
    activation: np.ndarray,
    point: Sequence[float],
    size: Sequence[int],
    cell_size: tuple[float, float] | None = None,
) -> bool:
    """Whether a map is at least half as high within two cells of a point as anywhere.

    The map itself may have been enlarged from that of a smaller image, so the anchor, the center of
    its peak, need not lie in the highest cell.

    Args:
        activation: float map of shape `(h, w)`, not negative.
        point: (x, y) in pixels.
        size: (height, width) of the image, further entries ignored.
        cell_size: see `overlay_map`.
    """
    (rows, columns) = activation.shape
    height, width = cell_size or (size[0] / rows, size[1] / columns)
    x, y = min(int(point[0] / width), columns - 1), min(int(point[1] / height), rows - 1)
    around = activation[max(y - 2, 0) : y + 3, max(x - 2, 0) : x + 3]
    return float(around.max()) >= _APART * float(activation.max())


def _relative_map(
    activation: np.ndarray, size: tuple[int, int], cell_size: tuple[float, float] | None
) -> np.ndarray:
    """The map at every pixel of an image of a (height, width), float32 in 0 .. 1."""
    cells = np.asarray(activation, dtype=np.float32)
    if cells.ndim != 2 or not cells.size or not np.isfinite(cells).all():
        raise ValueError(f"an activation map is a finite matrix, got shape {cells.shape}")
    if cell_size is None:
        cell_size = (size[0] / cells.shape[0], size[1] / cells.shape[1])
    # The center of pixel x, x + 0.5, lies at cell coordinate (x + 0.5) / cell - 0.5.
    to_cells = [
        [1 / cell_size[1], 0, 0.5 / cell_size[1] - 0.5],
        [0, 1 / cell_size[0], 0.5 / cell_size[0] - 0.5],
    ]
    peak = float(cells.max())
    heat = cv2.warpAffine(
        cells / peak if peak > 0 else np.zeros_like(cells),
        np.array(to_cells),
        (size[1], size[0]),
        flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.clip(heat, 0, 1)


def _is_on(point: Sequence[float] | None, polygon: Polygon) -> bool:
    if point is None:
        return False
    outline = np.asarray(polygon, dtype=np.float32).reshape(-1, 1, 2)
    return cv2.pointPolygonTest(outline, (float(point[0]), float(point[1])), False) >= 0


def _display(image: np.ndarray) -> tuple[np.ndarray, float]:
    """The image in the size of a tile, and its scale."""
    check_image(image)
    height, width = image.shape[:2]
    longest = max(height, width)
    scale = min(max(longest * _ENLARGEMENT, _SHORTEST_TILE), _LONGEST_TILE) / longest
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return cv2.resize(image, size, interpolation=method), scale


def _scaled(polygon: Polygon | None, scale: float) -> list[float] | None:
    return None if polygon is None else [value * scale for value in polygon]


def check_image(image: np.ndarray) -> None:
    """Check that an array is an RGB image.

    Raises:
        ValueError: if it is not.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise ValueError(
            f"an image is a uint8 array (height, width, 3), got {image.dtype} of {image.shape}"
        )


def fixed_point(points: np.ndarray) -> np.ndarray:
    """Continuous points as OpenCV's shifted integers, whose origin is the center of a pixel."""
    return np.round((points - 0.5) * (1 << SHIFT)).astype(np.int32)
