"""Records of datasets as sequences that make each dict when it is asked for."""

from __future__ import annotations

import bisect
import json
import posixpath
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import overload

import numpy as np
from torch.utils.data import Dataset

from .label_cache import LabelTable
from .label_format import Record, identity_of, ignored_words, ordered, texts_that_count


@dataclass(frozen=True)
class TextIndex:
    """The texts that count in each of R images, as numbers.

    Attributes:
        texts: at least all that occur; may name a text twice, and "" is none.
        ids: (W,) int, for each text of each image its number among `texts`.
        bounds: (R + 1,) int, where the texts of each image begin in `ids`.
    """

    texts: list[str]
    ids: np.ndarray
    bounds: np.ndarray

    @classmethod
    def of(cls, images: Iterable[Sequence[str]]) -> TextIndex:
        """The index of the texts of each image."""
        numbers: dict[str, int] = {}
        ids, bounds = [], [0]
        for texts in images:
            ids += [numbers.setdefault(text, len(numbers)) for text in texts]
            bounds.append(len(ids))
        return cls(list(numbers), np.array(ids, dtype=np.int32), np.array(bounds, dtype=np.int64))

    @classmethod
    def join(cls, parts: Sequence[TextIndex]) -> TextIndex:
        """The index of the images of several datasets, one behind the other."""
        if len(parts) == 1:
            return parts[0]
        first_text = np.cumsum([0, *(len(part.texts) for part in parts)])
        first_id = np.cumsum([0, *(len(part.ids) for part in parts)])
        ids = [part.ids + np.int32(n) for part, n in zip(parts, first_text, strict=False)]
        bounds = [part.bounds[1:] + n for part, n in zip(parts, first_id, strict=False)]
        texts = [text for part in parts for text in part.texts]
        return cls(texts, np.concatenate(ids), np.concatenate([[0], *bounds]))

    def __len__(self) -> int:
        """Number of images."""
        return len(self.bounds) - 1


class Records(Sequence[Record], Dataset):
    """Records of images, a fresh dict at each access; a slice of them is such a sequence too.

    A torch dataset as well, so that Detectron2's loaders take it as it is. A subclass says by
    `_read` what a record is.

    Args:
        count: of all records.
    """

    def __init__(self, count: int):
        self._chosen = range(count)

    def _read(self, index: int) -> Record:
        """The record of an index of the unsliced sequence."""
        raise NotImplementedError

    @property
    def text_index(self) -> TextIndex:
        """The texts that count in each image."""
        return TextIndex.of(texts_that_count(record) for record in self)

    def __len__(self) -> int:
        return len(self._chosen)

    @overload
    def __getitem__(self, index: int) -> Record: ...

    @overload
    def __getitem__(self, index: slice) -> Records: ...

    def __getitem__(self, index: int | slice) -> Record | Records:
        chosen = self._chosen[index]
        if isinstance(chosen, int):
            return self._read(chosen)
        return _Part(self, chosen)

    def __iter__(self) -> Iterator[Record]:
        return map(self._read, self._chosen)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, (list, Records)):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]


class _Part(Records):
    """Some records of others."""

    def __init__(self, whole: Sequence[Record], chosen: range):
        super().__init__(len(chosen))
        self._whole, self._indices = whole, chosen

    def _read(self, index: int) -> Record:
        return self._whole[self._indices[index]]


class LabelRecords(Records):
    """The records of a label file.

    Args:
        table: the checked file.
        root: folder that `file_name` is relative to.
        sizes: (R, 2) height and width of each image; those that the file states by default.
    """

    def __init__(self, table: LabelTable, root: Path, sizes: np.ndarray | None = None):
        super().__init__(len(table))
        self.table, self.root = table, root
        self._sizes = sizes  # None stays None, so that the table's are not sent to other processes
        self._prefix = str(root / "x").removesuffix("x")

    @property
    def sizes(self) -> np.ndarray:
        """(R, 2) height and width of each image; 0 if unknown."""
        return self.table.sizes if self._sizes is None else self._sizes

    def _read(self, index: int) -> Record:
        record = ordered(self.table.read(index))
        name = posixpath.normpath(record["file_name"])
        record["image_id"] = identity_of(record, name)
        record["file_name"] = self._prefix + name
        if "height" not in record and self.sizes[index, 0]:
            record["height"], record["width"] = self.sizes[index].tolist()
        return record

    @property
    def text_index(self) -> TextIndex:
        """The index that the table holds."""
        texts = json.loads(self.table.texts.tobytes())
        return TextIndex(texts, self.table.ids, self.table.bounds)


class JoinedRecords(Records):
    """The records of several datasets, one behind the other.

    Args:
        parts: the records of each.
    """

    def __init__(self, parts: Sequence[Sequence[Record]]):
        self._parts, self._ends = parts, list(accumulate(map(len, parts)))
        super().__init__(self._ends[-1] if parts else 0)

    def _read(self, index: int) -> Record:
        number = bisect.bisect_right(self._ends, index)
        return self._parts[number][index - self._ends[number]]  # from the end of the part

    @property
    def text_index(self) -> TextIndex:
        """The indices of the parts, joined."""
        return TextIndex.join([index_texts(part) for part in self._parts])


class MappedRecords(Records):
    """Records that pass through a function when they are asked for.

    Args:
        records: to be mapped.
        function: record -> record, a new one.
    """

    def __init__(self, records: Sequence[Record], function: Callable[[Record], Record]):
        super().__init__(len(records))
        self._records, self._function = records, function

    def _read(self, index: int) -> Record:
        return self._function(self._records[index])


class LongWordRecords(MappedRecords):
    """Records whose texts of fewer than `min_length` characters are ignored.

    Args:
        records: dataset dicts.
        min_length: in characters.
    """

    def __init__(self, records: Sequence[Record], min_length: int):
        super().__init__(records, partial(_ignore_short_words, min_length=min_length))
        self._min_length = min_length

    @property
    def text_index(self) -> TextIndex:
        """The index without the short texts."""
        index = index_texts(self._records)
        return replace(index, texts=[t if len(t) >= self._min_length else "" for t in index.texts])


def _ignore_short_words(record: Record, min_length: int) -> Record:
    short = [len(text) < min_length for text in record["texts"]]
    return record | {"ignore": [a or b for a, b in zip(ignored_words(record), short, strict=True)]}


def index_texts(records: Sequence[Record]) -> TextIndex:
    """The texts that count in each image."""
    if isinstance(records, Records):
        return records.text_index
    return TextIndex.of(texts_that_count(record) for record in records)
