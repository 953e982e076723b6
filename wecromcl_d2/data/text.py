"""Alphabets, and transcriptions as a field of `Instances`.

A charset turns transcriptions into label rows for the text encoder: label 0 is padding and label
`i + 1` is the `i`-th character. `TextList` is needed because `Instances` indexes its fields by
boolean tensors, which a list does not support.

Shapes: `Q` transcriptions, `L` labels a transcription.
"""

from __future__ import annotations

import itertools
import string
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
import torch

PADDING_LABEL = 0

# In the published table the backslash follows the ampersand instead of the opening bracket.
_PRESETS = {
    "ascii": "".join(map(chr, range(ord(" "), ord("~") + 1))),
    "alnum": string.digits + string.ascii_lowercase,
    "wecromcl": string.digits + string.ascii_lowercase + " " + "!\"#$%&\\'()*+,-./:;<=>?@[]^_`{|}~",
}

Unknown = Literal["drop", "error"]


class CharsetError(ValueError):
    """A charset that cannot be built, or a text or label it does not cover."""


class Charset:
    """An ordered set of characters; label `i + 1` stands for `characters[i]`, 0 for padding.

    Args:
        characters: distinct single code points in NFC. With `case_fold` each must be its own case
            folding, as no normalised text can contain any other.
        case_fold: whether texts are case folded before the lookup.
        unknown: treatment of characters outside the charset: `"drop"` removes them from the text,
            `"error"` raises.

    Raises:
        CharsetError: if the characters or the policy are unusable.
    """

    def __init__(
        self, characters: str, *, case_fold: bool = True, unknown: Unknown = "drop"
    ) -> None:
        if unknown not in ("drop", "error"):
            raise CharsetError(f"unknown policy is {unknown!r}; use 'drop' or 'error'")
        if not characters:
            raise CharsetError("a charset needs at least one character")
        for index, character in enumerate(characters):
            problem = _character_problem(character, characters[:index], case_fold)
            if problem:
                raise CharsetError(f"charset position {index}: {problem}")
        self.characters = characters
        self.case_fold = case_fold
        self.unknown: Unknown = unknown
        self._labels = {character: label for label, character in enumerate(characters, start=1)}

    @classmethod
    def from_name(cls, name: str, *, case_fold: bool = True, unknown: Unknown = "drop") -> Charset:
        """Build a preset charset or read one from a file.

        Args:
            name: `"alnum"` (0-9, a-z), `"wecromcl"` (the published 69 characters in their
                published order), `"ascii"` (the 95 printable ones, which needs `case_fold`
                off), or the path of a UTF-8 file with one character per line. Empty lines
                are skipped; a line of one blank is the blank.
            case_fold: see the class.
            unknown: see the class.

        Raises:
            CharsetError: if there is neither such a preset nor such a file, or the file is bad.
        """
        characters = _PRESETS.get(name)
        if characters is None:
            characters = _read_characters(Path(name), case_fold)
        return cls(characters, case_fold=case_fold, unknown=unknown)

    def fold(self, text: str) -> str:
        """`text` in NFC, and case folded if so configured: "ß" and "SS" both become "ss"."""
        folded = unicodedata.normalize("NFC", text)
        return unicodedata.normalize("NFC", folded.casefold()) if self.case_fold else folded

    def normalize(self, text: str) -> str:
        """`text` in NFC, case folded if so configured, without characters outside the charset.

        Raises:
            CharsetError: if a character is not covered and the policy is `"error"`.
        """
        folded = self.fold(text)
        kept = "".join(character for character in folded if character in self._labels)
        if self.unknown == "error" and len(kept) != len(folded):
            outside = sorted({c for c in folded if c not in self._labels})
            raise CharsetError(
                f"text {text!a} has characters outside the charset: "
                f"{', '.join(_name(c) for c in outside)}; add them or use the policy 'drop'"
            )
        return kept

    def key(self, text: str, max_length: int) -> str:
        """The part of a text that a model reads: normalised and cut to `max_length` characters.

        Texts of equal keys have equal labels, see `encode`.
        """
        return self.normalize(text)[:max_length]

    def encode(self, texts: Sequence[str], max_length: int) -> torch.Tensor:
        """Turn texts into label rows: normalise, cut to `max_length`, pad with 0.

        Args:
            texts: `Q` transcriptions.
            max_length: number of labels a row, at least 1.

        Returns:
            Long tensor of shape `(Q, max_length)`. A text without a known character is a row of
            padding.
        """
        if max_length < 1:
            raise ValueError(f"max_length is {max_length}; it must be at least 1")
        labels = torch.full((len(texts), max_length), PADDING_LABEL, dtype=torch.long)
        for row, text in enumerate(texts):
            codes = [self._labels[c] for c in self.key(text, max_length)]
            labels[row, : len(codes)] = torch.tensor(codes, dtype=torch.long)
        return labels

    def decode(self, labels: torch.Tensor | Sequence[Sequence[int]]) -> list[str]:
        """Turn label rows of shape `(Q, L)` back into texts; a row ends at its first padding.

        Raises:
            CharsetError: if a label is outside `0 .. len(self)`.
        """
        texts = []
        for row in labels.tolist() if isinstance(labels, torch.Tensor) else labels:
            own = list(itertools.takewhile(lambda label: label != PADDING_LABEL, row))
            for label in own:
                if not 0 < label <= len(self.characters):
                    raise CharsetError(f"label {label} is outside 0 .. {len(self)}")
            texts.append("".join(self.characters[label - 1] for label in own))
        return texts

    def __len__(self) -> int:
        return len(self.characters)

    def __contains__(self, character: object) -> bool:
        return character in self._labels

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Charset):
            return NotImplemented
        return self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())

    def __repr__(self) -> str:
        return f"Charset({self.characters!r}, case_fold={self.case_fold}, unknown={self.unknown!r})"

    def _identity(self) -> tuple[str, bool, str]:
        return self.characters, self.case_fold, self.unknown


class TextList:
    """Transcriptions as a field of `Instances`: indexable by integer, slice, mask or indices."""

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._texts = list(texts)
        for text in self._texts:
            if not isinstance(text, str):
                raise TypeError(f"TextList holds strings, got {type(text).__name__}: {text!r}")

    @overload
    def __getitem__(self, item: int) -> str: ...

    @overload
    def __getitem__(self, item: slice | torch.Tensor | np.ndarray | list[Any]) -> TextList: ...

    def __getitem__(
        self, item: int | slice | torch.Tensor | np.ndarray | list[Any]
    ) -> str | TextList:
        """One text for an integer, else a `TextList`.

        Raises:
            IndexError: if an index is out of range or a mask has another length than the list.
            TypeError: if the index is neither integer nor boolean.
        """
        if isinstance(item, slice):
            return TextList(self._texts[item])
        index = item.detach().cpu().numpy() if isinstance(item, torch.Tensor) else np.asarray(item)
        if index.size == 0 and isinstance(item, list):
            index = index.astype(np.int64)
        is_mask = index.dtype.kind == "b"
        is_integer = index.dtype.kind in "ui"
        if index.ndim > 1 or not (is_integer or (is_mask and index.ndim == 1)):
            raise TypeError(f"TextList index must be integers or one mask, got {item!r}")
        if index.ndim == 0:
            return self._texts[int(index)]
        if is_mask:
            if len(index) != len(self):
                raise IndexError(f"mask of length {len(index)} for {len(self)} texts")
            index = np.flatnonzero(index)
        return TextList(self._texts[i] for i in index)

    @staticmethod
    def cat(lists: Sequence[TextList]) -> TextList:
        """Join several lists into a new one."""
        return TextList(text for texts in lists for text in texts)

    def to(self, *args: Any, **kwargs: Any) -> TextList:
        """This list: strings have no device. Accepts the arguments of `torch.Tensor.to`."""
        return self

    def __len__(self) -> int:
        return len(self._texts)

    def __iter__(self) -> Iterator[str]:
        return iter(self._texts)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, (TextList, list)):
            return self._texts == list(other)
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"TextList({self._texts!r})"


def _name(character: str) -> str:
    return f"{character!a} (U+{ord(character):04X})"


def _character_problem(character: str, earlier: str, case_fold: bool) -> str:
    """The reason why `character` cannot follow `earlier` in a charset; empty if it can."""
    if character in earlier:
        return f"{_name(character)} occurs twice; remove one"
    if "\ud800" <= character <= "\udfff":
        return f"{_name(character)} is a lone surrogate, not a character"
    if unicodedata.normalize("NFC", character) != character:
        return f"{_name(character)} is not in NFC and would never be found"
    if case_fold and unicodedata.normalize("NFC", character.casefold()) != character:
        return f"{_name(character)} changes under case folding; remove it or set case_fold=False"
    return ""


def _read_characters(path: Path, case_fold: bool) -> str:
    """Read a charset file: UTF-8, one character per line."""
    try:
        content = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise CharsetError(
            f"charset {str(path)!r} is no preset ({', '.join(_PRESETS)}) and no readable file: "
            f"{error.strerror}"
        ) from error
    except UnicodeDecodeError as error:
        raise CharsetError(f"{path}: not UTF-8 ({error.reason}); save the file as UTF-8") from error
    characters = ""
    for number, line in enumerate(content.split("\n"), start=1):
        character = unicodedata.normalize("NFC", line.removesuffix("\r"))
        if not character:
            continue
        problem = (
            f"holds {len(character)} characters; write one a line"
            if len(character) > 1
            else _character_problem(character, characters, case_fold)
        )
        if problem:
            raise CharsetError(f"{path}:{number}: {problem}")
        characters += character
    if not characters:
        raise CharsetError(f"{path}: no character in it; write one a line")
    return characters
