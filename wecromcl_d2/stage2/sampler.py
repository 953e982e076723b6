"""Batches of stage 2: every image once per epoch, reshuffled each epoch.

Each batch is a pure function of (seed, iteration), as in `stage1.sampling`.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np


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


class ShuffleSampler:
    """Shuffles the images anew for each epoch.

    Args:
        num_images: of the dataset.
        batch_size: images per batch.
        seed: of all random draws.

    Raises:
        ValueError: if there is no image.
    """

    def __init__(self, num_images: int, batch_size: int, seed: int):
        if num_images < 1:
            raise ValueError("the dataset has no image that can be trained on")
        self.num_images, self.batch_size, self.seed = num_images, batch_size, seed

    def sample(self, iteration: int) -> list[ImageEntry]:
        """The batch of one iteration; the last batch of an epoch is filled from the next epoch."""
        first = iteration * self.batch_size
        places = range(first, first + self.batch_size)
        return [ImageEntry(self._image(place)) for place in places]

    def replace(
        self, batch: list[ImageEntry], position: int, attempt: int, iteration: int
    ) -> ImageEntry:
        """A replacement for the image at a position of a batch that cannot be read."""
        rng = np.random.default_rng((self.seed, iteration, position, attempt))
        return ImageEntry(int(rng.integers(self.num_images)))

    def _image(self, position: int) -> int:
        epoch, index = divmod(position, self.num_images)
        return int(_order(self.seed, epoch, self.num_images)[index])


@lru_cache(maxsize=2)  # a batch touches two epochs at most
def _order(seed: int, epoch: int, num_images: int) -> np.ndarray:
    return np.random.default_rng((seed, epoch)).permutation(num_images)
