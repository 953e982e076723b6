"""Sampling of several datasets in given shares, independent of their sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# Number of draws in which each dataset has its share exactly, to 1 / PERIOD.
PERIOD = 10_000


@dataclass(frozen=True)
class Mixture:
    """Sizes and shares of datasets whose records follow each other in one list.

    Attributes:
        sizes: number of records of each dataset.
        shares: of each dataset in the draws; they add up to 1.
    """

    sizes: tuple[int, ...]
    shares: tuple[float, ...]

    @classmethod
    def of(cls, sizes: Sequence[int], proportions: Sequence[float]) -> Mixture:
        """Build from proportions of any sum.

        Raises:
            ValueError: if the numbers of sizes and proportions differ, a proportion is not above 0
                or a dataset is empty.
        """
        if len(proportions) != len(sizes):
            raise ValueError(
                f"DATASETS.PROPORTIONS has {len(proportions)} numbers for {len(sizes)} datasets of "
                "DATASETS.TRAIN; give one for each"
            )
        if not all(share > 0 for share in proportions) or not all(sizes):
            raise ValueError(
                f"DATASETS.PROPORTIONS are {list(proportions)} for datasets of {list(sizes)} "
                "images; both must be above 0"
            )
        total = sum(proportions)
        return cls(tuple(sizes), tuple(share / total for share in proportions))

    def starts(self) -> np.ndarray:
        """Index of the first record of each dataset, and the end of the last one."""
        return np.cumsum([0, *self.sizes])

    def counts(self) -> np.ndarray:
        """Draws of each dataset in a period: rounded down, the rest to the largest remainders."""
        exact = np.array(self.shares) * PERIOD
        counts = np.floor(exact).astype(int)
        largest = np.argsort(counts - exact, kind="stable")
        counts[largest[: PERIOD - counts.sum()]] += 1
        return counts
