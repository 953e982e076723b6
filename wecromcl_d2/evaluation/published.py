"""The lexicons with which results on benchmarks are published, and the names of their files.

They are in the folder `lexicons` of a dataset's folder, in any of the published forms.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .lexicon import ImageLexicons, Lexicon, distance_limit
from .readers import read_image_lexicons, read_lexicon

FOLDER = "lexicons"
# Where the forms with pair lists come from.
PAGE = "https://github.com/shannanyinxiang/SPTS"


@dataclass(frozen=True)
class LexiconFiles:
    """One form in which a lexicon is published.

    Attributes:
        path: word list; of a lexicon with a list per image the folder, or its zip archive.
        pairs: pair list that belongs to it, if any; with `lists`, the name of an image's pair list.
        lists: name of an image's list without its suffix, with `{n}` for the image's number.
    """

    path: str
    pairs: str | None = None
    lists: str | None = None

    def find(self, folder: Path) -> Path | None:
        """The list in a folder, or the folder or archive of lists; None if it does not exist."""
        names = [self.path, f"{self.path}.zip"] if self.lists else [self.path]
        return next((folder / name for name in names if (folder / name).exists()), None)


def _strong(published: str) -> tuple[LexiconFiles, ...]:
    plain = (published, "strong_lexicon", "strong")
    return (
        LexiconFiles("new_strong_lexicon", "pair_voc_img_{n}", "new_voc_img_{n}"),
        *(LexiconFiles(name, None, "voc_img_{n}") for name in plain),
    )


def _one_list(published: str, short: str) -> tuple[LexiconFiles, ...]:
    return (
        LexiconFiles(f"{published}_new.txt", f"{published}_pair_list.txt"),
        LexiconFiles(f"{short}_new.txt", f"{short}_new_pair_list.txt"),
        LexiconFiles(f"{published}.txt"),
        LexiconFiles(f"{short}.txt"),
    )


# Benchmark -> kind of lexicon -> its forms, best first. The forms with pair lists are those of the
# SPTS and ABCNet evaluation packages, the others the publishers' own.
LEXICONS: Mapping[str, Mapping[str, tuple[LexiconFiles, ...]]] = {
    "icdar2013": {
        "strong": _strong("ch2_test_vocabularies_per_image"),
        "weak": _one_list("ch2_test_vocabulary", "weak"),
        "generic": _one_list("GenericVocabulary", "generic"),
    },
    "icdar2015": {
        "strong": _strong("ch4_test_vocabularies_per_image"),
        "weak": _one_list("ch4_test_vocabulary", "weak"),
        "generic": _one_list("GenericVocabulary", "generic"),
    },
    "totaltext": {
        "full": (
            LexiconFiles("weak_voc_new.txt", "weak_voc_pair_list.txt"),
            LexiconFiles("full_lexicons.txt"),
        ),
    },
    # The published pair list of this set belongs to another word list.
    "ctw1500": {"full": (LexiconFiles("weak_voc_new.txt"), LexiconFiles("ctw1500_lexicon.txt"))},
}


def read_published_lexicons(benchmark: str, root: Path) -> dict[str, Lexicon | ImageLexicons]:
    """The published lexicons that exist, by kind, each with its published distance limit.

    Args:
        benchmark: name of the benchmark, such as `icdar2015`.
        root: its folder; the lexicons lie in `lexicons` below it.

    Raises:
        LabelError: if an existing list cannot be read, or its pair list is missing.
    """
    found: dict[str, Lexicon | ImageLexicons] = {}
    folder = root / FOLDER
    for kind, forms in LEXICONS.get(benchmark, {}).items():
        limit = distance_limit(kind)
        for form in forms:
            path = form.find(folder)
            if path is None:
                continue
            if form.lists:
                found[kind] = read_image_lexicons(path, form.lists, form.pairs, limit=limit)
            else:
                pairs = None if form.pairs is None else folder / form.pairs
                found[kind] = read_lexicon(path, pairs, limit=limit)
            break
    return found


def missing_lexicons(benchmark: str, root: Path) -> list[str]:
    """The missing published lexicons, each with the names under which it was looked up."""
    folder = root / FOLDER
    return [
        f"{kind} lexicon: {folder / forms[0].path}"
        + "".join(f", or {form.path}" for form in forms[1:])
        for kind, forms in LEXICONS.get(benchmark, {}).items()
        if not any(form.find(folder) for form in forms)
    ]
