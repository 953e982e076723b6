"""Choice of the images, queries and negatives of a training batch, from transcriptions alone.

Every choice for batch t is a pure function of (seed, t), so that neither the number of workers nor
a restart changes it.

Letters: N images of a batch, K negatives per image, L characters that the text encoder reads.
"""

import logging
import unicodedata
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from detectron2.config import CfgNode

from ..config import check_choice
from ..data.loader import SamplingError
from ..data.mixture import Mixture
from ..data.records import TextIndex
from ..data.text import Charset
from .negatives import NEGATIVE_SAMPLERS, read_vocabulary

logger = logging.getLogger(__name__)

# What DATALOADER.SAMPLING.EXCLUSION and COMPARE may be.
EXCLUSIONS = ("both", "earlier")
COMPARISONS = ("labels", "spelling")


@dataclass(frozen=True)
class BatchEntry:
    """One place of a training batch.

    Attributes:
        index: of the image in the dataset.
        queries: texts of the image that no other image of the batch contains.
        negatives: K texts that the image does not contain.
    """

    index: int
    queries: list[str]
    negatives: list[str]

    def extend(self, record: dict[str, Any]) -> dict[str, Any]:
        """The image's record with the chosen texts added."""
        return dict(record, queries=self.queries, negatives=self.negatives)


class BatchSampler:
    """Draws batches in which no query is a text of two images.

    Args:
        texts: the transcriptions of each image, or the index of them.
        charset: normalises texts; those left empty are never drawn.
        max_length: characters L that the text encoder reads; longer texts are cut.
        batch_size: images N.
        num_negatives: negatives K per image.
        num_queries: query texts per image (paper: 1); fewer if the image has fewer texts unique
            in the batch.
        negatives: name in `NEGATIVE_SAMPLERS`.
        seed: of the random numbers, together with the iteration.
        vocabulary: what negatives are drawn from; None for `texts` themselves.
        exclusion: "both": no query is a text of another image. "earlier", as published: no query is
            a text of an image drawn before; a later image may contain it.
        mixture: shares of the datasets that `texts` come from; None to draw every image equally
            often. A candidate that does not fit the batch is replaced by one of any dataset.
        compare: "labels": texts are equal if the text encoder gets equal labels for them, after the
            charset's normalisation and the cut to L characters. "spelling", as published: only
            unknown characters are dropped, so that a word may be both query and negative.
        queryable: (W,) bool, which texts of the index may be queries; None for all. The others are
            texts of their image all the same, so never its negatives.
        max_tries: candidate images drawn per place of the batch before `SamplingError`.

    Raises:
        SamplingError: if there are fewer distinct texts than a batch needs.
        ValueError: for another `exclusion` or `compare`.
    """

    def __init__(
        self,
        texts: Sequence[Sequence[str]] | TextIndex,
        *,
        charset: Charset,
        max_length: int,
        batch_size: int,
        num_queries: int,
        num_negatives: int,
        negatives: str,
        seed: int,
        vocabulary: Sequence[str] | None = None,
        mixture: Mixture | None = None,
        exclusion: str = "both",
        compare: str = "labels",
        queryable: np.ndarray | None = None,
        max_tries: int = 100,
    ):
        check_choice("DATALOADER.SAMPLING.EXCLUSION", exclusion, EXCLUSIONS)
        check_choice("DATALOADER.SAMPLING.COMPARE", compare, COMPARISONS)
        self.batch_size, self.seed, self.max_tries = batch_size, seed, max_tries
        self.num_queries, self.exclusion = num_queries, exclusion
        self.num_negatives = num_negatives if negatives != "none" else 0
        self.draw_negatives: Callable = NEGATIVE_SAMPLERS.get(negatives)
        index = texts if isinstance(texts, TextIndex) else TextIndex.of(texts)
        normal = [_normalize(text, charset, compare) for text in index.texts]
        length = max_length if compare == "labels" else None
        self.queryable = np.ones(len(index.ids), bool) if queryable is None else queryable
        self._number(index, [text[:length] for text in normal])
        self.vocabulary = self.words
        if vocabulary is not None:
            found = {_normalize(text, charset, compare)[:length] for text in vocabulary}
            self.vocabulary = sorted(found - {""})
        # Of each word its place in the vocabulary, or -1.
        place = {key: i for i, key in enumerate(self.vocabulary)}
        self.places = np.array([place.get(word, -1) for word in self.words], dtype=np.int64)
        counts = np.bincount(index.ids, minlength=len(normal)).tolist()
        told = [(n, key) for n, key, text in zip(counts, normal, index.texts, strict=True) if text]
        logger.info(
            "%d images, %d with texts, %d distinct; %d texts without any character of the charset "
            "are never queries, %d longer than %d characters are cut; negatives are drawn from "
            "%d",
            len(index),
            len(self.images),
            len(self.words),
            sum(n for n, key in told if not key),
            sum(n for n, key in told if len(key) > max_length),
            max_length,
            len(self.vocabulary),
        )
        self._check_size(len(index))
        self._ranges = self._split(mixture)

    def _split(self, mixture: Mixture | None) -> tuple[np.ndarray, np.ndarray] | None:
        """Ranges of `images` by dataset, as their bounds, and the shares.

        Raises:
            SamplingError: if a dataset has no image with texts.
        """
        if mixture is None:
            return None
        bounds = np.searchsorted(self.images, mixture.starts())
        empty = np.flatnonzero(np.diff(bounds) == 0)
        if len(empty):
            raise SamplingError(
                f"dataset {empty[0] + 1} of DATASETS.TRAIN has no image with a readable text; take "
                "it and its number of DATASETS.PROPORTIONS out"
            )
        return bounds, np.array(mixture.shares)

    def _draw_image(self, rng: np.random.Generator) -> int:
        if self._ranges is None:
            return int(rng.integers(len(self.images)))
        bounds, shares = self._ranges
        dataset = rng.choice(len(shares), p=shares)
        return int(rng.integers(bounds[dataset], bounds[dataset + 1]))

    def _number(self, index: TextIndex, keys: Sequence[str]) -> None:
        """Number the distinct keys of the index's texts ("": none) and the images with a query."""
        occurs = np.zeros(len(keys), dtype=bool)
        occurs[index.ids] = True
        present = [key if here else "" for key, here in zip(keys, occurs, strict=True)]
        self.words = sorted(set(present) - {""})
        number = {key: i for i, key in enumerate(self.words)}
        # Of each text of the index its place in `words`, or -1.
        self.word_of_text = np.array([number.get(key, -1) for key in present], dtype=np.int32)
        self.index = index
        asked = (self.word_of_text[index.ids] >= 0) & self.queryable
        known = np.concatenate([[0], np.cumsum(asked)])
        self.images = np.flatnonzero(known[index.bounds[1:]] > known[index.bounds[:-1]])

    @classmethod
    def from_config(
        cls,
        cfg: CfgNode,
        texts: Sequence[Sequence[str]] | TextIndex,
        charset: Charset,
        batch_size: int,
        mixture: Mixture | None = None,
        queryable: np.ndarray | None = None,
    ) -> "BatchSampler":
        """Read SEED and DATALOADER.SAMPLING; see the class for the arguments."""
        keys = cfg.DATALOADER.SAMPLING
        return cls(
            texts,
            charset=charset,
            max_length=cfg.MODEL.TEXT_ENCODER.MAX_LENGTH,
            batch_size=batch_size,
            num_queries=keys.NUM_QUERIES,
            num_negatives=keys.NUM_NEGATIVES,
            negatives=keys.NEGATIVES,
            seed=cfg.SEED,
            vocabulary=read_vocabulary(keys.VOCABULARY) if keys.VOCABULARY else None,
            mixture=mixture,
            exclusion=keys.EXCLUSION,
            compare=keys.COMPARE,
            queryable=queryable,
        )

    def _check_size(self, num_images: int) -> None:
        needed = max(self.batch_size, self.num_negatives + 1)
        few_words = len(self.words) < needed and self.vocabulary is self.words
        if few_words or len(self.words) < self.batch_size or len(self.images) < self.batch_size:
            raise SamplingError(
                f"the {num_images} images hold {len(self.words)} distinct readable texts on "
                f"{len(self.images)} images, but a batch of {self.batch_size} images with "
                f"{self.num_negatives} negatives needs {needed} texts and {self.batch_size} "
                "images; add data, or lower SOLVER.IMS_PER_BATCH or "
                "DATALOADER.SAMPLING.NUM_NEGATIVES"
            )
        if len(self.vocabulary) < self.num_negatives:
            raise SamplingError(
                f"DATALOADER.SAMPLING.VOCABULARY has {len(self.vocabulary)} distinct readable "
                f"texts, too few for {self.num_negatives} false ones; take a larger one or lower "
                "DATALOADER.SAMPLING.NUM_NEGATIVES"
            )

    def sample(self, iteration: int) -> list[BatchEntry]:
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

    def replace(
        self, batch: list[BatchEntry], place: int, attempt: int, iteration: int
    ) -> BatchEntry:
        """Another image for one place of a batch, in place of one that cannot be read.

        Args:
            batch: what `sample` gave for `iteration`.
            place: index into `batch`.
            attempt: 1 for the first replacement, 2 if that cannot be read either, and so on.
            iteration: of the batch.

        Raises:
            SamplingError: if no other image fits.
        """
        rng = np.random.default_rng((self.seed, iteration, place, attempt))
        images = np.searchsorted(self.images, [choice.index for choice in batch]).tolist()
        queries = [[bisect_left(self.words, q) for q in choice.queries] for choice in batch]
        for _ in range(self.batch_size * self.max_tries):
            if self._try_to_add(rng, images, queries):
                return self._choices(rng, images[-1:], queries[-1:])[0]
        raise SamplingError("no readable image is left that could join the batch")

    def _texts_of(self, image: int) -> set[int]:
        start, end = self.index.bounds[self.images[image] :][:2]
        return set(self.word_of_text[self.index.ids[start:end]].tolist()) - {-1}

    def _queryable_of(self, image: int) -> set[int]:
        start, end = self.index.bounds[self.images[image] :][:2]
        ids = self.index.ids[start:end][self.queryable[start:end]]
        return set(self.word_of_text[ids].tolist()) - {-1}

    def _try_to_add(
        self, rng: np.random.Generator, images: list[int], queries: list[list[int]]
    ) -> bool:
        """Draw a candidate image; add it if one of its texts is in no image drawn before.

        With `exclusion="both"` it must not contain a query drawn before either.
        """
        image = self._draw_image(rng)
        texts = self._texts_of(image)
        if self.exclusion == "both" and not texts.isdisjoint(chain.from_iterable(queries)):
            return False
        taken = (self._texts_of(other) for other in images)
        own = sorted(self._queryable_of(image).difference(*taken))
        if not own:
            return False
        images.append(image)
        queries.append(rng.permutation(own)[: self.num_queries].tolist())
        return True

    def _choices(
        self, rng: np.random.Generator, images: list[int], queries: list[list[int]]
    ) -> list[BatchEntry]:
        texts = [set(self.places[list(self._texts_of(image))].tolist()) - {-1} for image in images]
        words = [[self.words[i] for i in own] for own in queries]
        drawn = self.draw_negatives(rng, self.vocabulary, texts, words, self.num_negatives)
        return [
            BatchEntry(
                index=int(self.images[image]),
                queries=own,
                negatives=[self.vocabulary[i] for i in negatives],
            )
            for image, own, negatives in zip(images, words, drawn, strict=True)
        ]


def _normalize(text: str, charset: Charset, compare: str) -> str:
    """A text in the form in which it is compared, before the cut to L characters."""
    if compare == "labels":
        return charset.normalize(text)
    composed = unicodedata.normalize("NFC", text)
    return "".join(character for character in composed if charset.normalize(character))
