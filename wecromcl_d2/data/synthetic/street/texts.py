"""What signs say: words by frequency, names, numbers, prices, and strings that mean nothing."""

from __future__ import annotations

import string
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ..vocabulary import spell, split_of

_TEMPER = 0.5  # a word's weight is its frequency to this power: signs rarely say "the"
_MAX_DRAWS = 2000
_SHORT = 2  # so few strings are this short that all splits share them
_MARKS = ".,!?:;-&/*+#@%'\"()"

Rng = np.random.Generator


class TextSource:
    """Draws the words of one split.

    Args:
        listed: words with their frequencies; none: all words are spelled.
        lengths: fewest and most characters.
        split: "train", "val" or "test".
        allowed: characters that some font can show; words with others are left out.

    Raises:
        ValueError: if words are listed and none can be used.
    """

    def __init__(
        self,
        listed: Sequence[tuple[str, float]],
        lengths: tuple[int, int],
        split: str,
        allowed: frozenset[str],
    ) -> None:
        self._lengths = lengths
        self._split = split
        self._allowed = allowed
        self._words: list[str] = []
        weights = []
        for word, frequency in listed:
            if self._fits(word) and allowed_text(word, allowed):
                self._words.append(word)
                weights.append(frequency**_TEMPER)
        if listed and not self._words:
            raise ValueError(
                f"none of the {len(listed)} listed words has {lengths[0]} to {lengths[1]} "
                f"characters that the fonts show and is of split {split!r}: add words or fonts"
            )
        self._ends = np.cumsum(weights)
        self._long = [word for word in self._words if len(word) > 9]

    def draw(self, rng: Rng) -> str:
        """A word as signs write it, upper and lower case still open; only `rng` decides which.

        Raises:
            ValueError: if the split has no word of these lengths.
        """
        for _ in range(_MAX_DRAWS):
            text = _KINDS[int(np.searchsorted(_KIND_ENDS, rng.random()))](self, rng)
            if allowed_text(text, self._allowed) and self._fits(text):
                return text
        raise ValueError(
            f"no word of {self._lengths} characters found in split {self._split!r}: allow other "
            "lengths"
        )

    def _fits(self, text: str) -> bool:
        core = text if text.isalnum() else "".join(filter(str.isalnum, text))
        if not self._lengths[0] <= len(text) <= self._lengths[1]:
            return False
        return len(core) <= _SHORT or split_of(core) == self._split

    def word(self, rng: Rng) -> str:
        """A word of the list, or a spelled one where there is no list."""
        if not self._words:
            return spell(rng, int(rng.integers(2, 11)))
        at = np.searchsorted(self._ends, rng.random() * self._ends[-1], side="right")
        return self._words[min(int(at), len(self._words) - 1)]

    def long_word(self, rng: Rng) -> str:
        """A word of ten characters or more, perhaps composed."""
        if self._long and rng.random() < 0.7:
            return self._long[int(rng.integers(len(self._long)))]
        joint = ("", "", "-", ".", "_")[int(rng.integers(5))]
        return self.word(rng) + joint + self.word(rng)


def read_words(path: str) -> list[tuple[str, float]]:
    """The words of a file with their frequencies, 1.0 where none is given.

    Raises:
        ValueError: for a file that is no text, a line that is no word, or if there is no word.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no UTF-8 text ({error}): save it as such") from None
    entries = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        word, _, frequency = line.strip().partition("\t")
        try:
            weight = float(frequency or 1)
        except ValueError:
            weight = -1.0
        if not 0 < weight < float("inf") or not word or len(word.split()) != 1:
            raise ValueError(
                f"{path}:{number}: {line!r} is no word: write one word a line, perhaps with a tab "
                "and a frequency above 0"
            )
        entries.append((word, weight))
    if not entries:
        raise ValueError(f"{path} holds no word: write one word a line")
    return entries


def allowed_text(text: str, allowed: frozenset[str]) -> bool:
    """Whether a text consists of allowed characters in lower and upper case."""
    return allowed.issuperset(text) and allowed.issuperset(text.upper())


def change_case(rng: Rng, texts: list[str]) -> list[str]:
    """A line of text in one habit: capitals, first letters, lower case, or each word its own."""
    habit = rng.random()
    if habit < 0.5:
        return [text.upper() for text in texts]
    if habit < 0.81:
        return [text[:1].upper() + text[1:] for text in texts]
    if habit < 0.97:
        return texts
    return ["".join(c.upper() if rng.random() < 0.5 else c for c in text) for text in texts]


def _digits(rng: Rng, fewest: int, most: int) -> str:
    count = int(rng.integers(fewest, most + 1))
    return "".join(str(digit) for digit in rng.integers(0, 10, count))


def _number(source: TextSource, rng: Rng) -> str:
    kind = int(rng.integers(12))
    if kind <= 1:
        return str(rng.integers(1, 100))
    if kind == 2:
        return str(rng.integers(1900, 2031))
    if kind == 3:
        return f"{rng.integers(0, 24)}{'.:'[int(rng.integers(2))]}{rng.integers(0, 60):02d}"
    if kind == 4:
        return f"{rng.integers(5, 100)}%"
    if kind == 5:
        return f"{_digits(rng, 3, 4)}-{_digits(rng, 4, 4)}"
    if kind == 6:
        return f"({_digits(rng, 2, 4)}){_digits(rng, 5, 8)}"
    if kind == 7:
        return f"#{rng.integers(1, 40):02d}-{rng.integers(1, 400):02d}"
    if kind == 8:
        return f"{rng.integers(1, 32)}/{rng.integers(1, 13)}/{rng.integers(0, 30):02d}"
    if kind == 9:
        letters = "".join(string.ascii_lowercase[i] for i in rng.integers(0, 26, 2))
        return letters[: int(rng.integers(1, 3))] + _digits(rng, 1, 4)
    return _price(rng) if kind == 10 else _digits(rng, 1, 9)


def _price(rng: Rng) -> str:
    amount = f"{int(np.exp(rng.uniform(0, 7)))}"
    if rng.random() < 0.7:
        amount += f".{(0, 5, 50, 90, 95, 99)[int(rng.integers(6))]:02d}"
    return f"${amount}" if rng.random() < 0.7 else amount


def _name(source: TextSource, rng: Rng) -> str:
    return spell(rng, int(rng.integers(3, 10)))


def _random(source: TextSource, rng: Rng) -> str:
    alphabet = string.ascii_lowercase + (string.digits if rng.random() < 0.5 else "")
    count = int(rng.integers(1, 13)) if rng.random() < 0.85 else int(rng.integers(12, 21))
    return "".join(alphabet[i] for i in rng.integers(0, len(alphabet), count))


def _marked(source: TextSource, rng: Rng) -> str:
    word, kind = source.word(rng), int(rng.integers(8))
    if kind == 0:
        return f"({word})"
    if kind == 1:
        return f'"{word}"'
    if kind == 2:
        return f"www.{word}.com"
    if kind == 3:
        return f"{word}'s"
    if kind == 4:
        return f"{word}{'-/&+'[int(rng.integers(4))]}{source.word(rng)}"
    if kind == 5:
        return "&@+#"[int(rng.integers(4))] + (word if rng.random() < 0.4 else "")
    return word + _MARKS[int(rng.integers(len(_MARKS)))]


_SHARES: tuple[tuple[float, Callable[[TextSource, Rng], str]], ...] = (
    (0.57, TextSource.word),
    (0.11, TextSource.long_word),
    (0.07, _name),
    (0.12, _number),
    (0.06, _random),
    (0.07, _marked),
)
_KINDS = tuple(kind for _, kind in _SHARES)
_KIND_ENDS = np.cumsum([share for share, _ in _SHARES])[:-1]
