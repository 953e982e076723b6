"""Training batches as a pure function of seed and iteration, prefetched by workers."""

import itertools
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from detectron2.utils import comm
from torch.utils.data import DataLoader, Dataset

from .images import ImageError

logger = logging.getLogger(__name__)

# Replacements of one damaged image after which the loader raises an error.
MAX_REPLACEMENTS = 10


class SamplingError(ValueError):
    """The dataset cannot fill a batch; the message names what is missing."""


class BatchEntry(Protocol):
    """One place of a batch."""

    @property
    def index(self) -> int:
        """Index of the record."""

    def extend(self, record: dict[str, Any]) -> dict[str, Any]:
        """The record with the additions of the sampler, such as its query texts."""


class Sampler(Protocol):
    """Chooses the records of the batch of an iteration."""

    seed: int

    def sample(self, iteration: int) -> list[Any]:
        """The `BatchEntry` of each place of the batch."""

    def replace(self, batch: list[Any], place: int, attempt: int, iteration: int) -> Any:
        """Another `BatchEntry` for one place, whose image cannot be read."""


@dataclass(frozen=True)
class Phase:
    """A range of iterations with records of its own.

    Attributes:
        records: dataset dicts.
        sampler: draws its batches from `records`.
        end: first iteration after the phase.
    """

    records: Sequence[dict[str, Any]]
    sampler: Sampler
    end: float


class TrainBatches(Dataset):
    """Item t is this process's share of the batch of iteration t.

    Args:
        phases: in order of their ends; the last has no end.
        mapper: record, with the additions of the sampler -> model input.
    """

    def __init__(self, phases: Sequence[Phase], mapper: Callable[[dict], dict]):
        self.phases, self.mapper = list(phases), mapper
        self.rank, self.world_size = comm.get_rank(), comm.get_world_size()

    def __getitem__(self, iteration: int) -> tuple[list[dict], list[str]]:
        """Model inputs, and error messages of the images that were replaced."""
        phase = next(phase for phase in self.phases if iteration < phase.end)
        batch = phase.sampler.sample(iteration)
        share = len(batch) // self.world_size
        inputs: list[dict] = []
        problems: list[str] = []
        for place in range(self.rank * share, (self.rank + 1) * share):
            with _numpy_seed(phase.sampler.seed, iteration, place):
                inputs.append(self._read(phase, batch, place, iteration, problems))
        return inputs, problems

    def _read(
        self, phase: Phase, batch: list[BatchEntry], place: int, iteration: int, problems: list[str]
    ) -> dict:
        choice = batch[place]
        for attempt in range(1, MAX_REPLACEMENTS + 1):
            try:
                return self.mapper(choice.extend(phase.records[choice.index]))
            except ImageError as error:
                problems.append(str(error))
                choice = phase.sampler.replace(batch, place, attempt, iteration)
        raise SamplingError(
            f"{MAX_REPLACEMENTS} unreadable images in a row, the last: {problems[-1]}"
        )


class TrainLoader:
    """Endless training batches from any iteration on.

    Args:
        batches: item t is the batch of iteration t.
        num_workers: processes that prefetch batches; 0 for none.
    """

    def __init__(self, batches: TrainBatches, num_workers: int):
        self.batches, self.num_workers = batches, num_workers
        self.first_iteration = 0
        self.damaged: set[str] = set()

    def seek(self, iteration: int) -> None:
        """Let the next iterator start with the batch of `iteration`."""
        self.first_iteration = iteration

    def __iter__(self) -> Iterator[list[dict]]:
        """Batches from `first_iteration` on; each damaged image is reported once."""
        loader = DataLoader(
            self.batches,
            batch_size=None,
            sampler=itertools.count(self.first_iteration),
            num_workers=self.num_workers,
            # Each iterator draws a seed; taken from the global generator, it would change dropout.
            generator=torch.Generator(),
        )
        for inputs, problems in loader:
            for problem in problems:
                if problem not in self.damaged:
                    self.damaged.add(problem)
                    logger.warning("%s; skipped (%d so far)", problem, len(self.damaged))
            yield inputs


@contextmanager
def _numpy_seed(*entropy: int) -> Iterator[None]:
    """Seed numpy's global generator, which augmentations use, and restore its state afterwards."""
    state = np.random.get_state()
    np.random.seed(np.random.SeedSequence(entropy).generate_state(4))
    try:
        yield
    finally:
        np.random.set_state(state)
