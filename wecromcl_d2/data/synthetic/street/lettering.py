"""Set lines of words flat: one mask for a whole block of text, with a box around each word.

Canvas frame: pixels of the flat block, continuous, x to the right and y down.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import cv2
import numpy as np
from PIL import Image, ImageDraw

from .fonts import load_font

_PAD = 0.35  # empty canvas around the ink, in ems of the largest line


@dataclass(frozen=True)
class Line:
    """One line of a block.

    Attributes:
        texts: words from left to right.
        font: font file that shows them all.
        em: font size in canvas pixels.
    """

    texts: tuple[str, ...]
    font: str
    em: int


@dataclass(frozen=True)
class Setting:
    """How the lines of a block are set; lengths in ems of each line.

    Attributes:
        tracking: extra space between letters.
        word_gap: space between words, on top of the tracking.
        leading: least space between the ink of two lines; below 0, boxes may touch.
        align: 0 flush left, 0.5 centred, 1 flush right.
        stacked: letters stand upright below each other (lines of one word).
        weight: widens strokes by this much on either side, in ems of the smallest line.
    """

    tracking: float = 0.0
    word_gap: float = 0.3
    leading: float = 0.3
    align: float = 0.5
    stacked: bool = False
    weight: float = 0.0


@dataclass(frozen=True, eq=False)
class Lettering:
    """A flat block of text.

    Attributes:
        size: (height, width) of the canvas.
        texts: the n words, line by line.
        boxes: (n, 4) float64 of (x0, y0, x1, y1) around each word, from its metrics.
        em: the largest line's font size in pixels.
        glyphs: what to draw: letters or words, pen position (x, y) on the baseline, and line.
        weight: strokes are wider than the fonts have them by this many pixels on either side.
    """

    size: tuple[int, int]
    texts: tuple[str, ...]
    boxes: np.ndarray
    em: int
    glyphs: tuple[tuple[str, float, float, Line], ...]
    weight: float = 0.0

    @cached_property
    def mask(self) -> np.ndarray:
        """(height, width) uint8, 255 where ink covers the pixel."""
        image = Image.new("L", self.size[::-1])
        draw = ImageDraw.Draw(image)
        for text, x, y, line in self.glyphs:
            draw.text((x, y), text, 255, load_font(line.font, line.em), anchor="ls")
        return _widened(np.asarray(image), self.weight)

    def ink_boxes(self) -> np.ndarray:
        """The boxes, (n, 4), without the air that fonts leave beside letters."""
        boxes = self.boxes.copy()
        for box, (x0, y0, x1, y1) in zip(boxes, self.boxes.astype(int).tolist(), strict=True):
            columns = np.flatnonzero(self.mask[y0:y1, x0:x1].any(axis=0))
            if len(columns):
                box[0], box[2] = x0 + columns[0], x0 + columns[-1] + 1
        return boxes

    def padded(self, left: int, top: int, right: int, bottom: int) -> Lettering:
        """The block with this many more, or fewer, pixels of canvas on each side."""
        return replace(
            self,
            size=(self.size[0] + top + bottom, self.size[1] + left + right),
            boxes=self.boxes + np.array([left, top, left, top]),
            glyphs=tuple((text, x + left, y + top, line) for text, x, y, line in self.glyphs),
        )


def _widened(mask: np.ndarray, pixels: float) -> np.ndarray:
    """The mask with its strokes widened on either side."""
    if not pixels:
        return mask
    whole, part = int(pixels), pixels % 1
    wide, wider = (
        cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1,) * 2))
        for reach in (whole, whole + 1)
    )
    return cv2.addWeighted(wide, 1 - part, wider, part, 0)


# A glyph or word to draw at a pen position, and its ink box relative to that position.
_Item = tuple[str, float, float, tuple[float, float, float, float]]


def set_block(lines: tuple[Line, ...], setting: Setting) -> Lettering:
    """Draw lines of words below each other.

    Args:
        lines: at least one, each of at least one word.
        setting: spaces and alignment.
    """
    rows = [_stack(line) if setting.stacked else _set_line(line, setting) for line in lines]
    extents = [_extent([item for word in row for item in word]) for row in rows]
    widest = max(x1 - x0 for x0, _, x1, _ in extents)
    em = max(line.em for line in lines)
    pad = max(3, round(_PAD * em))
    top, boxes, drawn = float(pad), [], []
    for line, row, (x0, y0, x1, y1) in zip(lines, rows, extents, strict=True):
        left = round(pad + setting.align * (widest - (x1 - x0)) - x0)
        base = round(top - y0)
        for word in row:
            boxes.append(np.array(_extent(word)) + np.array([left, base, left, base]))
            drawn += [(text, left + x, base + y, line) for text, x, y, _ in word]
        top = base + y1 + max(2.0, setting.leading * line.em)
    height = round(max(box[3] for box in boxes)) + pad
    texts = tuple(text for line in lines for text in line.texts)
    size = (height, round(widest) + 2 * pad)
    weight = setting.weight * min(line.em for line in lines)
    grown = np.stack(boxes) + weight * np.array([-1, -1, 1, 1])
    return Lettering(size, texts, grown, em, tuple(drawn), weight)


def _set_line(line: Line, setting: Setting) -> list[list[_Item]]:
    font, words, pen = load_font(line.font, line.em), [], 0.0
    for text in line.texts:
        word: list[_Item] = []
        for piece in text if setting.tracking else (text,):
            x = float(round(pen))
            word.append((piece, x, 0.0, font.getbbox(piece, anchor="ls")))
            pen += font.getlength(piece) + setting.tracking * line.em
        words.append(word)
        # The next word starts behind this one's ink, wherever its advance ends.
        pen = _extent(word)[2] + (setting.word_gap + max(0.0, setting.tracking)) * line.em
        pen += max(0.0, -font.getbbox(text, anchor="ls")[0])
    return words


def _stack(line: Line) -> list[list[_Item]]:
    """One word whose letters stand below each other, on a common middle axis."""
    font, top, word = load_font(line.font, line.em), 0.0, []
    for letter in line.texts[0]:
        box = font.getbbox(letter, anchor="ls")
        x, y = round(-(box[0] + box[2]) / 2), round(top - box[1])
        word.append((letter, float(x), float(y), box))
        top = y + box[3] + 0.12 * line.em
    return [word]


def _extent(items: list[_Item]) -> tuple[float, float, float, float]:
    """The box around the ink of items."""
    return (
        min(x + box[0] for _, x, _, box in items),
        min(y + box[1] for _, _, y, box in items),
        max(x + box[2] for _, x, _, box in items),
        max(y + box[3] for _, _, y, box in items),
    )
