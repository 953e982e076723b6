"""Font files from folders: which can be opened, and which characters each of them really shows."""

from __future__ import annotations

import logging
import string
from collections import defaultdict
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import ImageFont

from ....fonts import shipped_font
from ..words import FONTS
from .recipe import list_files

_SUFFIXES = (".ttf", ".otf", ".ttc")
_PROBE = 24  # font size at which glyphs are compared
_UNMAPPED = "\U0010fffe"  # no font maps this code point, so its glyph is the sign for "missing"
_PRINTABLE = string.ascii_letters + string.digits + string.punctuation
_ALIKE = 3  # letters and digits that may share a glyph: 1, l and I do in some fonts
_TRIES = 40

logger = logging.getLogger(__name__)


class FontPool:
    """The fonts of some folders.

    Args:
        folders: searched with all folders below; empty: the fonts that come with matplotlib.

    Raises:
        NotADirectoryError: for a folder that does not exist.
        ValueError: if no file in the folders is a font that can be opened.
    """

    def __init__(self, folders: tuple[str, ...]) -> None:
        files = [path for folder in folders for path in list_files(folder, _SUFFIXES)]
        if not folders:
            files = [Path(shipped_font(name)) for name in FONTS]
        families: dict[str, list[str]] = defaultdict(list)
        for path in files:
            try:
                family = load_font(str(path), _PROBE).getname()[0] or path.stem
            except (OSError, ValueError) as error:
                logger.warning("%s is no font that can be opened (%s): left out", path, error)
            else:
                families[family].append(str(path))
        if not families:
            raise ValueError(
                f"no usable font in {', '.join(folders)}: name a folder of {', '.join(_SUFFIXES)} "
                "files"
            )
        self._families = [families[name] for name in sorted(families)]
        self._files = [path for paths in self._families for path in paths]

    def __len__(self) -> int:
        return len(self._files)

    def draw(self, rng: np.random.Generator, text: str) -> str | None:
        """The file of a font that shows every character of a text, or None if none was found.

        Half of the time all files are equally likely, else all families, so that neither large
        families nor odd fonts prevail.
        """
        for _ in range(_TRIES):
            files = self._files
            if rng.random() < 0.5:
                files = self._families[int(rng.integers(len(self._families)))]
            path = files[int(rng.integers(len(files)))]
            if covers(path, text):
                return path
        return next((path for path in self._files if covers(path, text)), None)

    def characters(self, wanted: frozenset[str]) -> frozenset[str]:
        """Those of the wanted characters that at least one font shows."""
        missing = set(wanted)
        for path in self._files:
            if not missing:
                break
            missing -= {character for character in missing if covers(path, character)}
        return wanted - missing


@lru_cache(maxsize=32)
def load_font(path: str, size: int) -> ImageFont.FreeTypeFont:
    """A font at a size in pixels, without shaping, so that a character has one glyph."""
    return ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)


def covers(path: str, text: str) -> bool:
    """Whether a font has a glyph of its own for every character of a text."""
    printable, others = _printable_glyphs(path), set(text) - set(_PRINTABLE)
    return printable.issuperset(set(text) - others) and all(_has_glyph(path, c) for c in others)


@lru_cache(maxsize=8192)
def _printable_glyphs(path: str) -> frozenset[str]:
    """The printable ASCII characters that a font shows.

    A font that lacks a character may map it all the same, to nothing or to a box; many letters and
    digits that look alike to the pixel are such boxes.
    """
    try:
        font = load_font(path, _PROBE)
        pictures = {character: _picture(font, character) for character in _PRINTABLE}
        missing = _picture(font, _UNMAPPED)
    except OSError:
        return frozenset()
    alike: dict[tuple[tuple[int, int], bytes] | None, set[str]] = defaultdict(set)
    for character, picture in pictures.items():
        if character.isalnum():
            alike[picture].add(character.lower())
    return frozenset(
        character
        for character, picture in pictures.items()
        if picture not in (None, missing) and len(alike[picture]) <= _ALIKE
    )


@lru_cache(maxsize=8192)
def _has_glyph(path: str, character: str) -> bool:
    try:
        font = load_font(path, _PROBE)
        return _picture(font, character) not in (None, _picture(font, _UNMAPPED))
    except OSError:
        return False


def _picture(font: ImageFont.FreeTypeFont, character: str) -> tuple[tuple[int, int], bytes] | None:
    """A glyph's size and pixels, or None if it leaves no ink."""
    mask = font.getmask(character)
    return (mask.size, bytes(mask)) if mask.getbbox() is not None else None
