"""Inference of stage 1 over a dataset: in shards, by several processes, resumable.

The images, sorted by aspect ratio, are cut into shards; each shard is a file, written atomically.
Batches do not cross shards, and texts are encoded in blocks that depend on the dataset alone, so
the bytes of a shard depend neither on the process that writes it nor on the shards before it.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.utils import comm
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from ..data.datasets import Record
from ..data.images import ImageError
from ..engine.loading import load_model
from ..engine.precision import prepare_cpu
from ..files import replace_file
from .anchor_job import (
    ANSWER_KEYS,
    ASKED_KEYS,
    MEASURED_IMAGES,
    AnchorJob,
    asked_words,
    plan_shards,
    word_keys,
)
from .mapper import AnchorMapper
from .retrieval import RetrievalImage, retrieval_inputs
from .text_cache import TEXTS_PER_PASS
from .wecromcl import WeCromCL

SCORE_DIGITS, POINT_DECIMALS, SIMILARITY_DECIMALS = 6, 3, 5


@dataclass
class Throughput:
    """Work and time of one process.

    Attributes:
        images: images processed.
        seconds: wall time from the first image to the last shard written.
        cpu_seconds: CPU time of this process meanwhile, without the data loader's workers.
        forward_seconds: seconds of these spent in the model.
        words: distinct words encoded.
        word_seconds: wall time for them.
    """

    images: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    forward_seconds: float = 0.0
    words: int = 0
    word_seconds: float = 0.0


@dataclass(frozen=True)
class WordTable:
    """The encoded words of a dataset.

    Attributes:
        row: row of the table by key of the word, see `word_keys`.
        table: (U, C + D) on the CPU, see `WeCromCL.encode_words`.
    """

    row: dict[str, int] = field(default_factory=dict)
    table: Tensor = field(default_factory=lambda: torch.zeros(0, 0))

    def of(self, keys: Sequence[str]) -> Tensor:
        """(Q, C + D) of Q keys."""
        return self.table[[self.row[key] for key in keys]]


def load_detector(cfg: CfgNode) -> WeCromCL:
    """The trained stage-1 model of a config, for inference.

    Raises:
        ValueError: if the config describes another kind of model.
        WeightsError: if MODEL.WEIGHTS cannot be read or does not fit.
    """
    model = load_model(cfg)
    if not isinstance(model, WeCromCL):
        raise ValueError(
            f"MODEL.META_ARCHITECTURE is {cfg.MODEL.META_ARCHITECTURE!r}; anchors are found by "
            "stage 1, 'WeCromCL'"
        )
    return model


def run_shards(
    job: AnchorJob,
    pending: Sequence[int],
    records: Sequence[Record] | None = None,
    keys: Sequence[Sequence[str]] | None = None,
) -> None:
    """Write this process's share of the missing shards; called in every process of a launch.

    Args:
        job: what to run.
        pending: numbers of the missing shards, the same in every process.
        records: the job's, if the process has read them.
        keys: see `word_keys`, if the process has computed them.

    Raises:
        OSError: if a shard cannot be written; those already written stay.
        FloatingPointError: if the weights give values that are not finite.
        ValueError: if dataset, config or weights are unusable.
    """
    prepare_cpu()
    records = job.records() if records is None else records
    keys = word_keys(job.cfg, records) if keys is None else keys
    shards = plan_shards(records, job.batch_size)
    model = load_detector(job.cfg)
    speed = Throughput()
    measured = retrieval_inputs(job.cfg, records, MEASURED_IMAGES, keys)
    asked = asked_texts(records, keys, measured)
    words = encode_words(model, asked, [i for n in pending for i in shards[n]], speed)
    rank, world = comm.get_rank(), comm.get_world_size()
    own = list(pending[rank::world])
    indices = [i for number in own for i in shards[number]]
    finder = _Finder(model, words, job.batch_size, speed)
    images = DataLoader(
        _Images(job, records, keys, measured),
        batch_size=None,
        sampler=indices,
        num_workers=job.cfg.DATALOADER.NUM_WORKERS,
        collate_fn=_unchanged,
    )
    bar = tqdm(
        total=len(indices),
        desc="anchors" if world == 1 else f"anchors, process 1 of {world}",
        unit="image",
        disable=rank > 0,
        mininterval=0.5 if sys.stderr.isatty() else 30,
    )
    start, cpu_start = time.perf_counter(), time.process_time()
    with bar:
        stream = iter(images)
        for number in own:
            found = finder.find(shards[number], stream, bar.update)
            _write_shard(job.shard(number), found)
            speed.images += len(found)
    speed.seconds = time.perf_counter() - start
    speed.cpu_seconds = time.process_time() - cpu_start
    with replace_file(job.speed_file(rank)) as file:
        file.write(json.dumps(vars(speed)).encode())


def asked_texts(
    records: Sequence[Record],
    keys: Sequence[Sequence[str]],
    measured: Mapping[int, Mapping[str, Any]],
) -> list[list[str]]:
    """The texts that the model is asked for in each image: its words, then its negatives.

    Args:
        records: all of the dataset.
        keys: see `word_keys`.
        measured: see `retrieval_inputs`.
    """
    own = [[keys[i][row] for row in asked_words(r, keys[i])] for i, r in enumerate(records)]
    return [words + measured.get(i, {}).get("negatives", []) for i, words in enumerate(own)]


@torch.no_grad()
def encode_words(
    model: WeCromCL, asked: Sequence[Sequence[str]], indices: Sequence[int], speed: Throughput
) -> WordTable:
    """The words of some images, each encoded once, by one of the processes.

    Args:
        model: the detector.
        asked: texts of all images, see `asked_texts`.
        indices: of the images.
        speed: `words` and `word_seconds` are set in it.
    """
    start = time.perf_counter()
    every = list(dict.fromkeys(key for per_image in asked for key in per_image))
    needed = {key for index in indices for key in asked[index]}
    blocks = [every[i : i + TEXTS_PER_PASS] for i in range(0, len(every), TEXTS_PER_PASS)]
    blocks = [block for block in blocks if not needed.isdisjoint(block)]
    own = {}
    for number in range(comm.get_rank(), len(blocks), comm.get_world_size()):
        own[number] = model.encode_words(blocks[number]).cpu()
        speed.words += len(blocks[number])
    tables = {n: table for share in comm.all_gather(own) for n, table in share.items()}
    speed.word_seconds = time.perf_counter() - start
    if not blocks:
        return WordTable()
    places = {key: i for i, key in enumerate(key for block in blocks for key in block)}
    return WordTable(places, torch.cat([tables[number] for number in range(len(blocks))]))


class _Images(Dataset):
    """Item i is the model input of record i, or the `ImageError` of its image."""

    def __init__(
        self,
        job: AnchorJob,
        records: Sequence[Record],
        keys: Sequence[Sequence[str]],
        measured: Mapping[int, Mapping[str, Any]],
    ):
        self.records, self.keys, self.measured = records, keys, measured
        self.mapper = AnchorMapper(job.cfg, False)

    def __getitem__(self, index: int) -> dict[str, Any] | ImageError:
        record, keys = self.records[index], self.keys[index]
        asked = {key: record[key] for key in ASKED_KEYS}
        asked["texts"] = [keys[row] for row in asked_words(record, keys)]
        asked |= self.measured.get(index, {})
        try:
            return self.mapper(asked)
        except ImageError as error:
            return error


def _unchanged(item: Any) -> Any:
    return item


class _Finder:
    """Inference in batches of images of one size.

    Args:
        model: the detector.
        words: all words of the images, encoded.
        batch_size: images of one size that share a forward pass.
        speed: `forward_seconds` is increased in it.
    """

    def __init__(self, model: WeCromCL, words: WordTable, batch_size: int, speed: Throughput):
        self.model, self.words, self.batch_size, self.speed = model, words, batch_size, speed

    def find(
        self, indices: Sequence[int], images: Iterator[Any], progress: Callable[[int], Any]
    ) -> dict[int, dict[str, Any]]:
        """The line of each image of a shard, by index; images of one size share batches.

        Args:
            indices: of the shard's records.
            images: iterator over items of `_Images`, the next one being the shard's first.
            progress: called with the number of images that are done.
        """
        found: dict[int, dict[str, Any]] = {}
        groups: dict[tuple, list[tuple[int, dict[str, Any]]]] = {}
        for index in indices:
            image = next(images)
            if isinstance(image, ImageError):
                found[index] = {"problem": str(image)}
                progress(1)
                continue
            if not image["texts"]:
                found[index] = dict.fromkeys(ANSWER_KEYS, ())
                progress(1)
                continue
            group = groups.setdefault(tuple(image["image"].shape), [])
            group.append((index, image))
            if len(group) == self.batch_size:
                found |= self._ask(groups.pop(tuple(image["image"].shape)))
                progress(len(group))
        for group in groups.values():
            found |= self._ask(group)
            progress(len(group))
        return {index: found[index] for index in indices}

    def _ask(self, group: Sequence[tuple[int, dict[str, Any]]]) -> dict[int, dict[str, Any]]:
        start = time.perf_counter()
        asked = ([*image["texts"], *image.get("negatives", ())] for _, image in group)
        keys = list(dict.fromkeys(key for texts in asked for key in texts))
        self.model.word_cache.update(keys, self.words.of(keys).to(self.model.device))
        outputs = self.model([image for _, image in group])
        found = {
            index: _answer(image, output)
            for (index, image), output in zip(group, outputs, strict=True)
        }
        self.speed.forward_seconds += time.perf_counter() - start
        return found


def _answer(image: dict[str, Any], output: dict[str, Any]) -> dict[str, Any]:
    """The line of an image in its shard, see `collect_shards`.

    Point and score of a peak that does not exist are None.
    """
    instances = output["instances"]
    points = instances.pred_points.cpu().numpy().round(POINT_DECIMALS).tolist()
    scores = [float(f"{score:.{SCORE_DIGITS}g}") for score in instances.scores.tolist()]
    answer: dict[str, Any] = {
        "points": [p if s > 0 else None for p, s in zip(points, scores, strict=True)],
        "scores": [s if s > 0 else None for s in scores],
        "similarity": [
            round(value, SIMILARITY_DECIMALS) for value in instances.similarity.tolist()
        ],
    }
    if "negatives" in image:
        answer["retrieval"] = RetrievalImage.of(image, output).as_dict()
    return answer


def _write_shard(path: Path, found: dict[int, dict[str, Any]]) -> None:
    with replace_file(path) as stream:
        for index, answer in found.items():
            line = json.dumps({"index": index, **answer}, ensure_ascii=False) + "\n"
            stream.write(line.encode("utf-8", "backslashreplace"))
