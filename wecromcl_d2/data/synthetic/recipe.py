"""Recipe of a synthetic dataset, and the numbers behind its difficulty."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

SPLITS = ("train", "val", "test")
FAMILIES = ("words", "scenes")
DIFFICULTIES = {"clean": 0.0, "easy": 0.25, "medium": 0.5, "hard": 0.75, "nasty": 1.0}

# Options of recipes that came after the first rendered folders.
LATER = ("vocabulary_split", "characters", "fonts", "line_words")

_MIN_SIDE = 16
_MIN_FONT_HEIGHT = 6


def parse_difficulty(value: str | float) -> float:
    """The number of a difficulty given by name or number.

    Args:
        value: one of `DIFFICULTIES`, or a number in [0, 1] (also as a string).

    Returns:
        The difficulty in [0, 1].

    Raises:
        ValueError: for an unknown name or a number outside [0, 1].
    """
    if isinstance(value, str) and value.lower() in DIFFICULTIES:
        return DIFFICULTIES[value.lower()]
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not 0.0 <= number <= 1.0:
        names = ", ".join(DIFFICULTIES)
        raise ValueError(f"difficulty {value!r} is unknown: use {names} or a number from 0 to 1")
    return number


@dataclass(frozen=True)
class SceneRecipe:
    """Everything that the images of a synthetic dataset depend on, apart from their index.

    Attributes:
        family: "words" (one word on a small canvas) or "scenes" (several words).
        size: (height, width) in pixels; with `max_size`, the smallest one.
        max_size: largest (height, width); sides are drawn for each image. None: all are `size`.
        difficulty: from 0 (clean) to 1 (nasty), see `DIFFICULTIES`.
        num_words: fewest and most words of an image. None: (2, 8) for scenes, (1, 1) for words.
        font_heights: smallest and largest font size (its em) in pixels, before perspective. None:
            (18, 34) for scenes, half to 0.85 of the image's height for words. Words that do not
            fit are drawn smaller.
        word_lengths: fewest and most characters of a word.
        split: "train", "val" or "test"; no image is in two of them.
        seed: images of different seeds are unrelated.
        vocabulary_size: number of distinct words to draw from. None: no limit.
        vocabulary_split: split whose words are drawn, so that datasets of several splits may share
            a closed vocabulary. None: the split itself, so that no word is in two splits.
        characters: what words of another script are drawn from. None: a-z and 0-9.
        fonts: folder of the fonts of that script, which are shaped; those of its files are used
            that have all `characters`. None: the fonts that come with matplotlib, without shaping.
        line_words: fewest and most words of a line, where each transcription is a line of words
            with blanks between them. None: each is one word.

    Raises:
        ValueError: for a value out of its range.
    """

    family: str = "scenes"
    size: tuple[int, int] = (160, 160)
    max_size: tuple[int, int] | None = None
    difficulty: float = 0.5
    num_words: tuple[int, int] | None = None
    font_heights: tuple[int, int] | None = None
    word_lengths: tuple[int, int] = (3, 8)
    split: str = "train"
    seed: int = 0
    vocabulary_size: int | None = None
    vocabulary_split: str | None = None
    characters: str | None = None
    fonts: str | None = None
    line_words: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        for name in ("size", "max_size", "num_words", "font_heights", "word_lengths", "line_words"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, int_pair(name, value))
        if self.family not in FAMILIES:
            raise ValueError(f"family {self.family!r} is unknown: use one of {FAMILIES}")
        for name in ("split", "vocabulary_split"):
            value = getattr(self, name)
            if value not in SPLITS and (name, value) != ("vocabulary_split", None):
                raise ValueError(f"{name} {value!r} is unknown: use one of {SPLITS}")
        object.__setattr__(self, "difficulty", parse_difficulty(self.difficulty))
        if self.seed < 0:
            raise ValueError(f"seed {self.seed} is negative: use 0 or more")
        if (self.characters is None) != (self.fonts is None):
            raise ValueError("'characters' and 'fonts' belong together: give both or neither")
        if self.vocabulary_size is not None and self.vocabulary_size < 1:
            raise ValueError(
                f"vocabulary_size {self.vocabulary_size} leaves no word: use None or at least 1"
            )
        self._check_ranges()

    def _check_ranges(self) -> None:
        if min(self.size) < _MIN_SIDE:
            raise ValueError(f"size {self.size} is too small: both sides need {_MIN_SIDE} pixels")
        if self.max_size is not None and (
            self.max_size[0] < self.size[0] or self.max_size[1] < self.size[1]
        ):
            raise ValueError(f"max_size {self.max_size} is below size {self.size}: enlarge it")
        check_ascending("num_words", self.num_words, 1)
        check_ascending("font_heights", self.font_heights, _MIN_FONT_HEIGHT)
        check_ascending("word_lengths", self.word_lengths, 1)
        check_ascending("line_words", self.line_words, 1)
        if self.family == "words" and self.num_words not in (None, (1, 1)):
            raise ValueError(
                f"num_words {self.num_words} in the words family, whose images have one word: "
                "leave it None or use family 'scenes'"
            )

    @property
    def word_count(self) -> tuple[int, int]:
        """Fewest and most words of an image, defaults filled in."""
        return self.num_words or ((1, 1) if self.family == "words" else (2, 8))

    def font_range(self, height: int) -> tuple[float, float]:
        """Smallest and largest font size in pixels for an image of this height."""
        if self.font_heights is not None:
            return self.font_heights
        return (18, 34) if self.family == "scenes" else (0.5 * height, 0.85 * height)

    def to_dict(self) -> dict[str, object]:
        """The recipe as JSON types; equal recipes give equal dictionaries.

        Options of `LATER` that are None are left out: the dictionary identifies rendered folders,
        and those rendered before the options existed stay valid.
        """
        return {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in asdict(self).items()
            if not (key in LATER and value is None)
        }


def int_pair(name: str, value: object) -> tuple[int, int]:
    """Two whole numbers, or a `ValueError` that names the value."""
    if (
        not isinstance(value, (tuple, list))
        or len(value) != 2
        or not all(isinstance(v, (int, np.integer)) for v in value)
    ):
        raise ValueError(f"{name} is {value!r}: give two whole numbers")
    return int(value[0]), int(value[1])


def check_ascending(name: str, pair: tuple[int, int] | None, least: int) -> None:
    """Raise a `ValueError` unless a pair is a range of numbers of at least `least`."""
    if pair is not None and not least <= pair[0] <= pair[1]:
        raise ValueError(f"{name} {pair} is no range: give (low, high) with {least} <= low <= high")


# Rows: values of a limit of `Style` at clean, easy, medium, hard and nasty, interpolated between.
_KNOTS = (0.0, 0.25, 0.5, 0.75, 1.0)
_TABLE = {
    "rotation": (0, 6, 15, 28, 45),
    "tilt": (0, 10, 22, 34, 46),
    "bend_chance": (0, 0.1, 0.25, 0.35, 0.45),
    "bend": (0, 35, 60, 85, 110),
    "stretch": (0, 0.08, 0.15, 0.22, 0.3),
    "contrast": (140, 110, 85, 60, 42),
    "light_text": (0, 0.3, 0.5, 0.5, 0.5),
    "saturation": (0, 0.4, 0.7, 0.9, 1.0),
    "texture": (0, 20, 42, 64, 84),
    "clutter": (0, 2, 6, 11, 16),
    "plate_chance": (0, 0.15, 0.2, 0.15, 0.1),
    "effect_chance": (0, 0.1, 0.25, 0.35, 0.4),
    "blur": (0, 0.4, 0.7, 1.0, 1.35),
    "noise": (0, 4, 8, 13, 18),
    "jpeg_loss": (5, 15, 35, 55, 75),
}


@dataclass(frozen=True)
class Style:
    """Limits at a difficulty, within which values are drawn for each image or word.

    Attributes:
        rotation: largest rotation in the image plane, degrees.
        tilt: largest rotation of the word's plane out of the image plane, degrees (perspective).
        bend_chance: share of words on a curved baseline.
        bend: largest angle that a curved baseline spans, degrees.
        stretch: largest relative change of a word's width.
        contrast: least difference of luminance (of 255) between word and surroundings.
        light_text: share of words lighter than their surroundings.
        saturation: largest saturation of colours, 0 for grey to 1.
        texture: largest luminance step (of 255) of a background's texture.
        clutter: largest number of shapes without text, per 160x160 pixels.
        plate_chance: share of words on a plate of one colour.
        effect_chance: share of words with an outline, and with a shadow.
        blur: largest standard deviation of the blur, pixels.
        noise: largest amplitude of the noise (of 255).
        jpeg_loss: 100 less the lowest JPEG quality.
    """

    rotation: float
    tilt: float
    bend_chance: float
    bend: float
    stretch: float
    contrast: float
    light_text: float
    saturation: float
    texture: float
    clutter: float
    plate_chance: float
    effect_chance: float
    blur: float
    noise: float
    jpeg_loss: float

    @classmethod
    def of(cls, recipe: SceneRecipe) -> Style:
        """The limits of a recipe; for single words those of geometry are multiplied by 0.4."""
        values = {
            name: float(np.interp(recipe.difficulty, _KNOTS, row)) for name, row in _TABLE.items()
        }
        if recipe.family == "words":
            for name in ("rotation", "tilt", "bend_chance", "bend"):
                values[name] *= 0.4
        return cls(**values)
