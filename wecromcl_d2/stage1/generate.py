"""Inference of stage 1 over a dataset: in shards, by several processes, resumable.

The images, sorted by aspect ratio, are cut into shards; each shard is a file, written atomically.
Batches do not cross shards, and texts are encoded in blocks that depend on the dataset alone, see
`word_files`, so the bytes of a shard depend neither on the process that writes it nor on the shards
before it.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode
from detectron2.utils import comm
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
)
from .mapper import AnchorMapper
from .retrieval import RetrievalImage, retrieval_inputs
from .text_keys import key_reader, vocabulary
from .wecromcl import WeCromCL
from .word_files import WordFiles

SCORE_DIGITS, POINT_DECIMALS, SIMILARITY_DECIMALS = 6, 3, 5


@dataclass
class Throughput:
    """Work and time of one process.

    Attributes:
        images: images processed.
        seconds: wall time from the first image to the last shard written, without that for words.
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


def _unchanged(item: Any) -> Any:
    return item


def _ignore(count: int) -> None:
    """Progress that nobody follows."""


class ShardRunner:
    """Writes shards of a run; made once in a process, which it configures.

    Args:
        job: what to run.
        number: of this process among those that share the run.
        records: the job's, if the process has read them.

    Raises:
        ValueError: if dataset, config or weights are unusable.
    """

    def __init__(self, job: AnchorJob, number: int = 0, records: Sequence[Record] | None = None):
        prepare_cpu()
        self.job = job
        records = job.records() if records is None else records
        self.shards = plan_shards(records, job.batch_size)
        model = load_detector(job.cfg)
        self.speed = Throughput()
        self.images = _Images(job, records)
        self.words = WordFiles(job, model, vocabulary(job.cfg, records), number)
        self.finder = _Finder(model, self.words, job.batch_size, self.speed)

    def run(self, numbers: Sequence[int], progress: Callable[[int], Any] = _ignore) -> Throughput:
        """Write shards; returns the work and time of the process so far.

        Args:
            numbers: of the shards.
            progress: called with each number of images that are done.

        Raises:
            OSError: if a shard cannot be written; those already written stay.
            FloatingPointError: if the weights give values that are not finite.
        """
        loader = DataLoader(
            self.images,
            batch_size=None,
            sampler=chain.from_iterable(self.shards[number] for number in numbers),
            num_workers=self.job.cfg.DATALOADER.NUM_WORKERS,
            collate_fn=_unchanged,
        )
        start, cpu_start = self._clocks()
        stream = iter(loader)
        for number in numbers:
            found = self.finder.find(self.shards[number], stream, progress)
            _write_shard(self.job.shard(number), found)
            self.speed.images += len(found)
        end, cpu_end = self._clocks()
        self.speed.seconds += end - start
        self.speed.cpu_seconds += cpu_end - cpu_start
        self.speed.words, self.speed.word_seconds = self.words.encoded, self.words.seconds
        return self.speed

    def _clocks(self) -> tuple[float, float]:
        """Wall time and CPU time, which stand still while words are encoded."""
        words = self.words
        return time.perf_counter() - words.seconds, time.process_time() - words.cpu_seconds


def run_shards(
    job: AnchorJob,
    pending: Sequence[int],
    records: Sequence[Record] | None = None,
    name: str = "run",
) -> None:
    """Write this process's share of the missing shards; called in every process of a launch.

    Args:
        job: what to run.
        pending: numbers of the missing shards, the same in every process.
        records: the job's, if the process has read them.
        name: of the launch, for the files of its processes' `Throughput`.

    Raises:
        OSError: see `ShardRunner.run`.
        FloatingPointError: likewise.
        ValueError: see `ShardRunner`.
    """
    rank, world = comm.get_rank(), comm.get_world_size()
    runner = ShardRunner(job, rank, records)
    own = pending[rank::world]
    with tqdm(
        total=sum(len(runner.shards[number]) for number in own),
        desc="anchors" if world == 1 else f"anchors, process 1 of {world}",
        unit="image",
        disable=rank > 0,
        mininterval=0.5 if sys.stderr.isatty() else 30,
    ) as bar:
        speed = runner.run(own, bar.update)
    with replace_file(job.speed_file(f"{name}-{rank}")) as file:
        file.write(json.dumps(vars(speed)).encode())


class _Images(Dataset):
    """Item i is the model input of record i, or the `ImageError` of its image."""

    def __init__(self, job: AnchorJob, records: Sequence[Record]):
        self.records, self.keys_of = records, key_reader(job.cfg)
        self.measured = retrieval_inputs(job.cfg, records, MEASURED_IMAGES)
        self.mapper = AnchorMapper(job.cfg, False)

    def __getitem__(self, index: int) -> dict[str, Any] | ImageError:
        record = self.records[index]
        keys = self.keys_of(record["texts"])
        asked = {key: record[key] for key in ASKED_KEYS}
        asked["texts"] = [keys[row] for row in asked_words(record, keys)]
        asked |= self.measured.get(index, {})
        try:
            return self.mapper(asked)
        except ImageError as error:
            return error


class _Finder:
    """Inference in batches of images of one size.

    Args:
        model: the detector.
        words: all words of the dataset, encoded where they are needed.
        batch_size: images of one size that share a forward pass.
        speed: `forward_seconds` is increased in it.
    """

    def __init__(self, model: WeCromCL, words: WordFiles, batch_size: int, speed: Throughput):
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
        asked = ([*image["texts"], *image.get("negatives", ())] for _, image in group)
        keys = list(dict.fromkeys(key for texts in asked for key in texts))
        self.words.prepare(keys)
        start = time.perf_counter()
        self.model.word_cache.update(keys, self.words.of(keys).to(self.model.device))
        outputs = self.model([image for _, image in group])
        found = {
            index: _answer(image, output)
            for (index, image), output in zip(group, outputs, strict=True)
        }
        self.speed.forward_seconds += time.perf_counter() - start
        return found


def _answer(image: dict[str, Any], output: dict[str, Any]) -> dict[str, Any]:
    """The line of an image in its shard, see `merge.Answers`.

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
