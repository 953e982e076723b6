"""Fonts for drawing texts of any script, with spelled code points where no font has a glyph."""

from __future__ import annotations

import importlib.util
import os
import sys
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from PIL import ImageFont

DEFAULT_FONT = "DejaVuSans"
# No font maps this code point, so its glyph is the font's "missing" sign.
_UNMAPPED = "\U0010fffe"
_SYSTEM_FOLDERS = {
    "darwin": ("/Library/Fonts", "/System/Library/Fonts", "~/Library/Fonts"),
    "win32": ("C:/Windows/Fonts", "~/AppData/Local/Microsoft/Windows/Fonts"),
}
_UNIX_FOLDERS = ("/usr/share/fonts", "/usr/local/share/fonts", "~/.local/share/fonts", "~/.fonts")


def font_for(text: str, size: int) -> tuple[ImageFont.FreeTypeFont, str]:
    """A font that has glyphs for a text.

    DejaVu Sans (Latin, Greek, Cyrillic, Arabic and more) is tried first, then the fonts installed
    on the system, in the order of their paths. A text that no single font covers is drawn in DejaVu
    with every missing character spelled as its code point, such as `[U+6F22]`.

    Args:
        text: any string; control characters and lone surrogates are spelled too.
        size: font size in pixels.

    Returns:
        The font and the text to draw with it.

    Raises:
        FileNotFoundError: if DejaVu Sans, which comes with matplotlib, is missing.
    """
    shown = frozenset(character for character in text if character != " ")
    path = _covering_font(shown)
    if path is not None:
        return _load(path, size), text
    default = shipped_font(DEFAULT_FONT)
    spelled = "".join(
        character
        if character not in shown or _covers(default, character)
        else f"[U+{ord(character):04X}]"
        for character in text
    )
    return _load(default, size), spelled


@lru_cache
def shipped_font(name: str) -> str:
    """Path of a font that comes with matplotlib, such as "DejaVuSans".

    Raises:
        FileNotFoundError: if it is missing.
    """
    # Found without an import: matplotlib is needed for its font files alone.
    spec = importlib.util.find_spec("matplotlib")
    folders = (spec.submodule_search_locations if spec else None) or []
    for folder in folders:
        path = Path(folder) / "mpl-data" / "fonts" / "ttf" / f"{name}.ttf"
        if path.is_file():
            return str(path)
    raise FileNotFoundError(f"{name}.ttf is missing: reinstall matplotlib, which ships it")


@lru_cache(maxsize=1024)
def _covering_font(characters: frozenset[str]) -> str | None:
    """The first font that has glyphs for all characters."""
    for path in _candidates():
        if all(_covers(path, character) for character in characters):
            return path
    return None


def _candidates() -> Iterator[str]:
    yield shipped_font(DEFAULT_FONT)
    yield from _system_fonts()


@lru_cache(maxsize=1)
def _system_fonts() -> tuple[str, ...]:
    found = []
    for folder in _SYSTEM_FOLDERS.get(sys.platform, _UNIX_FOLDERS):
        for parent, _, names in os.walk(os.path.expanduser(folder)):
            fonts = [name for name in names if name.lower().endswith((".ttf", ".otf", ".ttc"))]
            found += [os.path.join(parent, name) for name in fonts]
    return tuple(sorted(found))


@lru_cache(maxsize=8192)
def _covers(path: str, character: str) -> bool:
    if unicodedata.category(character) in ("Cc", "Cs", "Cn"):
        return False
    try:
        # Complex layout adds a base glyph to a lone combining mark; basic layout draws it alone.
        font = ImageFont.truetype(path, 24, layout_engine=ImageFont.Layout.BASIC)
        return _glyph(font, character) != _glyph(font, _UNMAPPED)
    except OSError:
        return False


def _glyph(font: ImageFont.FreeTypeFont, character: str) -> tuple[tuple[int, int], bytes]:
    mask = font.getmask(character)
    return mask.size, bytes(mask)


@lru_cache(maxsize=64)
def _load(path: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, size)
