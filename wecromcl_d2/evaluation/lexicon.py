"""Lexicons: replacement of a recognised word by the nearest word of a list, as in benchmarks.

Distances are Levenshtein's over upper-cased strings, divided by the longer of the two lengths.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from rapidfuzz.distance import Levenshtein
from rapidfuzz.process import cdist

# Published limit of weak, strong and full lexicons.
DISTANCE_LIMIT = 0.4
_BLOCK = 256
_TINY = 1e-12


def distance_limit(kind: str) -> float | None:
    """The published limit of a kind of lexicon; None for no limit."""
    return None if kind == "generic" else DISTANCE_LIMIT


class LexiconError(ValueError):
    """A lexicon that cannot be built, or without the list or character that is needed."""


@dataclass(frozen=True)
class Nearest:
    """The entry of a lexicon that is nearest to a text."""

    entry: int
    distance: float


class Lexicon:
    """A list of words, each with the spelling that replaces a prediction near it.

    Args:
        name: its name in results.
        entries: the words, in the order that decides ties.
        replacements: one spelling per entry; None where the official pair list has no line.
        limit: a prediction at this distance or farther from every entry is dropped; None for no
            limit.
        keep_unmatched: keep such a prediction unchanged instead.

    Raises:
        LexiconError: if there is no entry or the lengths differ.
    """

    def __init__(
        self,
        name: str,
        entries: Sequence[str],
        replacements: Sequence[str | None],
        *,
        limit: float | None = DISTANCE_LIMIT,
        keep_unmatched: bool = False,
    ) -> None:
        if not entries or len(entries) != len(replacements):
            raise LexiconError(
                f"lexicon {name!r} has {len(entries)} words and {len(replacements)} spellings"
            )
        self.name = name
        self.entries = [entry.upper() for entry in entries]
        self.replacements = list(replacements)
        self.limit = limit
        self.keep_unmatched = keep_unmatched
        self._first = {entry: i for i, entry in reversed(list(enumerate(self.entries)))}
        lengths = np.array([len(entry) for entry in self.entries])
        self._by_length = {
            int(length): np.flatnonzero(lengths == length) for length in np.unique(lengths)
        }
        self._words = {
            length: [self.entries[index] for index in indices]
            for length, indices in self._by_length.items()
        }

    @classmethod
    def from_lines(
        cls,
        name: str,
        lines: Iterable[str],
        pairs: Iterable[str] | None = None,
        *,
        mode: Literal["robust", "official"] = "robust",
        limit: float | None = DISTANCE_LIMIT,
        keep_unmatched: bool = False,
    ) -> Lexicon:
        r"""Build from the lines of a list and of its pair list.

        A pair line is `KEY spelling`; the spelling may contain blanks, and of lines with one key
        the last is used. Without a pair list the upper-cased entry is the spelling.

        Args:
            name: its name in results.
            lines: one word a line, without line ends.
            pairs: lines of the pair list.
            mode: `"official"` keeps a byte-order mark and empty lines as entries, cuts a pair
                line at the length of its upper-cased key, and raises an error for a text whose
                search meets a nearest entry without a pair line. `"robust"` removes the first two,
                cuts at the first blank and uses such an entry as its own spelling.
            limit: see the class.
            keep_unmatched: see the class.

        Raises:
            LexiconError: if there is no word.
        """
        official = mode == "official"
        entries = list(lines) if official else [line for line in map(_clean, lines) if line]
        keys = [entry.upper() for entry in entries]
        spelling = dict(zip(keys, keys, strict=True)) if pairs is None else _read_pairs(pairs, mode)
        replacements = [
            spelling.get(key) if official else spelling.get(key) or entry
            for key, entry in zip(keys, entries, strict=True)
        ]
        return cls(name, entries, replacements, limit=limit, keep_unmatched=keep_unmatched)

    def nearest(self, texts: Sequence[str]) -> list[Nearest]:
        """The nearest entry to each text, the first in list order on a tie.

        Entries are compared in groups of one length, by rising difference from the text's length.
        That difference is a lower bound of the distance, so most of a long list is never compared.
        """
        keys = [text.upper() for text in texts]
        found = {key: Nearest(self._first[key], 0.0) for key in keys if key in self._first}
        by_length: dict[int, list[str]] = {}
        for key in dict.fromkeys(keys):
            if key not in found:
                by_length.setdefault(len(key), []).append(key)
        for group in by_length.values():
            for start in range(0, len(group), _BLOCK):
                block = group[start : start + _BLOCK]
                found.update(zip(block, self._search(block), strict=True))
        return [found[key] for key in keys]

    def correct(self, texts: Sequence[str]) -> list[str | None]:
        """The spelling that replaces each text, None for a text that is dropped.

        Raises:
            LexiconError: if an entry without a pair line becomes nearest while the list is scanned,
                which only a lexicon of official mode can have.
        """
        corrected: list[str | None] = []
        incomplete = None in self.replacements
        for text, nearest in zip(texts, self.nearest(texts), strict=True):
            if incomplete:
                self._check_scan(text)
            if self.limit is None or nearest.distance < self.limit:
                corrected.append(self.replacements[nearest.entry])
            else:
                corrected.append(text if self.keep_unmatched else None)
        return corrected

    def describe(self) -> str:
        """Description of the lexicon in results."""
        return f"{self.name} ({len(self.entries)} words, {self.describe_limit()})"

    def describe_limit(self) -> str:
        """Description of the treatment of texts far from every entry."""
        if self.limit is None:
            return "no limit"
        return f"distance < {self.limit:g}, else {'kept' if self.keep_unmatched else 'dropped'}"

    def _search(self, keys: list[str]) -> list[Nearest]:
        """The nearest entries to upper-cased texts of one length."""
        length = len(keys[0])
        entry = np.full(len(keys), len(self.entries))
        distance = np.full(len(keys), np.inf)
        for other in sorted(self._by_length, key=lambda n: abs(length - n) / max(length, n, 1)):
            longer = max(length, other, 1)
            rows = np.flatnonzero(distance >= abs(length - other) / longer)
            if not len(rows):
                break
            indices = self._by_length[other]
            edits = cdist(
                [keys[row] for row in rows],
                self._words[other],
                scorer=Levenshtein.distance,
                dtype=np.uint8 if longer < 256 else np.int32,
            )
            column = edits.argmin(axis=1)
            ratio = edits[np.arange(len(rows)), column] / longer
            better = (ratio < distance[rows]) | (
                (ratio == distance[rows]) & (indices[column] < entry[rows])
            )
            distance[rows[better]] = ratio[better]
            entry[rows[better]] = indices[column[better]]
        return [Nearest(int(e), float(d)) for e, d in zip(entry, distance, strict=True)]

    def _check_scan(self, text: str) -> None:
        """Raise `LexiconError` if the scan for a text meets a nearest entry without a pair line."""
        best = np.inf
        for entry, replacement in zip(self.entries, self.replacements, strict=True):
            distance = Levenshtein.distance(text.upper(), entry) / max(
                len(text.upper()), len(entry)
            )
            if distance < best:
                best = distance
                if replacement is None:
                    raise LexiconError(f"lexicon {self.name!r}: no pair line for {entry!r}")


class ImageLexicons:
    """One lexicon per image, which the benchmarks call strong.

    Args:
        name: their name in results.
        by_number: lexicon by the number of its image.

    Raises:
        LexiconError: if there is none.
    """

    def __init__(self, name: str, by_number: Mapping[int, Lexicon]) -> None:
        if not by_number:
            raise LexiconError(f"lexicon {name!r} has no list")
        self.name = name
        self.by_number = dict(by_number)

    def of(self, image: int | str) -> Lexicon:
        """The lexicon of an image, found by the number that ends its identity.

        Raises:
            LexiconError: if the identity ends in no number or the number has no list.
        """
        number = image_number(image)
        if number not in self.by_number:
            raise LexiconError(f"lexicon {self.name!r} has no list for image {image!r}")
        return self.by_number[number]

    def describe(self) -> str:
        """Description of the lexicons in results."""
        words = sum(len(lexicon.entries) for lexicon in self.by_number.values())
        one = next(iter(self.by_number.values()))
        return f"{self.name} ({len(self.by_number)} lists, {words} words, {one.describe_limit()})"


def image_number(image: int | str) -> int:
    """The number that an image's identity is or ends in, -1 for none: `img_12` is 12."""
    if isinstance(image, int):
        return image
    digits = re.search(r"[0-9]{1,18}$", image)
    return int(digits.group()) if digits else -1


def weighted_distance(word: str, entry: str, probabilities: np.ndarray, alphabet: str) -> float:
    """Edit distance that is cheap where the recogniser was unsure.

    Deleting the word's character j costs its probability; inserting after it costs the mean of its
    and the next character's; replacing it by `b` costs `max(0, 1 - 5 p_j(b) / p_j(word_j))`.
    The border costs one an edit.

    Args:
        word: recognised word of `m` characters.
        entry: lexicon word.
        probabilities: `(m, K)`, the recogniser's class probabilities a character.
        alphabet: the `K` characters of those classes.

    Raises:
        LexiconError: if the shape does not fit or a character is not in the alphabet.
    """
    if probabilities.shape != (len(word), len(alphabet)):
        raise LexiconError(
            f"probabilities of shape {probabilities.shape} for {len(word)} characters and an "
            f"alphabet of {len(alphabet)}"
        )
    unknown = sorted(set(word + entry) - set(alphabet))
    if unknown:
        raise LexiconError(f"characters {unknown} of {word!r}, {entry!r} are not in the alphabet")
    own = [float(row[alphabet.index(c)]) for row, c in zip(probabilities, word, strict=True)]
    previous = [float(i) for i in range(len(entry) + 1)]
    for j, character in enumerate(word):
        insertion = (own[j] + own[min(j + 1, len(word) - 1)]) / 2
        current = [j + 1.0]
        for i, wanted in enumerate(entry):
            share = float(probabilities[j, alphabet.index(wanted)]) / max(own[j], _TINY)
            replacement = 0.0 if character == wanted else max(0.0, 1 - 5 * share)
            current.append(
                min(
                    previous[i + 1] + own[j],
                    current[i] + insertion,
                    previous[i] + replacement,
                )
            )
        previous = current
    return previous[-1]


def nearest_weighted(
    word: str, entries: Sequence[str], probabilities: np.ndarray, alphabet: str
) -> int:
    """The index of the entry of smallest weighted distance, the first on a tie.

    Only entries within two plain edits of the nearest one take part.

    Raises:
        LexiconError: see `weighted_distance`; also without any entry.
    """
    if not entries:
        raise LexiconError("the lexicon has no entry")
    edits = [Levenshtein.distance(word, entry) for entry in entries]
    near = [index for index, count in enumerate(edits) if count <= min(edits) + 2]
    return min(near, key=lambda i: weighted_distance(word, entries[i], probabilities, alphabet))


def _clean(line: str) -> str:
    return line.removeprefix("\ufeff").rstrip()


def _read_pairs(lines: Iterable[str], mode: str) -> dict[str, str]:
    """The spelling of each upper-cased key."""
    spelling = {}
    for raw in lines:
        line = raw if mode == "official" else _clean(raw)
        first, _, rest = line.partition(" ")
        key = first.upper()
        spelling[key] = line[len(key) + 1 :] if mode == "official" else rest
    return spelling
