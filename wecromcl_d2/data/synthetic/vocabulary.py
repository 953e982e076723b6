"""An unlimited vocabulary: pronounceable, random and numeric strings, or those of another script.

The split of a word is a function of the word alone, so no seed, size or later version of a dataset
can move a word from test to train.
"""

from __future__ import annotations

import hashlib
import unicodedata
from dataclasses import dataclass

import numpy as np

_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_DIGITS = "0123456789"
_ONSETS = (
    *"bcdfghjklmnprstvwxz",
    *("br", "ch", "cl", "dr", "fl", "gr", "pl", "pr", "qu", "sh", "sl", "st", "th", "tr"),
)
_VOWELS = (*"aeiouaeioy", "ai", "ea", "ee", "oo", "ou")
_CODAS = ("", "", "", "", *"bdglmnprs", "ll", "nd", "ng", "rd", "rn", "sk", "st")

_MAX_DRAWS = 20000
_VIRAMA = 9  # canonical combining class of the signs that join two consonants
_JOINED, _MARKED = 0.2, 0.5  # chances after a letter


def split_of(word: str) -> str:
    """The split of a word: "train", "val" or "test", of 80, 10 and 10 % of all words.

    Args:
        word: any text; case does not matter.
    """
    digest = hashlib.blake2b(word.casefold().encode("utf-8"), digest_size=8).digest()
    bucket = int.from_bytes(digest, "big") % 10
    return "test" if bucket == 0 else "val" if bucket == 1 else "train"


class Vocabulary:
    """Draws words of one split.

    Args:
        split: "train", "val" or "test".
        lengths: fewest and most characters.
        size: number of distinct words, fixed by `seed`. None: no limit.
        seed: chooses the words when `size` is given.
        characters: of another script, see `spell_script`; None for a-z and 0-9.

    Raises:
        ValueError: if the split has fewer than `size` words of these lengths.
    """

    def __init__(
        self,
        split: str,
        lengths: tuple[int, int],
        size: int | None = None,
        seed: int = 0,
        characters: str | None = None,
    ) -> None:
        self._split = split
        self._script = None if characters is None else Script.of(characters)
        self._lengths = lengths
        self._words: list[str] = []
        if size is not None:
            self._words = self._collect(size, np.random.default_rng([seed, *split.encode("utf-8")]))

    def draw(self, rng: np.random.Generator) -> str:
        """A random word in lower case, chosen by `rng` alone."""
        if self._words:
            return self._words[int(rng.integers(len(self._words)))]
        for _ in range(_MAX_DRAWS):
            length = int(rng.integers(self._lengths[0], self._lengths[1] + 1))
            word = spell(rng, length) if self._script is None else self._script.spell(rng, length)
            if split_of(word) == self._split:
                return word
        raise ValueError(
            f"no word of {self._lengths} characters found in split {self._split!r}: "
            "allow longer words"
        )

    def _collect(self, size: int, rng: np.random.Generator) -> list[str]:
        words: dict[str, None] = {}
        for _ in range(_MAX_DRAWS + 20 * size):
            words[self.draw(rng)] = None
            if len(words) == size:
                return list(words)
        raise ValueError(
            f"vocabulary_size {size} is more than the {len(words)} words of {self._lengths} "
            f"characters found in split {self._split!r}: lower it or allow longer words"
        )


@dataclass(frozen=True)
class Script:
    """Characters of a script by what may follow them.

    Attributes:
        letters: that stand alone.
        marks: vowel signs and the like, which follow a letter.
        joiners: which join the letter before them with the one behind them, such as a virama.
    """

    letters: str
    marks: str
    joiners: str

    @classmethod
    def of(cls, characters: str) -> Script:
        """The characters of an alphabet by their Unicode categories."""
        joiners = "".join(c for c in characters if unicodedata.combining(c) == _VIRAMA)
        marks = [c for c in characters if unicodedata.category(c)[0] == "M" and c not in joiners]
        letters = [c for c in characters if c not in marks and c not in joiners]
        return cls("".join(letters), "".join(marks), joiners)

    def spell(self, rng: np.random.Generator, length: int) -> str:
        """A string of a given length whose characters follow each other as the script allows."""
        text = ""
        while len(text) < length:
            left, after_letter = length - len(text), text[-1:] and text[-1] in self.letters
            if after_letter and self.joiners and left > 1 and rng.random() < _JOINED:
                text += _choose(rng, self.joiners) + _choose(rng, self.letters)
            elif after_letter and self.marks and rng.random() < _MARKED:
                text += _choose(rng, self.marks)
            else:
                text += _choose(rng, self.letters)
        return text


def _choose(rng: np.random.Generator, characters: str) -> str:
    return characters[int(rng.integers(len(characters)))]


def change_case(rng: np.random.Generator, word: str) -> str:
    """The word in lower, UPPER or Title case (half, a quarter and a quarter of the time)."""
    kind = int(rng.integers(4))
    return word.upper() if kind == 0 else word.capitalize() if kind == 1 else word


def spell(rng: np.random.Generator, length: int) -> str:
    """A string in lower case, mostly one that can be pronounced, of a given length."""
    kind = rng.random()
    picks = rng.integers(1 << 20, size=3 * length).tolist()
    if kind < 0.6:
        text = ""
        while len(text) < length:
            text += _pick(_ONSETS, picks) + _pick(_VOWELS, picks) + _pick(_CODAS, picks)
        return text[:length]
    alphabet = _LETTERS if kind < 0.8 else _DIGITS if kind < 0.9 else _LETTERS + _DIGITS
    return "".join(_pick(alphabet, picks) for _ in range(length))


def _pick(choices: str | tuple[str, ...], picks: list[int]) -> str:
    return choices[picks.pop() % len(choices)]
