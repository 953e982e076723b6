"""Composition of one synthetic image: placement of words, background, ink, blur and noise."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from statistics import NormalDist

import cv2
import numpy as np

from .backgrounds import colour_of_luminance, paint_background
from .recipe import FAMILIES, SPLITS, SceneRecipe, Style
from .vocabulary import Vocabulary, change_case
from .words import (
    FONTS,
    Canvas,
    Pose,
    cached_font_size,
    fonts_of_folder,
    lay_out,
    lay_out_shaped,
    outline,
    rasterise,
)

# Increase whenever equal recipes and indices give other pixels or another ground truth.
RENDERER_VERSION = 2

_GAP = 3  # pixels between two words
_MARGIN = 1  # pixels between a word and the image's border
_CELL = 4  # side in pixels of the cells in which free places are searched
_PAD = 3  # pixels around a word's polygon in its patch: room for outline and shadow
_SHRINK = 0.85
_SMALLEST_FONT = 6.0
_TRIES_REQUIRED = 14
_TRIES_OPTIONAL = 4
_WORDS_REQUIRED = 10  # words tried for one place
_WORDS_OPTIONAL = 2

# Standard normal noise for each value of a uniform byte.
_NORMAL = np.array([NormalDist().inv_cdf((i + 0.5) / 256) for i in range(256)])


@dataclass(frozen=True, eq=False)
class Scene:
    """One rendered image and its ground truth.

    Attributes:
        image: (height, width, 3) uint8 RGB.
        texts: the words as drawn.
        polygons: per word (n, 2) float64 of (x, y) in pixels, continuous, clockwise on the screen
            from the word's own top-left: first half the top side, second half the bottom side
            backwards. n is 4, or 14 on a curved baseline.
        ink: (height, width) uint8 coverage by letters, 255 for complete.
        jpeg_quality: quality of the JPEG file of the image.
    """

    image: np.ndarray
    texts: list[str]
    polygons: list[np.ndarray]
    ink: np.ndarray
    jpeg_quality: int


@dataclass(frozen=True, eq=False)
class _Word:
    text: str
    canvas: Canvas
    pose: Pose
    polygon: np.ndarray  # (n, 2) in the image
    origin: tuple[float, float]  # of the word's plane, in the image


def render(recipe: SceneRecipe, index: int) -> Scene:
    """Render image `index` of a recipe.

    The result does not depend on other images, on processes or on global random state.

    Args:
        recipe: what to render.
        index: 0 or more.

    Raises:
        ValueError: for a negative index.
    """
    if index < 0:
        raise ValueError(f"index {index} is negative: images are counted from 0")
    key = [recipe.seed, SPLITS.index(recipe.split), FAMILIES.index(recipe.family), index]
    rng = np.random.default_rng(key)
    style, _ = _prepare(recipe)
    height, width = _draw_size(rng, recipe)
    words = _place_words(rng, recipe, (height, width))
    image = paint_background(
        rng,
        (height, width),
        bright=rng.random() >= 2 * style.light_text,
        saturation=style.saturation,
        texture=style.texture * rng.uniform(0.4, 1),
        clutter=style.clutter,
    )
    ink = np.zeros((height, width), np.uint8)
    for word in words:
        _draw_word(rng, style, image, ink, word)
    image = _degrade(rng, style, image)
    quality = round(100 - rng.uniform(min(5.0, style.jpeg_loss), style.jpeg_loss))
    return Scene(image, [w.text for w in words], [w.polygon for w in words], ink, quality)


def _draw_size(rng: np.random.Generator, recipe: SceneRecipe) -> tuple[int, int]:
    if recipe.max_size is None:
        return recipe.size
    low, high = recipe.size, recipe.max_size
    return int(rng.integers(low[0], high[0] + 1)), int(rng.integers(low[1], high[1] + 1))


@lru_cache(maxsize=32)
def _prepare(recipe: SceneRecipe) -> tuple[Style, Vocabulary]:
    words_of = recipe.vocabulary_split or recipe.split
    vocabulary = Vocabulary(
        words_of, recipe.word_lengths, recipe.vocabulary_size, recipe.seed, recipe.characters
    )
    return Style.of(recipe), vocabulary


def _place_words(
    rng: np.random.Generator, recipe: SceneRecipe, size: tuple[int, int]
) -> list[_Word]:
    style, vocabulary = _prepare(recipe)
    occupied = np.zeros(size, np.uint8)
    fewest, most = recipe.word_count
    words: list[_Word] = []
    used: set[str] = set()
    for _ in range(int(rng.integers(fewest, most + 1))):
        required = len(words) < fewest
        for _ in range(_WORDS_REQUIRED if required else _WORDS_OPTIONAL):
            text = _draw_text(rng, recipe, vocabulary)
            if text in used:
                continue
            word = _place_word(rng, recipe, style, occupied, change_case(rng, text), required)
            if word is not None:
                words.append(word)
                used.add(text)
                break
    return words


def _draw_text(rng: np.random.Generator, recipe: SceneRecipe, vocabulary: Vocabulary) -> str:
    """A word or, where the recipe says so, a line of words."""
    if recipe.line_words is None:
        return vocabulary.draw(rng)
    fewest, most = recipe.line_words
    return " ".join(vocabulary.draw(rng) for _ in range(int(rng.integers(fewest, most + 1))))


def _place_word(
    rng: np.random.Generator,
    recipe: SceneRecipe,
    style: Style,
    occupied: np.ndarray,
    text: str,
    required: bool,
) -> _Word | None:
    """Find a free place for a word, shrinking it until it fits, and mark the place as occupied."""
    low, high = recipe.font_range(occupied.shape[0])
    font_height = rng.uniform(low, high)
    fonts = fonts_of_folder(recipe.fonts, recipe.characters) if recipe.fonts else FONTS
    font = fonts[int(rng.integers(len(fonts)))]
    spacing = max(0.0, rng.uniform(-1, 1)) * style.stretch
    if recipe.fonts:
        canvas = lay_out_shaped(text, font, cached_font_size(font_height))
    else:
        canvas = lay_out(text, font, cached_font_size(font_height), spacing)
    pose = _draw_pose(rng, style, canvas, font_height / canvas.font_size)
    floor = _SMALLEST_FONT if required else max(_SMALLEST_FONT, 0.75 * low)
    taken = _to_cells(occupied)
    for _ in range(_TRIES_REQUIRED if required else _TRIES_OPTIONAL):
        polygon = outline(canvas, pose)
        origin = _find_room(rng, polygon, occupied, taken)
        if origin is not None:
            polygon = polygon + origin
            _fill(occupied, polygon, _GAP)
            return _Word(text, canvas, pose, polygon, (float(origin[0]), float(origin[1])))
        room = (np.array(occupied.shape[::-1]) - 2 * _MARGIN) / np.ptp(polygon, axis=0)
        scale = pose.scale * min(_SHRINK, float(room.min()))
        if scale * canvas.font_size < floor and taken.any():
            return None
        pose = replace(pose, scale=scale)
    return None


def _draw_pose(rng: np.random.Generator, style: Style, canvas: Canvas, scale: float) -> Pose:
    rotation, tilt_x, tilt_y, stretch = rng.uniform(-1, 1, 4).tolist()
    stretch = 1 + stretch * style.stretch
    bend = 0.0
    if rng.random() < style.bend_chance:
        # This limit leaves the inner side of the arc a radius of about half the letters' height.
        tightest = canvas.ink[0] * stretch / canvas.ink[1]
        bend = min(np.deg2rad(style.bend) * rng.uniform(0.4, 1), tightest)
        bend = bend if rng.random() < 0.6 else -bend
    tilt = (np.deg2rad(tilt_x * style.tilt), np.deg2rad(tilt_y * style.tilt))
    return Pose(scale, stretch, bend, tilt, float(np.deg2rad(rotation * style.rotation)))


def _find_room(
    rng: np.random.Generator, polygon: np.ndarray, occupied: np.ndarray, taken: np.ndarray
) -> np.ndarray | None:
    """A random shift (x, y) of the polygon to a free place; None if there is none."""
    start, end = polygon.min(axis=0), polygon.max(axis=0)
    spare = np.array(occupied.shape[::-1]) - 2 * _MARGIN - (end - start)
    if spare.min() < 0:
        return None
    if not taken.any():
        return _MARGIN + rng.random(2) * spare - start
    shift = rng.random(2) * np.minimum(spare, _CELL) + _MARGIN - start
    columns, rows = np.ceil((end + shift + _MARGIN) / _CELL).astype(int).tolist()
    if rows > taken.shape[0] or columns > taken.shape[1]:
        return None
    shape = np.zeros((rows * _CELL, columns * _CELL), np.uint8)
    _fill(shape, polygon + shift, 0)
    overlap = cv2.matchTemplate(taken, _to_cells(shape), cv2.TM_CCORR)
    free = np.flatnonzero(overlap < 0.5)
    if not len(free):
        return None
    row, column = divmod(int(free[int(rng.integers(len(free)))]), overlap.shape[1])
    return shift + np.array([column, row]) * _CELL


def _to_cells(mask: np.ndarray) -> np.ndarray:
    """1.0 for each complete cell in which any pixel of the mask is set, else 0.0."""
    rows, columns = mask.shape[0] // _CELL, mask.shape[1] // _CELL
    whole = mask[: rows * _CELL, : columns * _CELL]
    cells = cv2.resize(whole, (columns, rows), interpolation=cv2.INTER_AREA)
    return (cells > 0).astype(np.float32)


def _fill(mask: np.ndarray, polygon: np.ndarray, grow: int, line: int = cv2.LINE_8) -> None:
    """Fill a polygon of continuous coordinates, grown by `grow` pixels all around."""
    points = [np.round((polygon - 0.5) * 16).astype(np.int32)]
    cv2.fillPoly(mask, points, 255, line, 4)
    cv2.polylines(mask, points, True, 255, 2 * grow + 1, line, 4)


def _draw_word(
    rng: np.random.Generator, style: Style, image: np.ndarray, ink: np.ndarray, word: _Word
) -> None:
    """Blend a word, perhaps with plate, outline and shadow, into the image and the ink mask."""
    left, top = np.maximum(np.floor(word.polygon.min(axis=0)).astype(int) - _PAD, 0).tolist()
    right, bottom = (np.ceil(word.polygon.max(axis=0)).astype(int) + _PAD).tolist()
    patch, ink_patch = image[top:bottom, left:right], ink[top:bottom, left:right]
    size = patch.shape[:2]
    alpha = rasterise(word.canvas, word.pose, (word.origin[0] - left, word.origin[1] - top), size)
    np.maximum(ink_patch, alpha, out=ink_patch)
    plate = np.zeros(size, np.uint8)
    _fill(plate, word.polygon - (left, top), _GAP - 1, cv2.LINE_AA)
    mean, deviation = cv2.meanStdDev(cv2.cvtColor(patch, cv2.COLOR_RGB2GRAY), mask=plate)
    tone = _choose_tone(rng, style, float(mean[0, 0]), float(deviation[0, 0]))
    if tone is None or rng.random() < style.plate_chance:
        ground, tone = _plate_tones(rng, style)
        _blend(patch, plate, colour_of_luminance(rng, ground, style.saturation))
        lighter = tone > ground
    else:
        lighter = tone > mean[0, 0]
    opposite = tone + (-1 if lighter else 1) * rng.uniform(style.contrast, 255)
    for effect in (_outline_effect, _shadow_effect):
        if rng.random() < style.effect_chance:
            colour = colour_of_luminance(rng, opposite, 0.5 * style.saturation)
            _blend(patch, effect(rng, alpha), colour)
    _blend(patch, alpha, colour_of_luminance(rng, tone, style.saturation))


def _choose_tone(
    rng: np.random.Generator, style: Style, mean: float, deviation: float
) -> float | None:
    """A luminance of enough contrast to the surroundings; None if there is none."""
    low, high = mean - 1.5 * deviation, mean + 1.5 * deviation
    darkest, lightest = low - style.contrast, high + style.contrast
    options = [
        rng.uniform(0, darkest) if darkest >= 0 else None,
        rng.uniform(lightest, 255) if lightest <= 255 else None,
    ]
    if rng.random() < style.light_text:
        options.reverse()
    if style.light_text == 0:
        options.pop()
    return next((tone for tone in options if tone is not None), None)


def _plate_tones(rng: np.random.Generator, style: Style) -> tuple[float, float]:
    """Luminances of a plate and of the word on it."""
    if rng.random() < style.light_text:
        ground = rng.uniform(10, min(90, 250 - style.contrast))
        return ground, rng.uniform(ground + style.contrast, 255)
    ground = rng.uniform(max(165, style.contrast + 5), 245)
    return ground, rng.uniform(0, ground - style.contrast)


def _outline_effect(rng: np.random.Generator, alpha: np.ndarray) -> np.ndarray:
    return cv2.dilate(alpha, np.ones((3, 3), np.uint8))


def _shadow_effect(rng: np.random.Generator, alpha: np.ndarray) -> np.ndarray:
    shift = np.array([[1, 0, rng.uniform(0.7, 2)], [0, 1, rng.uniform(0.7, 2)]])
    return cv2.warpAffine(alpha, shift, alpha.shape[::-1])


def _blend(patch: np.ndarray, alpha: np.ndarray, colour: np.ndarray) -> None:
    """Move the pixels of a uint8 patch towards a colour, in place."""
    # Weights of 0 to 128 keep every product within 16 bits. Operations on whole rows are much
    # faster than on pixels of three values.
    height, width = alpha.shape
    weight = ((alpha >> 1) + (alpha >> 7)).astype(np.int16)
    step = np.tile(np.round(colour).astype(np.int16), width) - patch.reshape(height, 3 * width)
    step *= cv2.merge((weight, weight, weight)).reshape(height, 3 * width)
    step += 64
    step >>= 7
    np.add(patch, step.reshape(patch.shape), out=patch, casting="unsafe")


def _degrade(rng: np.random.Generator, style: Style, image: np.ndarray) -> np.ndarray:
    """Blur the image and add noise, like a camera."""
    sigma = rng.uniform(0, style.blur)
    if sigma > 0.3:
        image = cv2.GaussianBlur(image, (5, 5) if sigma < 1 else (7, 7), sigma)
    amplitude = rng.uniform(0, style.noise)
    if amplitude > 0.5:
        grains = np.frombuffer(rng.bytes(image.size), np.uint8).reshape(image.shape)
        lookup = np.round(_NORMAL * amplitude).astype(np.int16)
        image = cv2.add(image, cv2.LUT(grains, lookup), dtype=cv2.CV_8U)
    return image
