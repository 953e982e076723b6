"""Planning of a labelling run: its images and words, its shards and their fingerprint."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog

from ..data.datasets import Record, ensure_registered, usable_words
from ..data.label_format import ignored_words
from ..data.records import LongWordRecords
from .pseudo_labels import (
    PERCENTILES,
    LabelledImage,
    Limits,
    anchor_confidence,
    percentile_limits,
    weigh_anchors,
)
from .text_encoder import build_charset

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

    def speed_file(self, rank: int) -> Path:
        """File into which a process writes its `Throughput`."""
        return self.folder / f"speed-{rank}.json"


def load_records(dataset: str, min_length: int = 1) -> Sequence[Record]:
    """Read a registered dataset or a label file, see `ensure_registered`.

    Raises:
        KeyError: if there is no such dataset.
        LabelError: if its labels are bad.
    """
    ensure_registered(dataset)
    return LongWordRecords(DatasetCatalog.get(dataset), min_length)


def word_keys(cfg: CfgNode, records: Sequence[Record]) -> list[list[str]]:
    """`Charset.key` of each text; empty if no character of the text is in the charset."""
    charset, longest = build_charset(cfg), cfg.MODEL.TEXT_ENCODER.MAX_LENGTH
    return [[charset.key(text, longest) for text in r["texts"]] for r in records]


def asked_words(record: Record, keys: Sequence[str]) -> list[int]:
    """Indices of the words that get an anchor: neither ignored nor without a readable character."""
    return [i for i, usable in enumerate(usable_words(record)) if usable and keys[i]]


def plan_shards(records: Sequence[Record], batch_size: int) -> list[list[int]]:
    """Indices of the records of each shard, sorted by aspect ratio so that batches fill up."""
    shapes = [(record["width"] / record["height"], record["height"]) for record in records]
    order = sorted(range(len(records)), key=lambda i: (*shapes[i], i))
    size = batch_size * BATCHES_PER_SHARD
    return [order[start : start + size] for start in range(0, len(order), size)]


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


def pending_shards(job: AnchorJob, shards: Sequence[Sequence[int]]) -> list[int]:
    """Numbers of the shards whose files do not exist yet."""
    return [number for number in range(len(shards)) if not job.shard(number).is_file()]


def collect_shards(job: AnchorJob, shards: Sequence[Sequence[int]]) -> dict[int, dict[str, Any]]:
    """Read all shards.

    Returns:
        By index of the image, the `ANSWER_KEYS` of its `asked_words`, or its `problem`; of a
        measured image also `retrieval`, see `RetrievalImage.as_dict`.

    Raises:
        ValueError: if a shard is no JSON lines or holds other images than planned.
    """
    found: dict[int, dict[str, Any]] = {}
    for number, indices in enumerate(shards):
        path = job.shard(number)
        try:
            answers = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
            held = {answer.pop("index"): answer for answer in answers}
        except (ValueError, KeyError, AttributeError) as error:
            raise ValueError(f"{path} is damaged ({error}); delete it and run again") from error
        if list(held) != list(indices):
            raise ValueError(f"{path} is damaged (other images); delete it and run again")
        found |= held
    return found


def label_images(
    records: Sequence[Record],
    keys: Sequence[Sequence[str]],
    found: dict[int, dict[str, Any]],
    percentiles: Sequence[float] = PERCENTILES,
) -> tuple[list[LabelledImage], list[tuple[Record, str]], Limits]:
    """Labels of all images: weights follow from scores and similarities of the whole dataset.

    Returns:
        The labelled images; the records of unusable images, each with the reason; and the
        confidences between which the weight rises.
    """
    confidence = _confidence(found)
    every = [sure for own in confidence.values() for sure in own if sure is not None]
    limits = percentile_limits(every, percentiles)
    images, damaged = [], []
    for index, (record, words) in enumerate(zip(records, keys, strict=True)):
        answer = found[index]
        if "problem" in answer:
            damaged.append((record, answer["problem"]))
            continue
        count = len(words)
        points: list[list[float] | None] = [None] * count
        heights: list[float | None] = [None] * count
        similarity: list[float | None] = [None] * count
        sure: list[float | None] = [None] * count
        asked = asked_words(record, words)
        answers = [answer[key] for key in ANSWER_KEYS]
        for row, *values in zip(asked, *answers, confidence[index], strict=True):
            points[row], heights[row], similarity[row], sure[row] = values
        weights, outcomes = weigh_anchors(points, sure, words, ignored_words(record), limits)
        images.append(LabelledImage(record, points, heights, similarity, sure, weights, outcomes))
    return images, damaged, limits


def _confidence(found: Mapping[int, Mapping[str, Any]]) -> dict[int, list[float | None]]:
    """By index of the image, the confidence of its asked words, None without an anchor."""
    answers = {index: answer for index, answer in found.items() if "problem" not in answer}
    pairs = [
        pair
        for answer in answers.values()
        for pair in zip(answer["scores"], answer["similarity"], strict=True)
        if pair[0] is not None
    ]
    values = iter(anchor_confidence([score for score, _ in pairs], [s for _, s in pairs]).tolist())
    return {
        index: [None if score is None else next(values) for score in answer["scores"]]
        for index, answer in answers.items()
    }
