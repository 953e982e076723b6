"""Self-paced choice of queries: a detector trains on, on the words that it is surest of.

On photographs a detector that saw rendered scenes alone fails on most words; asked for all of
them, it unlearns what it knew. Its own similarity of region and text tells which words it found.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..data.label_format import usable_words
from ..data.loader import SamplingError
from ..data.records import TextIndex


def surest_words(records: Sequence[dict[str, Any]], index: TextIndex, share: float) -> np.ndarray:
    """Which texts may be queries: of those with a similarity, the share of highest similarity.

    Texts of records without the key `similarity`, such as rendered scenes, all may. Nothing but
    `texts`, `ignore` and `similarity` is read.

    Args:
        records: dataset dicts; `wecromcl anchors` writes the key.
        index: of their texts; it may lack some of them.
        share: above 0, at most 1.

    Returns:
        (W,) bool, for each of `index.ids`.

    Raises:
        SamplingError: if no record has the key, or for another `share`.
    """
    if not 0 < share <= 1:
        raise SamplingError(
            f"DATALOADER.SAMPLING.SELF_PACED is {share:g}; give a share above 0, at most 1"
        )
    similarity = [_similarity(record) for record in records]
    known = [value for own in similarity if own is not None for value in own.values()]
    if not known:
        raise SamplingError(
            "DATALOADER.SAMPLING.SELF_PACED needs words with a `similarity`, which label files of "
            "`wecromcl anchors` have; no image of DATASETS.TRAIN has one"
        )
    least = np.sort(known)[-int(np.ceil(share * len(known)))]
    result = np.ones(len(index.ids), dtype=bool)
    for own, start, end in zip(similarity, index.bounds[:-1], index.bounds[1:], strict=True):
        if own is not None:
            texts = [index.texts[i] for i in index.ids[start:end].tolist()]
            result[start:end] = [own.get(text, -np.inf) >= least for text in texts]
    return result


def _similarity(record: dict[str, Any]) -> dict[str, float] | None:
    """The highest similarity of each distinct text that counts; None without the key."""
    if record.get("similarity") is None:
        return None
    found: dict[str, float] = {}
    usable = usable_words(record)
    for text, value, counts in zip(record["texts"], record["similarity"], usable, strict=True):
        if counts and value is not None:
            found[text] = max(value, found.get(text, -1.0))
    return found
