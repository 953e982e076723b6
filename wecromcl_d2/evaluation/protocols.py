"""The protocols and lexicons that a config names, for the rows of a results table."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..config import check_choice
from ..data.datasets import dataset_root
from .counting import Mode
from .lexicon import ImageLexicons, Lexicon, distance_limit
from .published import LEXICONS, missing_lexicons, read_published_lexicons
from .readers import read_image_lexicons, read_lexicon
from .spotting import SpottingProtocol

logger = logging.getLogger(__name__)

# Value of TEST.PROTOCOLS -> options of the protocol.
PROTOCOLS: Mapping[str, Mapping[str, Any]] = {
    "end_to_end": {},
    "word_spotting": {"dictionary_filter": True},
    "edit_distance": {"metric": "nearest_text"},
    "bag_of_words": {"metric": "bag_of_words"},
}
PUBLISHED = "published"
KINDS = ("full", "weak", "strong", "generic")


def build_protocols(
    names: Sequence[str], lexicons: Mapping[str, Lexicon | ImageLexicons], mode: Mode
) -> dict[str, SpottingProtocol]:
    """Each protocol without a lexicon and with each of them, by name: `end_to_end_strong`.

    Raises:
        ValueError: for an unknown name.
    """
    for name in names:
        check_choice("TEST.PROTOCOLS", name, PROTOCOLS)
    return {
        f"{name}_{kind}": SpottingProtocol(mode=mode, lexicon=lexicon, **PROTOCOLS[name])
        for name in names
        for kind, lexicon in {"none": None, **lexicons}.items()
    }


def read_lexicons(entries: Sequence[str], dataset: str) -> dict[str, Lexicon | ImageLexicons]:
    """The lexicons that a config names, by kind.

    Args:
        entries: `"published"` for those of the benchmark that exist, or `"KIND=FILE"`, a list of
            one word per line; for `strong` the folder or zip of the lists `voc_img_N.txt`.
        dataset: name of the evaluated set, which names the benchmark.

    Raises:
        ValueError: if an entry is neither of the two.
        LabelError: if a list cannot be read.
    """
    found: dict[str, Lexicon | ImageLexicons] = {}
    for entry in entries:
        kind, _, path = entry.partition("=")
        if entry == PUBLISHED:
            found |= _published(dataset.rpartition("_")[0])
        elif kind not in KINDS or not path:
            raise ValueError(
                f"TEST.LEXICONS has {entry!r}; write {PUBLISHED!r} or KIND=FILE, where KIND is one "
                f"of {', '.join(KINDS)}"
            )
        elif kind == "strong":
            found[kind] = read_image_lexicons(Path(path))
        else:
            found[kind] = read_lexicon(Path(path), limit=distance_limit(kind))
    return found


def _published(benchmark: str) -> dict[str, Lexicon | ImageLexicons]:
    if benchmark not in LEXICONS:
        logger.warning("no lexicon was published for this dataset; its results are without one")
        return {}
    root = dataset_root() / benchmark
    for line in missing_lexicons(benchmark, root):
        logger.warning("left out, because there is no %s", line)
    return read_published_lexicons(benchmark, root)
