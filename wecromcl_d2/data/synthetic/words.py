"""Rendering of a word as an alpha mask in the image, and the polygon around its ink.

Glyphs are drawn once per font and size and cached; a word is laid out from them on a flat canvas,
and one warp bends, tilts and rotates the canvas into a patch of the image.

Frames: *canvas* pixels of the flat word; *plane*, the same centered on the ink, in image pixels;
*patch* or image coordinates, continuous, (x, y) with y down.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont, features

from ...fonts import shipped_font

FONTS = (
    *("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSans-BoldOblique"),
    *("DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-Italic", "DejaVuSerif-BoldItalic"),
    *("DejaVuSansMono", "DejaVuSansMono-Bold", "DejaVuSansMono-Oblique"),
    *("STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic", "STIXGeneralBolIta"),
    *("cmr10", "cmb10", "cmss10", "cmtt10"),
)

_FONT_SUFFIXES = (".ttf", ".otf", ".ttc")
_NO_CHARACTER = 0x10FFFE
_BORDER = 2  # empty canvas pixels around the ink, so that the warp interpolates to zero at its edge
_INK_MARGIN = 0.6  # image pixels between the ink and its polygon
_FOCAL_LENGTH = 2.2  # of the camera for a tilted word, in widths of that word
_FLAT_SIDE = np.array([-1.0, 1.0])
_BENT_SIDE = np.linspace(-1, 1, 7)


@dataclass(frozen=True, eq=False)
class Canvas:
    """A flat word.

    Attributes:
        mask: (h, w) uint8, 255 where ink covers the pixel.
        ink: (width, height) of the ink's tight box, which starts at (`_BORDER`, `_BORDER`).
        font_size: the em in canvas pixels.
    """

    mask: np.ndarray
    ink: tuple[int, int]
    font_size: int


@dataclass(frozen=True)
class Pose:
    """Pose of a flat word in the image; angles in radians.

    Attributes:
        scale: image pixels per canvas pixel.
        stretch: additional factor of the width.
        bend: angle of the baseline's arc; positive if its center is below the word, else above.
        tilt: rotations about the horizontal and the vertical axis (perspective).
        rotation: rotation in the image plane, clockwise on the screen.
    """

    scale: float = 1.0
    stretch: float = 1.0
    bend: float = 0.0
    tilt: tuple[float, float] = (0.0, 0.0)
    rotation: float = 0.0


@dataclass(frozen=True)
class _Glyph:
    mask: np.ndarray
    left: int  # from the pen to the mask's first column
    top: int  # from the baseline to the mask's first row, negative above it
    advance: float


class _Face:
    def __init__(self, name: str, size: int) -> None:
        layout = ImageFont.Layout.BASIC
        self._font = ImageFont.truetype(shipped_font(name), size, layout_engine=layout)
        self._size = size
        self._glyphs: dict[str, _Glyph] = {}

    def glyph(self, character: str) -> _Glyph:
        if character not in self._glyphs:
            self._glyphs[character] = self._draw(character)
        return self._glyphs[character]

    def blank(self) -> float:
        """Advance of a blank in pixels."""
        return self._font.getlength(" ")

    def _draw(self, character: str) -> _Glyph:
        pad = self._size
        image = Image.new("L", (4 * pad, 4 * pad))
        ImageDraw.Draw(image).text((pad, 2 * pad), character, 255, self._font, anchor="ls")
        box = image.getbbox()
        if box is None:
            raise ValueError(f"character {character!r} has no shape in this font")
        mask = np.asarray(image.crop(box))
        return _Glyph(mask, box[0] - pad, box[1] - 2 * pad, self._font.getlength(character))


@lru_cache(maxsize=2048)
def _face(name: str, size: int) -> _Face:
    return _Face(name, size)


def cached_font_size(height: float) -> int:
    """The font size rounded up to one of a series in steps of 12 %, so that few are cached."""
    size = 8
    while size < height:
        size = max(size + 1, round(size * 1.12))
    return size


def lay_out(text: str, font: str, font_size: int, spacing: float = 0.0) -> Canvas:
    """Write a word on a flat canvas.

    Args:
        text: at least one character; blanks only between others.
        font: one of `FONTS`.
        font_size: em in canvas pixels.
        spacing: extra space between letters, in ems.
    """
    face = _face(font, font_size)
    pen, placed = 0.0, []
    for character in text:
        if character == " ":
            pen += face.blank() + spacing * font_size
            continue
        glyph = face.glyph(character)
        placed.append((glyph, round(pen) + glyph.left))
        pen += glyph.advance + spacing * font_size
    left = min(x for _, x in placed)
    top = min(g.top for g, _ in placed)
    width = max(x + g.mask.shape[1] for g, x in placed) - left
    height = max(g.top + g.mask.shape[0] for g, _ in placed) - top
    mask = np.zeros((height + 2 * _BORDER, width + 2 * _BORDER), np.uint8)
    for glyph, x in placed:
        h, w = glyph.mask.shape
        row, column = glyph.top - top + _BORDER, x - left + _BORDER
        target = mask[row : row + h, column : column + w]
        np.maximum(target, glyph.mask, out=target)
    return Canvas(mask, (width, height), font_size)


@lru_cache(maxsize=8)
def fonts_of_folder(folder: str, characters: str) -> tuple[str, ...]:
    """Font files of a folder, and of those below it, that have all characters.

    Raises:
        ValueError: if there is none.
    """
    wanted = set(map(ord, characters))
    files = sorted(p for p in Path(folder).rglob("*") if p.suffix.lower() in _FONT_SUFFIXES)
    found = tuple(str(path) for path in files if wanted <= _code_points(path))
    if not found:
        raise ValueError(
            f"none of the {len(files)} fonts in {folder!r} has all {len(wanted)} characters of the "
            "recipe; install a font of the script, or name its folder"
        )
    return found


def _code_points(path: Path) -> set[int]:
    from matplotlib.ft2font import FT2Font  # imported here, as few recipes need it

    try:
        found = set(FT2Font(str(path)).get_charmap())
    except (RuntimeError, OSError):  # a format that FreeType does not know, a damaged file
        return set()
    # A font of placeholders has a box for every code point, also for those that are no characters.
    return found if _NO_CHARACTER not in found else set()


def lay_out_shaped(text: str, path: str, font_size: int) -> Canvas:
    """Write a word of any script on a flat canvas: joined, reordered, from right to left.

    Args:
        text: at least one character, in logical order.
        path: font file.
        font_size: em in canvas pixels.

    Raises:
        ValueError: if Pillow cannot shape text.
    """
    if not features.check("raqm"):
        raise ValueError("this Pillow cannot shape text; install one with raqm, as its wheels have")
    font = ImageFont.truetype(path, font_size, layout_engine=ImageFont.Layout.RAQM)
    left, top, right, bottom = (int(value) for value in font.getbbox(text))
    image = Image.new("L", (right - left + 2 * font_size, bottom - top + 2 * font_size))
    ImageDraw.Draw(image).text((font_size - left, font_size - top), text, 255, font)
    box = image.getbbox()
    if box is None:
        raise ValueError(f"the text {text!r} has no shape in {path}")
    ink = np.asarray(image.crop(box))
    return Canvas(np.pad(ink, _BORDER), (ink.shape[1], ink.shape[0]), font_size)


def outline(canvas: Canvas, pose: Pose) -> np.ndarray:
    """The polygon around a word's ink.

    Returns:
        (n, 2) float64, plane coordinates, clockwise on the screen from the word's own top-left:
        first half the top side, second half the bottom side backwards; n = 4, or 14 when bent.
    """
    half_width, half_height = _half_size(canvas, pose)
    across = (_BENT_SIDE if pose.bend else _FLAT_SIDE) * (half_width + _INK_MARGIN)
    down = np.full_like(across, half_height + _INK_MARGIN)
    x = np.concatenate([across, across[::-1]])
    y = np.concatenate([-down, down])
    if pose.bend:
        radius = 2 * half_width / pose.bend
        x, y = (radius - y) * np.sin(x / radius), radius - (radius - y) * np.cos(x / radius)
    points = np.stack([x, y, np.ones_like(x)]).T @ _view(canvas, pose).T
    return points[:, :2] / points[:, 2:]


def rasterise(
    canvas: Canvas, pose: Pose, origin: tuple[float, float], size: tuple[int, int]
) -> np.ndarray:
    """The coverage of a patch by a word.

    Args:
        canvas: the flat word.
        pose: of the word.
        origin: (x, y) in the patch of the plane's origin, continuous.
        size: (height, width) of the patch.

    Returns:
        (height, width) uint8 coverage.
    """
    view = _translation(*origin) @ _view(canvas, pose)
    if pose.bend:
        return _remap_bent(canvas, pose, view, size)
    # OpenCV's origin is the center of the first pixel, ours its corner.
    matrix = _translation(-0.5, -0.5) @ view @ _to_plane(canvas, pose) @ _translation(0.5, 0.5)
    return cv2.warpPerspective(canvas.mask, matrix, size[::-1], flags=cv2.INTER_LINEAR)


def _remap_bent(canvas: Canvas, pose: Pose, view: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    x = np.arange(size[1], dtype=np.float32)[None] + 0.5
    y = np.arange(size[0], dtype=np.float32)[:, None] + 0.5
    back = np.linalg.inv(view).astype(np.float32)
    depth = back[2, 0] * x + back[2, 1] * y + back[2, 2]
    plane_x = (back[0, 0] * x + back[0, 1] * y + back[0, 2]) / depth
    plane_y = (back[1, 0] * x + back[1, 1] * y + back[1, 2]) / depth
    radius = np.float32(2 * _half_size(canvas, pose)[0] / pose.bend)
    sign = np.sign(radius)
    plane_y = radius - plane_y
    flat_y = radius - sign * np.hypot(plane_x, plane_y)
    flat_x = radius * np.arctan2(sign * plane_x, sign * plane_y)
    flat_x /= np.float32(pose.scale * pose.stretch)
    flat_y /= np.float32(pose.scale)
    flat_x += np.float32(_BORDER + canvas.ink[0] / 2 - 0.5)
    flat_y += np.float32(_BORDER + canvas.ink[1] / 2 - 0.5)
    return cv2.remap(canvas.mask, flat_x, flat_y, cv2.INTER_LINEAR)


def _half_size(canvas: Canvas, pose: Pose) -> tuple[float, float]:
    width, height = canvas.ink
    return width * pose.scale * pose.stretch / 2, height * pose.scale / 2


def _translation(x: float, y: float) -> np.ndarray:
    return np.array([[1, 0, x], [0, 1, y], [0, 0, 1]], np.float64)


def _to_plane(canvas: Canvas, pose: Pose) -> np.ndarray:
    center_x = _BORDER + canvas.ink[0] / 2
    center_y = _BORDER + canvas.ink[1] / 2
    sx, sy = pose.scale * pose.stretch, pose.scale
    return np.array([[sx, 0, -sx * center_x], [0, sy, -sy * center_y], [0, 0, 1]], np.float64)


def _view(canvas: Canvas, pose: Pose) -> np.ndarray:
    """Homography from the word's plane to the image: tilt, perspective, then rotation."""
    sin_a, sin_b, sin_c = map(math.sin, (*pose.tilt, pose.rotation))
    cos_a, cos_b, cos_c = map(math.cos, (*pose.tilt, pose.rotation))
    focal = _FOCAL_LENGTH * 2 * max(_half_size(canvas, pose))
    tilted = np.array(
        [
            [cos_b, sin_a * sin_b, 0],
            [0, cos_a, 0],
            [-sin_b / focal, sin_a * cos_b / focal, 1],
        ]
    )
    turn = np.array([[cos_c, -sin_c, 0], [sin_c, cos_c, 0], [0, 0, 1]])
    return turn @ tilted
