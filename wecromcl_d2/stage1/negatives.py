"""Negatives of a training batch: texts that an image does not contain."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from detectron2.utils.registry import Registry
from rapidfuzz.distance import Levenshtein
from rapidfuzz.process import cdist

from ..data.loader import SamplingError

# "hard" negatives are drawn from the NEIGHBOURS * K nearest texts by edit distance.
NEIGHBOURS = 4

NEGATIVE_SAMPLERS = Registry("NEGATIVE_SAMPLERS")
NEGATIVE_SAMPLERS.__doc__ = """
Functions (generator, vocabulary, for each image the set of those texts of the vocabulary that it
has, for each image the list of its queries, K) -> for each image K negatives. The vocabulary and
the queries are strings; texts of images and negatives are indices into the vocabulary.
"""


def read_vocabulary(path: str) -> list[str]:
    """Texts of a UTF-8 file with one a line; empty lines are skipped.

    Raises:
        SamplingError: if the file cannot be read, is not UTF-8 or is empty.
    """
    try:
        content = Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise SamplingError(
            f"DATALOADER.SAMPLING.VOCABULARY names {path!r}, which cannot be read: {error.strerror}"
        ) from error
    except UnicodeDecodeError as error:
        raise SamplingError(
            f"{path}: not UTF-8 ({error.reason}); save the file as UTF-8"
        ) from error
    texts = [line.strip() for line in content.split("\n") if line.strip()]
    if not texts:
        raise SamplingError(f"{path}: no text in it; write one a line")
    return texts


def _check_enough(size: int, excluded: set[int], count: int) -> None:
    if size - len(excluded) < count:
        raise SamplingError(
            f"{size} distinct texts, {len(excluded)} of them in the image or batch, leave too few "
            f"for {count} negatives; lower DATALOADER.SAMPLING.NUM_NEGATIVES"
        )


def _draw_outside(rng: np.random.Generator, size: int, excluded: set[int], count: int) -> list[int]:
    """`count` distinct indices below `size` that are not excluded."""
    _check_enough(size, excluded, count)
    drawn = rng.choice(size, count + len(excluded), replace=False).tolist()
    return [i for i in drawn if i not in excluded][:count]


Texts = Sequence[set[int]]
Queries = Sequence[list[str]]


@NEGATIVE_SAMPLERS.register()
def none(
    rng: np.random.Generator, vocabulary: Sequence[str], texts: Texts, queries: Queries, count: int
) -> list[list[int]]:
    """No negatives: only the queries of the batch are compared."""
    return [[] for _ in texts]


@NEGATIVE_SAMPLERS.register()
def random(
    rng: np.random.Generator, vocabulary: Sequence[str], texts: Texts, queries: Queries, count: int
) -> list[list[int]]:
    """K negatives for each image, as published."""
    return [_draw_outside(rng, len(vocabulary), own, count) for own in texts]


@NEGATIVE_SAMPLERS.register()
def shared(
    rng: np.random.Generator, vocabulary: Sequence[str], texts: Texts, queries: Queries, count: int
) -> list[list[int]]:
    """K negatives, texts of none of the images, for the whole batch: fewer texts to encode."""
    drawn = _draw_outside(rng, len(vocabulary), set().union(*texts), count)
    return [drawn] * len(texts)


@NEGATIVE_SAMPLERS.register()
def hard(
    rng: np.random.Generator, vocabulary: Sequence[str], texts: Texts, queries: Queries, count: int
) -> list[list[int]]:
    """K negatives for each image, similar in spelling to its queries.

    They are drawn from the `NEIGHBOURS * K` texts of the vocabulary with the smallest edit distance
    to any of the image's queries.
    """
    result = []
    for own, asked in zip(texts, queries, strict=True):
        _check_enough(len(vocabulary), own, count)
        distance = cdist(asked, vocabulary, scorer=Levenshtein.distance).min(axis=0)
        order = distance.argsort(kind="stable")
        near = order[~np.isin(order, list(own))][: NEIGHBOURS * count]
        result.append(rng.choice(near, count, replace=False).tolist())
    return result
