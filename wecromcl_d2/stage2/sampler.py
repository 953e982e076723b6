"""Batches for training on whole images: every image once per epoch, in an order drawn anew.

Every choice is a pure function of (seed, iteration), like those of stage 1 in `sampling`.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np


@dataclass(frozen=True)
class ImageChoice:
    """One place of a training batch.

    Attributes:
        index: of the image in the dataset.
    """

    index: int

    def extend(self, record: dict[str, Any]) -> dict[str, Any]:
        """The image's record as it is."""
        return record


class ShuffleSampler:
    """Draws every image once before any comes again.

    Args:
        num_images: of the dataset.
        batch_size: images per batch.
        seed: of all choices.

    Raises:
        ValueError: if there is no image.
    """

    def __init__(self, num_images: int, batch_size: int, seed: int):
        if num_images < 1:
            raise ValueError("the dataset has no image that can be trained on")
        self.num_images, self.batch_size, self.seed = num_images, batch_size, seed

    def sample(self, iteration: int) -> list[ImageChoice]:
        """The batch of one iteration; the last of an epoch goes on with the next epoch."""
        first = iteration * self.batch_size
        places = range(first, first + self.batch_size)
        return [ImageChoice(self._image(place)) for place in places]

    def replace(
        self, batch: list[ImageChoice], place: int, attempt: int, iteration: int
    ) -> ImageChoice:
        """Another image for one place of a batch, for use when its own cannot be read."""
        rng = np.random.default_rng((self.seed, iteration, place, attempt))
        return ImageChoice(int(rng.integers(self.num_images)))

    def _image(self, place: int) -> int:
        epoch, position = divmod(place, self.num_images)
        return int(_order(self.seed, epoch, self.num_images)[position])


@lru_cache(maxsize=2)  # a batch touches two epochs at most
def _order(seed: int, epoch: int, num_images: int) -> np.ndarray:
    return np.random.default_rng((seed, epoch)).permutation(num_images)
