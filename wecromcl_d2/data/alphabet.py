"""Characters of a dataset that an alphabet lacks, and an alphabet extended by them."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from ..files import replace_file
from .text import Charset

# Occurrences below which a model will hardly learn a character.
FEW = 10


def outside(characters: Mapping[str, int], charset: Charset) -> Counter[str]:
    """Counts of the folded characters that an alphabet lacks.

    Args:
        characters: how often each character occurs.
        charset: the alphabet; characters are folded if its `case_fold` is set.
    """
    found: Counter[str] = Counter()
    for character, count in characters.items():
        for folded in charset.fold(character):
            if folded not in charset:
                found[folded] += count
    return found


def expanded(characters: Mapping[str, int], charset: Charset) -> dict[str, str]:
    """Characters that folding replaces by several, such as "ß" by "ss", with these."""
    folded = {character: charset.fold(character) for character in sorted(characters)}
    return {character: text for character, text in folded.items() if len(text) > 1}


def extended(charset: Charset, missing: Mapping[str, int]) -> Charset:
    """An alphabet extended by the visible characters that it lacks, in order of code points.

    Args:
        charset: whose characters come first, in their order.
        missing: see `outside`.
    """
    new = "".join(sorted(character for character in missing if is_visible(character)))
    return Charset(charset.characters + new, case_fold=charset.case_fold)


def write_alphabet(path: Path, charset: Charset) -> None:
    """Write a file for MODEL.TEXT_ENCODER.CHARSET, one character per line."""
    with replace_file(path) as stream:
        stream.write("".join(f"{character}\n" for character in charset.characters).encode())


def is_visible(character: str) -> bool:
    """Whether a character is visible or the blank: no control, format or unassigned one."""
    return not unicodedata.category(character).startswith("C")


def letter(character: str) -> str:
    """A character for display: itself, or its name if it is not visible by itself."""
    shows = is_visible(character) and not character.isspace()
    if shows and not unicodedata.combining(character):
        return character
    name = unicodedata.name(character, "")
    return f"U+{ord(character):04X}" + (f" {name.lower()}" if name else "")
