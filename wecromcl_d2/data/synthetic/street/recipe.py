"""What to render: the recipe of a set of street scenes, and the files it draws on."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

from ..recipe import SPLITS, check_ascending, int_pair

STREET_FAMILIES = ("words", "groups", "scenes")
LONGEST_WORD = 20

_SIZES = {"words": (64, 192), "groups": (256, 256), "scenes": (512, 512)}
_NUM_WORDS = {"words": (1, 1), "groups": (2, 4), "scenes": (4, 16)}
_SMALLEST = 8
_MIN_SIDE = 32

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class StreetRecipe:
    """Everything the images of one set of street scenes depend on, apart from their index.

    Attributes:
        family: "words" (one word on a small canvas), "groups" (a few words) or "scenes".
        size: (height, width) in pixels; None: 64x192, 256x256 or 512x512 by family.
        num_words: fewest and most words of an image, more where it is small than room allows.
            None: (1, 1), (2, 4) or (4, 16) by family.
        heights: lowest and highest line of text in pixels, drawn log-uniformly. None: 8 to a third
            of the shorter side, for single words 10 to three quarters of the height.
        word_lengths: fewest and most characters of a word.
        fonts: folders searched for font files; empty: the fonts that come with matplotlib.
        backgrounds: folders searched for images without text; empty: painted backgrounds only.
        words: file of words, one a line, perhaps with a tab and the word's frequency behind it.
            None: spelled words that exist in no language.
        split: "train", "val" or "test"; no image and, from three letters or digits on, no word is
            in two of them.
        seed: images of different seeds are unrelated.

    Raises:
        ValueError: for a value out of its range.
    """

    family: str = "scenes"
    size: tuple[int, int] | None = None
    num_words: tuple[int, int] | None = None
    heights: tuple[int, int] | None = None
    word_lengths: tuple[int, int] = (1, LONGEST_WORD)
    fonts: tuple[str, ...] = ()
    backgrounds: tuple[str, ...] = ()
    words: str | None = None
    split: str = "train"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.family not in STREET_FAMILIES:
            raise ValueError(f"family {self.family!r} is unknown: use one of {STREET_FAMILIES}")
        if self.split not in SPLITS:
            raise ValueError(f"split {self.split!r} is unknown: use one of {SPLITS}")
        if self.seed < 0:
            raise ValueError(f"seed {self.seed} is negative: use 0 or more")
        for name, default in (("size", _SIZES), ("num_words", _NUM_WORDS)):
            value = getattr(self, name)
            object.__setattr__(self, name, int_pair(name, value or default[self.family]))
        if min(self.image_size) < _MIN_SIDE:
            raise ValueError(f"size {self.size} is too small: both sides need {_MIN_SIDE} pixels")
        object.__setattr__(self, "heights", int_pair("heights", self.heights or self._heights()))
        object.__setattr__(self, "word_lengths", int_pair("word_lengths", self.word_lengths))
        check_ascending("num_words", self.num_words, 1)
        check_ascending("heights", self.heights, _SMALLEST)
        check_ascending("word_lengths", self.word_lengths, 1)
        for name in ("fonts", "backgrounds"):
            folders = tuple(str(folder) for folder in getattr(self, name))
            object.__setattr__(self, name, folders)

    def _heights(self) -> tuple[int, int]:
        height, width = self.image_size
        largest = 3 * height // 4 if self.family == "words" else min(height, width) // 3
        return (10 if self.family == "words" else _SMALLEST), largest

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) of the images."""
        assert self.size is not None
        return self.size

    @property
    def height_range(self) -> tuple[int, int]:
        """Lowest and highest line of text in pixels."""
        assert self.heights is not None
        return self.heights

    @property
    def word_count(self) -> tuple[int, int]:
        """Fewest and most words of an image."""
        assert self.num_words is not None
        return self.num_words

    def to_dict(self) -> dict[str, object]:
        """The recipe as JSON types, with the content of its folders in place of their paths."""
        values: dict[str, object] = {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in asdict(self).items()
        }
        values["style"] = "street"
        for name in ("fonts", "backgrounds"):
            values[name] = [folder_fingerprint(folder) for folder in getattr(self, name)]
        if self.words is not None:
            values["words"] = hashlib.sha256(Path(self.words).read_bytes()).hexdigest()
        return values


def list_files(folder: str, suffixes: tuple[str, ...]) -> list[Path]:
    """The files below a folder that end in one of these suffixes, in the order of their paths.

    A folder without any is logged.

    Raises:
        NotADirectoryError: if there is no such folder.
    """
    root = Path(folder).expanduser()
    if not root.is_dir():
        raise NotADirectoryError(f"{folder} is no folder: name one that exists")
    found = (path for path in root.rglob("*") if path.suffix.lower() in suffixes)
    files = sorted(path for path in found if path.is_file())
    if not files:
        logger.warning("%s holds no file that ends in %s", folder, ", ".join(suffixes))
    return files


@lru_cache(maxsize=32)
def folder_fingerprint(folder: str) -> str:
    """A checksum of the names and sizes of all files below a folder."""
    root = Path(folder).expanduser()
    lines = (
        f"{path.relative_to(root).as_posix()} {path.stat().st_size}\n"
        for path in sorted(root.rglob("*"))
        if path.is_file()
    )
    return hashlib.sha256("".join(lines).encode("utf-8")).hexdigest()
