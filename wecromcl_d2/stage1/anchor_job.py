"""Planning of a labelling run: its images and words, its shards and their fingerprint."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog

from ..data.datasets import Record, ensure_registered, usable_words
from ..data.records import LongWordRecords

# Small enough that the unfinished shard, which an interruption loses, costs little; large enough
# that few batches are incomplete, as the last of each image size in a shard may be.
BATCHES_PER_SHARD = 8
# Keys of a record that the model gets beside its texts; no positions.
ASKED_KEYS = ("file_name", "height", "width")
# Images on which retrieval is measured.
MEASURED_IMAGES = 200
# Results of a shard for each of `asked_words`.
ANSWER_KEYS = ("points", "scores", "similarity")


@dataclass(frozen=True)
class AnchorJob:
    """The input of a labelling run and the folder of its shards.

    Attributes:
        cfg: config of the detector, MODEL.WEIGHTS included.
        dataset: name as `ensure_registered` takes it.
        batch_size: images that share a forward pass, if they have one size.
        folder: of the shards; runs share it only if their `fingerprint`s are equal.
        count: use only the first `count` images; None for all.
    """

    cfg: CfgNode
    dataset: str
    batch_size: int
    folder: Path
    count: int | None = None

    def records(self) -> Sequence[Record]:
        """Read the dataset."""
        return load_records(self.dataset, self.cfg.INPUT.MIN_TEXT_LENGTH)[: self.count]

    def shard(self, number: int) -> Path:
        """File of a shard."""
        return self.folder / f"shard-{number:06d}.jsonl"

    def speed_file(self, name: str) -> Path:
        """File into which a process of this name writes its `Throughput`."""
        return self.folder / f"speed-{name}.json"

    def word_file(self, number: int) -> Path:
        """File of a block of encoded words, see `word_files`."""
        return self.folder / f"words-{number:06d}.npy"


class ShardPlan(Sequence[list[int]]):
    """The indices of the records of each shard.

    Args:
        order: (R,) int64, all indices.
        size: images of a shard, fewer in the last one.
    """

    def __init__(self, order: np.ndarray, size: int):
        self.order, self.size = order, size

    def __len__(self) -> int:
        return -(-len(self.order) // self.size)

    @overload
    def __getitem__(self, number: int) -> list[int]: ...

    @overload
    def __getitem__(self, number: slice) -> list[list[int]]: ...

    def __getitem__(self, number: int | slice) -> list[int] | list[list[int]]:
        if isinstance(number, slice):
            return [self[n] for n in range(len(self))[number]]
        start = range(len(self))[number] * self.size
        return list(map(int, self.order[start : start + self.size]))


def load_records(dataset: str, min_length: int = 1) -> Sequence[Record]:
    """Read a registered dataset or a label file, see `ensure_registered`.

    Raises:
        KeyError: if there is no such dataset.
        LabelError: if its labels are bad.
    """
    ensure_registered(dataset)
    return LongWordRecords(DatasetCatalog.get(dataset), min_length)


def asked_words(record: Record, keys: Sequence[str]) -> list[int]:
    """Indices of the words that get an anchor: neither ignored nor without a readable character."""
    return [i for i, usable in enumerate(usable_words(record)) if usable and keys[i]]


def plan_shards(records: Sequence[Record], batch_size: int) -> ShardPlan:
    """Shards of records that are sorted by aspect ratio, so that batches fill up."""
    kind = np.dtype([("height", np.int32), ("width", np.int32)])
    sizes = np.fromiter(((r["height"], r["width"]) for r in records), kind, len(records))
    order = np.lexsort((sizes["height"], sizes["width"] / sizes["height"]))
    return ShardPlan(order, batch_size * BATCHES_PER_SHARD)


def fingerprint(job: AnchorJob, records: Sequence[Record]) -> dict[str, str]:
    """Digests, by name, of everything that the content of the shards depends on."""
    images = hashlib.sha256()
    for record in records:
        asked = [record[key] for key in ASKED_KEYS] + [record["texts"], usable_words(record)]
        images.update(json.dumps(asked).encode())
    cfg = job.cfg.clone()
    cfg.defrost()
    cfg.MODEL.WEIGHTS = ""
    config = cfg.MODEL.dump() + cfg.INPUT.dump() + cfg.TEST.RETRIEVAL.dump()
    weights = hashlib.sha256()
    with open(job.cfg.MODEL.WEIGHTS, "rb") as stream:
        while block := stream.read(2**20):
            weights.update(block)
    return {
        "weights": weights.hexdigest(),
        "config": hashlib.sha256(config.encode()).hexdigest(),
        "images_and_texts": images.hexdigest(),
        "batch_size": str(job.batch_size),
        "answers": ", ".join(ANSWER_KEYS),
    }


def pending_shards(job: AnchorJob, numbers: Sequence[int]) -> list[int]:
    """Those of some shards whose files do not exist yet."""
    return [number for number in numbers if not job.shard(number).is_file()]
