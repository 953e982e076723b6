"""Batches of stage 2: every image once per epoch, reshuffled each epoch; or datasets by shares.

Each batch is a pure function of (seed, iteration), as in `stage1.sampling`.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from ..data.mixture import PERIOD, Mixture


@dataclass(frozen=True)
class ImageEntry:
    """One entry of a training batch.

    Attributes:
        index: of the image in the dataset.
    """

    index: int

    def extend(self, record: dict[str, Any]) -> dict[str, Any]:
        """The record of the image, unchanged."""
        return record


class ImageSampler(ABC):
    """Samples batches from an endless sequence of images.

    Args:
        batch_size: images per batch.
        seed: of all random draws.
        copies: times that each image is in its batch.

    Raises:
        ValueError: if the copies do not divide the batch.
    """

    def __init__(self, batch_size: int, seed: int, copies: int):
        if copies < 1 or batch_size % copies:
            raise ValueError(
                f"DATALOADER.COPIES is {copies}; it must divide the batch of {batch_size} images"
            )
        self.images, self.seed, self.copies = batch_size // copies, seed, copies

    def sample(self, iteration: int) -> list[ImageEntry]:
        """The batch of one iteration."""
        first = iteration * self.images
        entries = [ImageEntry(self._image(place)) for place in range(first, first + self.images)]
        return [entry for entry in entries for _ in range(self.copies)]

    def replace(
        self, batch: list[ImageEntry], position: int, attempt: int, iteration: int
    ) -> ImageEntry:
        """A replacement, from the same dataset, for an image that cannot be read."""
        rng = np.random.default_rng((self.seed, iteration, position, attempt))
        return ImageEntry(int(rng.integers(*self._dataset_of(batch[position].index))))

    @abstractmethod
    def _image(self, position: int) -> int:
        """The image at a position of the sequence."""

    @abstractmethod
    def _dataset_of(self, image: int) -> tuple[int, int]:
        """The first image of an image's dataset, and the one after its last."""


class ShuffleSampler(ImageSampler):
    """Samples every image once per epoch, in a new order each time.

    The last batch of an epoch is filled from the next epoch.

    Args:
        num_images: of the dataset.
        batch_size: see `ImageSampler`, like the others.

    Raises:
        ValueError: if the dataset is empty, or the copies do not divide the batch.
    """

    def __init__(self, num_images: int, batch_size: int, seed: int, copies: int = 1):
        if num_images < 1:
            raise ValueError("the dataset has no image that can be trained on")
        super().__init__(batch_size, seed, copies)
        self.num_images = num_images

    def _image(self, position: int) -> int:
        epoch, index = divmod(position, self.num_images)
        return int(_order((self.seed, epoch), self.num_images)[index])

    def _dataset_of(self, image: int) -> tuple[int, int]:
        return 0, self.num_images


class MixtureSampler(ImageSampler):
    """Samples datasets in given shares, and of each dataset every image once per its own epoch.

    Args:
        mixture: the datasets.
        batch_size: see `ImageSampler`, like the others.
    """

    def __init__(self, mixture: Mixture, batch_size: int, seed: int, copies: int = 1):
        super().__init__(batch_size, seed, copies)
        self.mixture = mixture
        self._starts, self._counts = mixture.starts(), mixture.counts()

    def _image(self, position: int) -> int:
        period, place = divmod(position, PERIOD)
        datasets, ranks = _schedule(self.seed, period, tuple(self._counts.tolist()))
        dataset = int(datasets[place])
        # Number of earlier draws of the dataset.
        draw = period * int(self._counts[dataset]) + int(ranks[place])
        epoch, index = divmod(draw, self.mixture.sizes[dataset])
        order = _order((self.seed, epoch, dataset), self.mixture.sizes[dataset])
        return int(self._starts[dataset] + order[index])

    def _dataset_of(self, image: int) -> tuple[int, int]:
        dataset = int(np.searchsorted(self._starts, image, side="right")) - 1
        return int(self._starts[dataset]), int(self._starts[dataset + 1])


@lru_cache(maxsize=16)  # a batch touches two epochs of each dataset at most
def _order(entropy: tuple[int, ...], num_images: int) -> np.ndarray:
    return np.random.default_rng(entropy).permutation(num_images)


@lru_cache(maxsize=2)
def _schedule(seed: int, period: int, counts: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Dataset of each draw of a period, and how many draws of the period it had before."""
    datasets = np.repeat(np.arange(len(counts)), counts)
    datasets = np.random.default_rng((seed, period, len(counts))).permutation(datasets)
    ranks = np.empty_like(datasets)
    for dataset, count in enumerate(counts):
        ranks[datasets == dataset] = np.arange(count)
    return datasets, ranks
