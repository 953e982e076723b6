"""Labels of a whole dataset from the shards of a run, image by image.

The confidence of an anchor follows from its rank in the dataset, so two numbers of each anchor are
kept in memory, and of each image the place of its line in a file; everything else is read again
when the image is written.

Letters: R images of the dataset, P anchors of all of them.
"""

from __future__ import annotations

import json
import mmap
import tempfile
from array import array
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from detectron2.config import CfgNode

from ..data.datasets import Record
from ..data.label_format import ignored_words
from .anchor_job import ANSWER_KEYS, AnchorJob, ShardPlan, asked_words
from .pseudo_labels import LabelledImage, Limits, anchor_confidence, weigh_anchors
from .text_keys import key_reader


class Answers:
    """What a finished run has found in each image.

    Args:
        job: the run.
        shards: all of it.

    Attributes:
        confidence: (P,) float64 of all anchors, shard by shard, see `anchor_confidence`.
        measured: of each measured image, see `RetrievalImage.as_dict`.

    Raises:
        ValueError: if a shard is no JSON lines or holds other images than planned.
    """

    def __init__(self, job: AnchorJob, shards: ShardPlan):
        count = len(shards.order)
        self._places = np.zeros((count, 2), dtype=np.int64)
        self._first_anchor = np.zeros(count, dtype=np.int64)
        self.measured: list[dict[str, Any]] = []
        scores, similarity = array("d"), array("d")
        with tempfile.TemporaryFile(dir=job.folder) as stream:
            for number, indices in enumerate(shards):
                for index, line, answer in _read_shard(job, number, indices):
                    self._places[index] = stream.tell(), stream.tell() + len(line)
                    stream.write(line)
                    self._first_anchor[index] = len(scores)
                    found = [score is not None for score in answer.get("scores", ())]
                    scores.extend(_chosen(answer, "scores", found))
                    similarity.extend(_chosen(answer, "similarity", found))
                    if "retrieval" in answer:
                        self.measured.append(answer["retrieval"])
            stream.flush()
            self._lines = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        self.confidence = anchor_confidence(np.frombuffer(scores), np.frombuffer(similarity))

    def read(self, index: int) -> dict[str, Any]:
        """The answer for an image.

        Returns:
            The `ANSWER_KEYS` of its `asked_words` and their `confidence`, None without an anchor;
            or its `problem`.
        """
        begin, end = self._places[index]
        answer = json.loads(self._lines[begin:end])
        if "problem" not in answer:
            first = self._first_anchor[index]
            values = iter(self.confidence[first : first + len(answer["scores"])].tolist())
            answer["confidence"] = [None if s is None else next(values) for s in answer["scores"]]
        return answer


def _read_shard(
    job: AnchorJob, number: int, indices: Sequence[int]
) -> Iterator[tuple[int, bytes, dict[str, Any]]]:
    """Index, line and answer of each image of a shard."""
    path = job.shard(number)
    held = []
    try:
        with open(path, "rb") as stream:
            for line in stream:
                answer = json.loads(line)
                held.append(answer.pop("index"))
                if held[-1] != indices[len(held) - 1]:
                    break
                yield held[-1], line, answer
    except (ValueError, KeyError, IndexError, AttributeError, TypeError) as error:
        raise ValueError(f"{path} is damaged ({error}); delete it and run again") from error
    if held != list(indices):
        raise ValueError(f"{path} is damaged (other images); delete it and run again")


def _chosen(answer: dict[str, Any], key: str, found: Sequence[bool]) -> list[float]:
    return [value for value, chosen in zip(answer.get(key, ()), found, strict=True) if chosen]


def label_images(
    cfg: CfgNode, records: Sequence[Record], answers: Answers, limits: Limits
) -> Iterator[LabelledImage | str]:
    """The labels of each image in the order of the records, or why it cannot be used.

    Args:
        cfg: of the detector.
        records: all of the dataset.
        answers: for them.
        limits: see `pseudo_labels.percentile_limits`.
    """
    keys_of = key_reader(cfg)
    for index, record in enumerate(records):
        answer = answers.read(index)
        if "problem" in answer:
            yield answer["problem"]
            continue
        keys = keys_of(record["texts"])
        count = len(keys)
        points: list[list[float] | None] = [None] * count
        heights: list[float | None] = [None] * count
        similarity: list[float | None] = [None] * count
        sure: list[float | None] = [None] * count
        columns = [answer[key] for key in (*ANSWER_KEYS, "confidence")]
        for row, *values in zip(asked_words(record, keys), *columns, strict=True):
            points[row], heights[row], similarity[row], sure[row] = values
        weights, outcomes = weigh_anchors(points, sure, keys, ignored_words(record), limits)
        yield LabelledImage(record, points, heights, similarity, sure, weights, outcomes)
