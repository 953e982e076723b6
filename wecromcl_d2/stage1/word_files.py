"""The encoded words of a labelling run, in files that all its processes share.

The distinct words of the dataset are cut into blocks of `TEXTS_PER_PASS`, which depend on the
dataset alone, and so do their features, to the last bit. A block is encoded by the process that
first needs it; the others map its file.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from ..files import replace_file
from .anchor_job import AnchorJob
from .text_cache import TEXTS_PER_PASS
from .wecromcl import WeCromCL

# The golden ratio spreads the blocks at which processes begin; so few meet at the same one.
_SPREAD = 0.6180339887


class WordFiles:
    """Features of the words of a dataset, see `WeCromCL.encode_words`.

    Args:
        job: the run, whose folder holds the files.
        model: the detector.
        words: all distinct words of the dataset.
        number: of this process among those that share the run.

    Attributes:
        encoded: words encoded by this process.
        seconds: wall time for them.
        cpu_seconds: CPU time for them.
    """

    def __init__(self, job: AnchorJob, model: WeCromCL, words: Sequence[str], number: int):
        self._job, self._model, self._words = job, model, words
        self._places = {key: place for place, key in enumerate(words)}
        blocks = -(-len(words) // TEXTS_PER_PASS)
        self._first = int(number * _SPREAD % 1 * blocks)
        self._tables: dict[int, np.ndarray] = {}
        self.encoded, self.seconds, self.cpu_seconds = 0, 0.0, 0.0

    def prepare(self, keys: Iterable[str]) -> None:
        """Make sure that the files of the blocks of some words exist.

        Raises:
            OSError: if a file cannot be written.
        """
        needed = {self._places[key] // TEXTS_PER_PASS for key in keys} - self._tables.keys()
        for number in sorted(needed, key=lambda block: (block < self._first, block)):
            path = self._job.word_file(number)
            if not path.is_file():
                self._encode(number)
            self._tables[number] = np.load(path, mmap_mode="r")

    def of(self, keys: Sequence[str]) -> Tensor:
        """(Q, C + D) of Q prepared words, on the CPU."""
        places = (divmod(self._places[key], TEXTS_PER_PASS) for key in keys)
        return torch.from_numpy(np.stack([self._tables[block][row] for block, row in places]))

    @torch.no_grad()
    def _encode(self, number: int) -> None:
        start, cpu_start = time.perf_counter(), time.process_time()
        block = self._words[number * TEXTS_PER_PASS : (number + 1) * TEXTS_PER_PASS]
        table = self._model.encode_words(block).cpu().numpy()
        with replace_file(self._job.word_file(number)) as stream:
            np.save(stream, table)
        self.encoded += len(block)
        self.seconds += time.perf_counter() - start
        self.cpu_seconds += time.process_time() - cpu_start
