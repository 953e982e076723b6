"""Samplers that share the indices of a dataset among the processes of a job."""

import itertools
from typing import Any

import torch
from torch.utils.data import Sampler

from detectron2.utils import comm


class TrainingSampler(Sampler):
    """An endless stream of indices: one shuffled pass over the dataset after the other.

    All processes draw the same stream and process r of n keeps every n-th index from r on, so
    passes do not end at the same step everywhere.
    """

    def __init__(self, size: int, shuffle: bool = True, seed: int | None = None) -> None:
        """Set up the stream.

        Args:
            size: number of elements; not an integer is `TypeError`, below 1 `ValueError`.
            shuffle: shuffle every pass anew.
            seed: seed of the stream, equal on all processes; None agrees on a random one.
        """
        if not isinstance(size, int):
            raise TypeError(f"TrainingSampler(size=) needs an integer, got {size!r}")
        if size <= 0:
            raise ValueError(f"TrainingSampler(size=) needs a positive integer, got {size}")
        self._size, self._shuffle = size, shuffle
        self._seed = comm.shared_random_seed() if seed is None else int(seed)
        self._rank, self._world_size = comm.get_rank(), comm.get_world_size()

    def __iter__(self) -> Any:
        return itertools.islice(self._infinite_indices(), self._rank, None, self._world_size)

    def _infinite_indices(self) -> Any:
        generator = torch.Generator().manual_seed(self._seed)
        while True:
            shuffled = torch.randperm(self._size, generator=generator)
            yield from (shuffled.tolist() if self._shuffle else range(self._size))


class InferenceSampler(Sampler):
    """Every index once, in consecutive blocks per process; the first blocks may be one longer."""

    def __init__(self, size: int) -> None:
        """Cut `size` > 0 indices into one block per process."""
        assert size > 0, f"InferenceSampler needs a positive size, got {size}"
        (share, extra), rank = divmod(size, comm.get_world_size()), comm.get_rank()
        begin = rank * share + min(rank, extra)
        self._local_indices = range(begin, begin + share + (rank < extra))

    def __iter__(self) -> Any:
        return iter(self._local_indices)

    def __len__(self) -> int:
        return len(self._local_indices)
