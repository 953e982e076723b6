"""Fonts and photographs made for tests of the street scenes."""

from __future__ import annotations

from pathlib import Path

import cv2
import matplotlib
import numpy as np
from fontTools import subset
from fontTools.ttLib import TTFont

DEJAVU = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"


def write_font(path: Path, characters: str, name: str, mapped: dict[str, str] | None = None) -> str:
    """Write a font that has the glyphs of some characters alone.

    Args:
        path: of the font file.
        characters: all that it shows.
        name: of its family.
        mapped: further characters, and the character whose glyph they get; "" for the sign that
            stands for missing characters.
    """
    font = TTFont(DEJAVU)
    options = subset.Options(notdef_outline=True, name_IDs=["*"], glyph_names=True)
    options.drop_tables += ["FFTM"]  # would be dropped with a warning
    cutter = subset.Subsetter(options)
    cutter.populate(text=characters)
    cutter.subset(font)
    for record in font["name"].names:
        if record.nameID in (1, 16):
            record.string = name
    for table in font["cmap"].tables:
        for character, glyph in (mapped or {}).items():
            if table.isUnicode():
                table.cmap[ord(character)] = table.cmap[ord(glyph)] if glyph else ".notdef"
    font.save(path)
    return str(path)


def write_photo(path: Path, size: tuple[int, int], seed: int) -> None:
    """Write a smooth image of (height, width) pixels."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    data = cv2.imencode(path.suffix, cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC))
    path.write_bytes(data[1].tobytes())
