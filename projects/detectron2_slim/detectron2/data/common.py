"""Dataset wrappers: serialised storage, lazy mapping, iteration by a sampler, grouping."""

import copy
import pickle
import random
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch.utils import data

from detectron2.utils.serialize import PicklableWrapper


class MapDataset(data.Dataset):
    """A dataset whose elements pass through a function when they are asked for.

    An iterable dataset gives an iterable result. Where the function returns None, the iterable
    form goes on to the next element; the indexed form tries other elements at random, in an
    order that is the same for every instance.
    """

    def __new__(cls, dataset: Any = None, map_func: Any = None) -> "MapDataset":
        """An object of the form that fits `dataset`; without one (unpickling) of this class."""
        return super().__new__(_IterableMap if isinstance(dataset, data.IterableDataset) else cls)

    def __init__(self, dataset: Any, map_func: Any) -> None:
        """Wrap a dataset.

        Args:
            dataset: anything with `len` and integer indices, or a torch `IterableDataset`.
            map_func: one element -> its mapped form, or None to refuse it. Lambdas and closures
                reach worker processes under every start method.
        """
        self._dataset, self._map_func = dataset, PicklableWrapper(map_func)
        self._rng, self._refused = random.Random(42), set[int]()

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> Any:
        """The mapped element, or that of another index; `ValueError` when none is usable."""
        current = int(index)
        while (result := self._map_func(self._dataset[current])) is None:
            self._refused.add(current)
            candidates = [i for i in range(len(self)) if i not in self._refused]
            if not candidates:
                raise ValueError(f"the mapper refuses every element, the last time for {index}")
            current = self._rng.choice(candidates)
        self._refused.discard(current)
        return result


class _IterableMap(MapDataset, data.IterableDataset):
    def __iter__(self) -> Any:
        return (x for x in map(self._map_func, self._dataset) if x is not None)


class _SerializedList:
    """Pickled items in one byte tensor, which processes share instead of copying."""

    def __init__(self, items: list[Any]) -> None:
        blobs = [pickle.dumps(x, protocol=pickle.HIGHEST_PROTOCOL) for x in items]
        self._spans = torch.tensor(list(pairwise(accumulate(map(len, blobs), initial=0))))
        self._bytes = torch.frombuffer(bytearray(b"".join(blobs)), dtype=torch.uint8)

    def __len__(self) -> int:
        return len(self._spans)

    def __getitem__(self, index: int) -> Any:
        start, end = self._spans[index].tolist()
        return pickle.loads(self._bytes[start:end].numpy().data)


class DatasetFromList(data.Dataset):
    """A list as a torch dataset."""

    def __init__(self, lst: list[Any], copy: bool = True, serialize: bool = True) -> None:
        """Wrap a list.

        Args:
            lst: the elements.
            copy: hand out deep copies, so that a change does not reach the list.
            serialize: keep the elements as bytes in shared memory; every access then makes a
                fresh object whatever `copy` says.
        """
        self._lst = _SerializedList(lst) if serialize else lst
        self._deepcopy = copy and not serialize

    def __len__(self) -> int:
        return len(self._lst)

    def __getitem__(self, index: int) -> Any:
        return copy.deepcopy(self._lst[index]) if self._deepcopy else self._lst[index]


class ToIterableDataset(data.IterableDataset):
    """An indexed dataset walked in the order of a sampler."""

    def __init__(self, dataset: Any, sampler: Any, *, shard_chunk_size: int = 1) -> None:
        """Join a dataset and a sampler.

        Args:
            dataset: the indexed dataset.
            sampler: gives the indices; it runs in every loader worker.
            shard_chunk_size: neighbouring indices that stay in one worker, which skips those of
                the others. With the batch size as chunk, the batches do not depend on the number
                of workers.
        """
        self.dataset, self.sampler, self.shard_chunk_size = dataset, sampler, shard_chunk_size

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Any:
        worker = data.get_worker_info()
        for position, index in enumerate(self.sampler):
            turn = position // self.shard_chunk_size
            if worker is None or turn % worker.num_workers == worker.id:
                yield self.dataset[index]


class AspectRatioGroupedDataset(data.IterableDataset):
    """Batches of images that are all wider than high or all not, to spare padding."""

    def __init__(self, dataset: Any, batch_size: int) -> None:
        """Group `dataset`, whose dicts have `width` and `height`, into lists of `batch_size`."""
        self.dataset, self.batch_size = dataset, batch_size
        self._buckets: tuple[list, list] = ([], [])

    def __iter__(self) -> Any:
        for record in self.dataset:
            bucket = self._buckets[record["width"] > record["height"]]
            bucket.append(record)
            if len(bucket) == self.batch_size:
                batch = bucket[:]
                bucket.clear()  # before the yield: code after it may never run
                yield batch
