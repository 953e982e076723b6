"""Which images and texts meet in a training batch, decided on strings alone.

Every choice for batch t is a pure function of (seed, t), so that neither the number of workers nor
a restart changes it.

Letters: N images of a batch, K false texts per image, L characters that the text encoder reads.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from detectron2.utils.registry import Registry
from rapidfuzz.distance import Levenshtein
from rapidfuzz.process import cdist

from .text import Charset

logger = logging.getLogger(__name__)

# Similar texts among which "hard" false texts are drawn, as a multiple of their number.
NEIGHBOURS = 4

FALSE_TEXT_SAMPLERS = Registry("FALSE_TEXT_SAMPLERS")
FALSE_TEXT_SAMPLERS.__doc__ = """
Functions (generator, vocabulary, for each image the set of its texts, for each image the list of
the texts it is asked for, K) -> for each image K false texts. The vocabulary is a list of strings,
all other texts are indices into it.
"""


class SamplingError(ValueError):
    """The dataset cannot fill a batch; the message says what is missing."""


@dataclass(frozen=True)
class Choice:
    """One place of a training batch.

    Attributes:
        index: of the image in the dataset.
        queries: the image's texts that are asked for; no other image of the batch contains them.
        false_texts: K texts that the image does not contain.
    """

    index: int
    queries: list[str]
    false_texts: list[str]

    def extend(self, record: dict[str, Any]) -> dict[str, Any]:
        """The image's record with the chosen texts added."""
        return dict(record, queries=self.queries, false_texts=self.false_texts)


class BatchSampler:
    """Draws batches in which no query is a text of two images.

    Texts are compared as the text encoder sees them: normalised by the charset and cut to L
    characters, because two spellings of one label sequence would be true and false at once.

    Args:
        texts: the transcriptions of each image.
        charset: normalises texts; those left empty are never drawn.
        max_length: characters L that the text encoder reads.
        batch_size: images N.
        num_false_texts: false texts K per image.
        num_queries: texts asked for per image, fewer where an image has fewer of its own.
        false_texts: name in `FALSE_TEXT_SAMPLERS`.
        seed: of all choices.
        max_tries: candidates looked at per place of the batch before giving up.

    Raises:
        SamplingError: if there are fewer distinct texts than a batch needs.
    """

    def __init__(
        self,
        texts: Sequence[Sequence[str]],
        *,
        charset: Charset,
        max_length: int,
        batch_size: int,
        num_queries: int,
        num_false_texts: int,
        false_texts: str,
        seed: int,
        max_tries: int,
    ):
        self.batch_size, self.seed, self.max_tries = batch_size, seed, max_tries
        self.num_queries = num_queries
        self.num_false_texts = num_false_texts if false_texts != "none" else 0
        self.draw_false: Callable = FALSE_TEXT_SAMPLERS.get(false_texts)
        normal = [[charset.normalize(text) for text in image] for image in texts]
        keys = [[text[:max_length] for text in image] for image in normal]
        self.vocabulary = sorted({key for image in keys for key in image if key})
        number = {key: i for i, key in enumerate(self.vocabulary)}
        ids = [sorted({number[key] for key in image if key}) for image in keys]
        self.images = np.array([i for i, image in enumerate(ids) if image], dtype=np.int64)
        self.bounds = np.cumsum([0] + [len(ids[i]) for i in self.images])
        self.ids = np.array([j for i in self.images for j in ids[i]], dtype=np.int32)
        logger.info(
            "%d images, %d with texts, %d distinct; %d texts without any character of the charset "
            "are never asked for, %d longer than %d characters are cut",
            len(texts),
            len(self.images),
            len(self.vocabulary),
            sum(not text for image in normal for text in image),
            sum(len(text) > max_length for image in normal for text in image),
            max_length,
        )
        needed = max(batch_size, self.num_false_texts + 1)
        if len(self.vocabulary) < needed or len(self.images) < batch_size:
            raise SamplingError(
                f"the {len(texts)} images hold {len(self.vocabulary)} distinct readable texts on "
                f"{len(self.images)} images, but a batch of {batch_size} images with "
                f"{self.num_false_texts} false texts needs {needed} texts and {batch_size} images; "
                "add data, or lower SOLVER.IMS_PER_BATCH or DATALOADER.SAMPLING.NUM_FALSE_TEXTS"
            )

    def sample(self, iteration: int) -> list[Choice]:
        """The batch of one iteration.

        Raises:
            SamplingError: if no batch is found within the allowed tries.
        """
        rng = np.random.default_rng((self.seed, iteration))
        images: list[int] = []
        queries: list[list[int]] = []
        for _ in range(self.batch_size * self.max_tries):
            if len(images) == self.batch_size:
                break
            self._try_to_add(rng, images, queries)
        else:
            raise SamplingError(
                f"found only {len(images)} of {self.batch_size} images without a text in common "
                f"after {self.batch_size * self.max_tries} tries; lower SOLVER.IMS_PER_BATCH"
            )
        return self._choices(rng, images, queries)

    def replace(self, batch: list[Choice], place: int, attempt: int, iteration: int) -> Choice:
        """Another image for one place of a batch, for use when its own cannot be read.

        Args:
            batch: what `sample` gave for `iteration`.
            place: index into `batch`.
            attempt: 1 for the first replacement, 2 if that cannot be read either, and so on.
            iteration: of the batch.

        Raises:
            SamplingError: if no other image fits.
        """
        rng = np.random.default_rng((self.seed, iteration, place, attempt))
        where = {int(image): i for i, image in enumerate(self.images)}
        images = [where[choice.index] for choice in batch]
        queries = [[self.vocabulary.index(q) for q in choice.queries] for choice in batch]
        for _ in range(self.batch_size * self.max_tries):
            if self._try_to_add(rng, images, queries):
                return self._choices(rng, images[-1:], queries[-1:])[0]
        raise SamplingError("no readable image is left that could join the batch")

    def _texts_of(self, image: int) -> set[int]:
        return set(self.ids[self.bounds[image] : self.bounds[image + 1]].tolist())

    def _try_to_add(
        self, rng: np.random.Generator, images: list[int], queries: list[list[int]]
    ) -> bool:
        """Draw a candidate; keep it if it has a text of its own and contains nobody's query."""
        image = int(rng.integers(len(self.images)))
        texts = self._texts_of(image)
        if not texts.isdisjoint(chain.from_iterable(queries)):
            return False
        own = sorted(texts.difference(*(self._texts_of(other) for other in images)))
        if not own:
            return False
        images.append(image)
        queries.append(rng.permutation(own)[: self.num_queries].tolist())
        return True

    def _choices(
        self, rng: np.random.Generator, images: list[int], queries: list[list[int]]
    ) -> list[Choice]:
        texts = [self._texts_of(image) for image in images]
        false = self.draw_false(rng, self.vocabulary, texts, queries, self.num_false_texts)
        return [
            Choice(
                index=int(self.images[image]),
                queries=[self.vocabulary[i] for i in own],
                false_texts=[self.vocabulary[i] for i in false_per_image],
            )
            for image, own, false_per_image in zip(images, queries, false, strict=True)
        ]


def _check_enough(size: int, excluded: set[int], count: int) -> None:
    if size - len(excluded) < count:
        raise SamplingError(
            f"{size} distinct texts, {len(excluded)} of them in the image or batch, leave too few "
            f"for {count} false texts; lower DATALOADER.SAMPLING.NUM_FALSE_TEXTS"
        )


def _draw_outside(rng: np.random.Generator, size: int, excluded: set[int], count: int) -> list[int]:
    """`count` distinct indices below `size` that are not excluded."""
    _check_enough(size, excluded, count)
    drawn = rng.choice(size, count + len(excluded), replace=False).tolist()
    return [i for i in drawn if i not in excluded][:count]


Texts = Sequence[set[int]]
Queries = Sequence[list[int]]


@FALSE_TEXT_SAMPLERS.register()
def none(
    rng: np.random.Generator, vocabulary: Sequence[str], texts: Texts, queries: Queries, count: int
) -> list[list[int]]:
    """No false texts: only the batch's other queries are rivals."""
    return [[] for _ in texts]


@FALSE_TEXT_SAMPLERS.register()
def random(
    rng: np.random.Generator, vocabulary: Sequence[str], texts: Texts, queries: Queries, count: int
) -> list[list[int]]:
    """K false texts for each image, as published."""
    return [_draw_outside(rng, len(vocabulary), own, count) for own in texts]


@FALSE_TEXT_SAMPLERS.register()
def shared(
    rng: np.random.Generator, vocabulary: Sequence[str], texts: Texts, queries: Queries, count: int
) -> list[list[int]]:
    """K false texts for the whole batch, in none of its images: fewer texts to encode."""
    drawn = _draw_outside(rng, len(vocabulary), set().union(*texts), count)
    return [drawn] * len(texts)


@FALSE_TEXT_SAMPLERS.register()
def hard(
    rng: np.random.Generator, vocabulary: Sequence[str], texts: Texts, queries: Queries, count: int
) -> list[list[int]]:
    """K false texts for each image, spelled much like the texts it is asked for.

    They are drawn from the `NEIGHBOURS * K` texts of the vocabulary with the smallest edit distance
    to any of the image's queries.
    """
    result = []
    for own, asked in zip(texts, queries, strict=True):
        _check_enough(len(vocabulary), own, count)
        spelled = [vocabulary[i] for i in asked]
        distance = cdist(spelled, vocabulary, scorer=Levenshtein.distance).min(axis=0)
        order = distance.argsort(kind="stable")
        near = order[~np.isin(order, list(own))][: NEIGHBOURS * count]
        result.append(rng.choice(near, count, replace=False).tolist())
    return result
