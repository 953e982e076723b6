"""Images with one difficulty each: rotated, tiny, faint, crowded or stacked words.

Everything else in them is easy, so that a score measures a model on this difficulty alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from .backgrounds import LUMINANCE_WEIGHTS, colour_of_luminance, paint_background
from .vocabulary import Vocabulary, change_case
from .words import FONTS, Canvas, Pose, cached_font_size, lay_out, outline, rasterise

_MARGIN = 3  # pixels between a word and the border
_GAP = 5  # pixels between the boxes of two words
_TRIES = 200
_BLUR = 0.4  # standard deviations of blur and noise, in pixels and steps of 255
_NOISE = 3.0
_DARK_INK = (10.0, 60.0)  # luminances
_FAINT = (14.0, 28.0)  # differences of luminance


@dataclass(frozen=True, eq=False)
class StressCase:
    """One image and its ground truth.

    Attributes:
        image: (height, width, 3) uint8 RGB.
        texts: the words as drawn.
        polygons: per word (4, 2) float64 of (x, y), clockwise on the screen from the word's own
            top-left.
    """

    image: np.ndarray
    texts: list[str]
    polygons: list[np.ndarray]


@dataclass(frozen=True, eq=False)
class _Piece:
    """A flat text, and the offset of its center from the origin of its word."""

    canvas: Canvas
    pose: Pose
    offset: tuple[float, float] = (0.0, 0.0)


class _Page:
    """An image on which words are placed with a distance between them."""

    def __init__(self, rng: np.random.Generator, size: tuple[int, int]) -> None:
        self.rng, self.size = rng, size
        self.texts: list[str] = []
        self.polygons: list[np.ndarray] = []
        self.inked: list[tuple[_Piece, np.ndarray]] = []

    def word(self, shortest: int, longest: int, fixed_case: bool = False) -> str:
        """A random word that is not on the page yet."""
        vocabulary = Vocabulary("test", (shortest, longest))
        used = {text.lower() for text in self.texts}
        text = next(t for t in iter(lambda: vocabulary.draw(self.rng), "") if t not in used)
        return text if fixed_case else change_case(self.rng, text)

    def font(self) -> str:
        """A random font."""
        return FONTS[int(self.rng.integers(len(FONTS)))]

    def write(self, text: str, height: float, degrees: float = 0.0) -> None:
        """Place a word where there is room; it is left out if there is none.

        Args:
            text: the word.
            height: font size in pixels; reduced if the word would not fit the page.
            degrees: rotation, clockwise on the screen.
        """
        piece = _lay(text, self.font(), height, math.radians(degrees))
        room = np.array(self.size[::-1]) - 2 * _MARGIN
        fit = float((room / np.ptp(outline(piece.canvas, piece.pose), axis=0)).min())
        if fit < 1:
            smaller = replace(piece.pose, scale=0.98 * fit * piece.pose.scale)
            piece = replace(piece, pose=smaller)
        self.put(text, [piece], outline(piece.canvas, piece.pose))

    def stack(self, text: str, height: float) -> None:
        """Place a word where there is room, with upright letters below each other."""
        font, pitch = self.font(), 1.05 * height
        pieces = [
            replace(_lay(letter, font, height), offset=(0.0, pitch * number))
            for number, letter in enumerate(text)
        ]
        corners = np.concatenate([outline(p.canvas, p.pose) + p.offset for p in pieces])
        (left, top), (right, bottom) = corners.min(axis=0), corners.max(axis=0)
        # The word is read downwards, so its own top-left is the top-right of the box.
        box = np.array([[right, top], [right, bottom], [left, bottom], [left, top]])
        self.put(text, pieces, box)

    def put(self, text: str, pieces: Sequence[_Piece], polygon: np.ndarray) -> None:
        """Place all pieces of a word where there is room."""
        low, high = polygon.min(axis=0), polygon.max(axis=0)
        spare = np.array(self.size[::-1]) - 2 * _MARGIN - (high - low)
        if spare.min() < 0:
            return
        for _ in range(_TRIES):
            place = _MARGIN + self.rng.random(2) * spare - low
            if self.is_free(polygon + place):
                self.add(text, pieces, polygon, place)
                return

    def is_free(self, polygon: np.ndarray) -> bool:
        """Whether the bounding box of a polygon has a distance of `_GAP` to those of all words."""
        low, high = polygon.min(axis=0) - _GAP, polygon.max(axis=0) + _GAP
        return not any(
            (p.min(axis=0) < high).all() and (p.max(axis=0) > low).all() for p in self.polygons
        )

    def add(
        self, text: str, pieces: Sequence[_Piece], polygon: np.ndarray, place: np.ndarray
    ) -> None:
        """Place pieces with the origin of their word at `place` (x, y)."""
        self.texts.append(text)
        self.polygons.append(polygon + place)
        self.inked += [(piece, place + piece.offset) for piece in pieces]

    def paint(self, contrast: tuple[float, float] | None = None, rough: bool = False) -> StressCase:
        """Draw background and words.

        Args:
            contrast: least and greatest difference of luminance; None for dark ink on a light
                background.
            rough: whether the background has texture and shapes.
        """
        rng = self.rng
        image = paint_background(
            rng,
            self.size,
            bright=not rough or rng.random() < 0.5,
            saturation=0.5,
            texture=70.0 if rough else 6.0,
            clutter=12.0 if rough else 0.0,
        ).astype(np.float32)
        for piece, center in self.inked:
            alpha = rasterise(piece.canvas, piece.pose, tuple(center.tolist()), self.size) / 255.0
            weight = alpha[..., None].astype(np.float32)
            if contrast is None:
                tone = rng.uniform(*_DARK_INK)
            else:
                ground = (image @ LUMINANCE_WEIGHTS)[alpha > 0.5]
                tone = float(ground.mean()) - rng.uniform(*contrast)
            image += weight * (colour_of_luminance(rng, tone, 0.3) - image)
        blurred = cv2.GaussianBlur(image, (3, 3), _BLUR)
        grainy = blurred + rng.normal(0, _NOISE, image.shape)
        pixels = np.clip(np.round(grainy), 0, 255).astype(np.uint8)
        return StressCase(pixels, self.texts, self.polygons)


def _lay(text: str, font: str, height: float, rotation: float = 0.0) -> _Piece:
    canvas = lay_out(text, font, cached_font_size(height))
    return _Piece(canvas, Pose(height / canvas.font_size, rotation=rotation))


def _plain(page: _Page) -> StressCase:
    for _ in range(4):
        page.write(page.word(3, 7), page.rng.uniform(22, 30))
    return page.paint()


def _turned(least: float, most: float) -> Callable[[_Page], StressCase]:
    def render(page: _Page) -> StressCase:
        for _ in range(3):
            sign = 1 if page.rng.random() < 0.5 else -1
            degrees = sign * page.rng.uniform(least, most)
            page.write(page.word(3, 6), page.rng.uniform(22, 28), degrees)
        return page.paint()

    return render


def _tiny(page: _Page) -> StressCase:
    for _ in range(6):
        page.write(page.word(3, 7), page.rng.uniform(8, 11))
    return page.paint()


def _huge(page: _Page) -> StressCase:
    page.write(page.word(3, 4), page.rng.uniform(90, 130))
    return page.paint()


def _low_contrast(page: _Page) -> StressCase:
    for _ in range(4):
        page.write(page.word(3, 7), page.rng.uniform(22, 30))
    return page.paint(contrast=_FAINT)


def _repeated(page: _Page) -> StressCase:
    text = page.word(3, 6)
    for _ in range(4):
        page.write(text, page.rng.uniform(20, 28))
    return page.paint()


def _adjacent(page: _Page) -> StressCase:
    """Lines of a text: a third of an em between words, and a quarter between lines."""
    rng, font = page.rng, page.font()
    height = rng.uniform(17, 21)
    y = rng.uniform(1, 2) * height
    for _ in range(4):
        x = rng.uniform(0.3, 2) * height
        for _ in range(4):
            text = page.word(2, 6, fixed_case=True).upper()
            piece = _lay(text, font, height)
            polygon = outline(piece.canvas, piece.pose)
            width = float(np.ptp(polygon[:, 0]))
            if x + width + _MARGIN > page.size[1]:
                break
            page.add(text, [piece], polygon, np.array([x + width / 2, y]))
            x += width + height / 3
        y += height
    return page.paint()


def _vertical(page: _Page) -> StressCase:
    for _ in range(4):
        page.stack(page.word(3, 6), page.rng.uniform(20, 26))
    return page.paint()


def _long(page: _Page) -> StressCase:
    for _ in range(3):
        page.write(page.word(14, 18), page.rng.uniform(20, 24))
    return page.paint()


def _empty(page: _Page) -> StressCase:
    return page.paint(rough=True)


# For each kind its difficulty and the function that renders it.
STRESS_KINDS: dict[str, tuple[str, Callable[[_Page], StressCase]]] = {
    "plain": ("nothing: dark upright words of 22 to 30 pixels, to compare with", _plain),
    "turned_30": ("words turned by up to 30 degrees", _turned(0, 30)),
    "turned_60": ("words turned by 30 to 60 degrees", _turned(30, 60)),
    "turned_90": ("words turned by 60 to 90 degrees", _turned(60, 90)),
    "turned_180": ("words turned by 90 to 180 degrees, so upside down", _turned(90, 180)),
    "tiny": ("words of 8 to 11 pixels", _tiny),
    "huge": ("words of up to 130 pixels that fill the image", _huge),
    "low_contrast": ("ink 14 to 28 of 255 steps darker than the ground", _low_contrast),
    "repeated": ("the same word several times", _repeated),
    "adjacent": ("lines of words with little space between them", _adjacent),
    "vertical": ("upright letters below each other", _vertical),
    "long": ("words of 14 to 18 characters", _long),
    "empty": ("no word, but texture and shapes", _empty),
}


def render_stress(
    kind: str, index: int, *, seed: int = 0, size: tuple[int, int] = (256, 256)
) -> StressCase:
    """Render an image of a kind, with words of the test split.

    The result depends on the arguments alone.

    Args:
        kind: one of `STRESS_KINDS`.
        index: 0 or more.
        seed: images of different seeds are unrelated.
        size: (height, width) in pixels, 96 or more.

    Raises:
        ValueError: for an unknown kind or a number out of range.
    """
    if kind not in STRESS_KINDS:
        raise ValueError(f"kind {kind!r} is unknown: use one of {', '.join(STRESS_KINDS)}")
    if index < 0 or seed < 0 or min(size) < 96:
        raise ValueError(
            f"index {index}, seed {seed}, size {size}: use 0 or more, and sides of 96 or more"
        )
    rng = np.random.default_rng([seed, index, list(STRESS_KINDS).index(kind)])
    return STRESS_KINDS[kind][1](_Page(rng, size))
