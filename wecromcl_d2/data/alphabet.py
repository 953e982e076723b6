"""What an alphabet makes of the characters of a dataset, and an alphabet that has all of them."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from ..files import replace_file
from .text import Charset

# A character that is seen less often will hardly be learned.
FEW = 10


def outside(characters: Mapping[str, int], charset: Charset) -> Counter[str]:
    """How often each folded character occurs that an alphabet lacks.

    Args:
        characters: how often each character occurs.
        charset: the alphabet; its `case_fold` says whether they are folded.
    """
    found: Counter[str] = Counter()
    for character, count in characters.items():
        for folded in charset.fold(character):
            if folded not in charset:
                found[folded] += count
    return found


def expanded(characters: Mapping[str, int], charset: Charset) -> dict[str, str]:
    """Characters that folding turns into several, as "ß" into "ss", and what they become."""
    folded = {character: charset.fold(character) for character in sorted(characters)}
    return {character: text for character, text in folded.items() if len(text) > 1}


def extended(charset: Charset, missing: Mapping[str, int]) -> Charset:
    """An alphabet and the visible ones of the characters that it lacks, in order of code points.

    Args:
        charset: whose characters come first, in their order.
        missing: see `outside`.
    """
    new = "".join(sorted(character for character in missing if is_visible(character)))
    return Charset(charset.characters + new, case_fold=charset.case_fold)


def write_alphabet(path: Path, charset: Charset) -> None:
    """Write a file for MODEL.TEXT_ENCODER.CHARSET, one character a line."""
    with replace_file(path) as stream:
        stream.write("".join(f"{character}\n" for character in charset.characters).encode())


def is_visible(character: str) -> bool:
    """Whether a character shows, or is the blank: no control, format or unassigned one."""
    return not unicodedata.category(character).startswith("C")


def letter(character: str) -> str:
    """A character as a person would call it: itself, or its name if it does not show by itself."""
    shows = is_visible(character) and not character.isspace()
    if shows and not unicodedata.combining(character):
        return character
    name = unicodedata.name(character, "")
    return f"U+{ord(character):04X}" + (f" {name.lower()}" if name else "")
