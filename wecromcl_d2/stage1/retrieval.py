"""Retrieval: how well anchors are, measured by transcriptions alone.

Each image is asked for its own words and for negatives, words of other images of the set. The
similarity of region and text should be higher for the former.

Letters: Q words and K negatives of an image, P positives and N negatives of all images.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.evaluation import DatasetEvaluator

from ..data.datasets import Record
from ..data.label_format import texts_that_count
from ..evaluation.evaluator import gather_images, identity_of
from ..evaluation.report import package_version, write_json
from .text_keys import key_reader, vocabulary

logger = logging.getLogger(__name__)

# Anchors at two scales agree if they are no further apart than this share of the image's shorter
# side.
AGREEMENT_DISTANCE = 0.05
# Median of the peaks, in units of a flat map, below which maps say nothing of where words are.
FLAT_PEAK = 3.0
DECIMALS = 5
ARRAYS = ("similarity", "peak_over_flat", "moved", "negative_similarity")


def retrieval_inputs(
    cfg: CfgNode,
    records: Sequence[Record],
    most: int | None = None,
) -> dict[int, dict[str, Any]]:
    """What the model needs beside the records to measure retrieval, by index of the record.

    Args:
        cfg: TEST.RETRIEVAL says what: `negatives`, and `second_scale` if there is one.
        records: all of a set.
        most: images that are measured, spread evenly over the set; None for all.

    Raises:
        ValueError: if a key of TEST.RETRIEVAL is negative.
    """
    keys = cfg.TEST.RETRIEVAL
    for name in ("NUM_NEGATIVES", "SEED", "SECOND_SCALE"):
        if keys[name] < 0:
            raise ValueError(f"TEST.RETRIEVAL.{name} is {keys[name]}; give 0 or more")
    if not keys.NUM_NEGATIVES:
        return {}
    pool, keys_of = sorted(vocabulary(cfg, records)), key_reader(cfg)
    count = len(records) if most is None else min(len(records), most)
    numbers = sorted({round(x) for x in np.linspace(0, len(records) - 1, count)})
    scale = {"second_scale": keys.SECOND_SCALE} if keys.SECOND_SCALE else {}

    def negatives(number: int) -> list[str]:
        own = keys_of(records[number]["texts"])
        return draw_negatives(pool, own, keys.NUM_NEGATIVES, keys.SEED, number)

    return {number: scale | {"negatives": negatives(number)} for number in numbers}


def draw_negatives(
    pool: Sequence[str], own: Sequence[str], count: int, seed: int, number: int
) -> list[str]:
    """Distinct words that an image does not have.

    Args:
        pool: words of all images.
        own: all words of the image, ignored ones too.
        count: words to draw; fewer if there are not as many.
        seed: of the draws.
        number: of the image, whose draws depend on nothing else.
    """
    if not pool:
        return []
    size = min(len(pool), count + len(set(own)))
    drawn = np.random.default_rng((seed, number)).choice(len(pool), size, replace=False)
    return [pool[i] for i in drawn if pool[i] not in own][:count]


@dataclass(frozen=True)
class RetrievalImage:
    """What one image's words and negatives were given.

    Attributes:
        image_id: the dataset's identity of the image.
        texts: Q words.
        similarity: (Q,) of its words.
        peak_over_flat: (Q,) height of each word's peak in units of a flat map.
        moved: (Q,) distance between a word's anchors at two scales as a share of the image's
            shorter side; NaN if not measured, or if the word occurs more than once.
        negative_similarity: (K,).
    """

    image_id: int | str
    texts: list[str]
    similarity: np.ndarray
    peak_over_flat: np.ndarray
    moved: np.ndarray
    negative_similarity: np.ndarray

    @classmethod
    def of(cls, record: Record, output: dict[str, Any]) -> RetrievalImage:
        """The words of a record that are not ignored.

        Args:
            record: dataset dict.
            output: of the model for it, see `WeCromCL.inference`.
        """
        instances = output["instances"]
        texts = list(instances.pred_texts)
        known = set(texts_that_count(record))
        rows = [row for row, text in enumerate(texts) if text in known]
        moved = np.full(len(texts), np.nan)
        if "second_points" in output:
            away = _array(instances.pred_points) - _array(output["second_points"])
            moved = np.linalg.norm(away, axis=1) / min(instances.image_size)
            occurs = Counter(text.lower() for text in texts)
            moved[[occurs[text.lower()] > 1 for text in texts]] = np.nan
        return cls(
            identity_of(record),
            [texts[row] for row in rows],
            _array(instances.similarity)[rows],
            _array(instances.peak_over_flat)[rows],
            moved[rows],
            _array(output.get("negative_similarity", torch.zeros(0))),
        )

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> RetrievalImage:
        """Read back what `as_dict` gives."""
        arrays = {name: np.array(content[name], dtype=np.float64) for name in ARRAYS}
        return cls(content["image_id"], content["texts"], **arrays)

    def as_dict(self) -> dict[str, Any]:
        """All of it in JSON types; numbers that are not known are None."""
        arrays = {name: getattr(self, name).round(DECIMALS) for name in ARRAYS}
        return {"image_id": self.image_id, "texts": self.texts} | {
            name: [None if np.isnan(x) else x for x in values.tolist()]
            for name, values in arrays.items()
        }


def summarize_retrieval(images: Sequence[RetrievalImage]) -> dict[str, float]:
    """Rates over all words of several images.

    Returns:
        `accuracy`, the share of words more similar than all negatives of their image; `chance`,
        what it is for similarities at random; `auc`, the probability that a word of its image is
        more similar than a negative of any image, half of it where they are equal;
        `peak_over_flat`, the median height of peaks in units of a flat map; `agreement`, the share
        of words whose anchors at two scales are no further apart than `AGREEMENT_DISTANCE`, absent
        if not measured; `images` and `words`. Without any word or negative only these two.
    """
    compared = [image for image in images if image.texts and len(image.negative_similarity)]
    result: dict[str, float] = {
        "images": len(images),
        "words": sum(len(image.texts) for image in images),
    }
    if not compared:
        return result
    wins = [image.similarity > image.negative_similarity.max() for image in compared]
    chance = [np.full(len(i.texts), 1 / (len(i.negative_similarity) + 1)) for i in compared]
    result["accuracy"] = float(np.concatenate(wins).mean())
    result["chance"] = float(np.concatenate(chance).mean())
    result["auc"] = area_under_curve(
        np.concatenate([image.similarity for image in compared]),
        np.concatenate([image.negative_similarity for image in compared]),
    )
    peaks = np.concatenate([image.peak_over_flat for image in images])
    result["peak_over_flat"] = float(np.median(peaks))
    moved = np.concatenate([image.moved for image in images])
    moved = moved[~np.isnan(moved)]
    if len(moved):
        result["agreement"] = float((moved <= AGREEMENT_DISTANCE).mean())
    return result


def area_under_curve(positives: np.ndarray, negatives: np.ndarray) -> float:
    """Area under the ROC curve: the share of pairs whose positive is higher, equal ones by half.

    Args:
        positives: (P,), at least one.
        negatives: (N,), at least one.
    """
    # Imported here: it costs 1.8 s of CPU, which every command would pay.
    from scipy.stats import rankdata

    count = len(positives)
    ranks = rankdata(np.concatenate([positives, negatives]))[:count]
    return float((ranks.sum() - count * (count + 1) / 2) / (count * len(negatives)))


def describe_retrieval(metrics: dict[str, float]) -> str:
    """The metrics in words."""
    if "accuracy" not in metrics:
        return "no retrieval: there are no words to compare, or no words of other images"
    text = (
        f"{metrics['accuracy']:.4f} of {metrics['words']:.0f} words beat all negatives "
        f"(chance {metrics['chance']:.4f}), area under the curve {metrics['auc']:.4f}, median peak "
        f"{metrics['peak_over_flat']:.1f} times a flat map's"
    )
    if "agreement" in metrics:
        text += f", {metrics['agreement']:.4f} of the anchors stay at another scale"
    return text


def flat_warning(metrics: dict[str, float]) -> str:
    """What to say where maps are flat; empty if they are not."""
    peak = metrics.get("peak_over_flat", FLAT_PEAK)
    if peak >= FLAT_PEAK:
        return ""
    return (
        f"the maps are flat: the median peak is {peak:.2f} times that of a flat map, less than "
        f"{FLAT_PEAK:g}, so the anchors say nothing of where words are; train longer"
    )


class RetrievalEvaluator(DatasetEvaluator):
    """Measures anchors without any position, see `summarize_retrieval`.

    Args:
        dataset_name: for the log and the result file.
        output_dir: where `retrieval.json` goes, metrics and every image's words; None for nowhere.
    """

    def __init__(self, dataset_name: str, output_dir: str | None = None) -> None:
        self._dataset_name = dataset_name
        self._output_dir = output_dir
        self._images: list[RetrievalImage] = []

    def reset(self) -> None:
        """Forget all images."""
        self._images = []

    def process(self, inputs: Sequence[dict[str, Any]], outputs: Sequence[dict[str, Any]]) -> None:
        """Keep one batch.

        Args:
            inputs: dataset dicts, with what `retrieval_inputs` adds.
            outputs: see `WeCromCL.inference`.
        """
        for record, output in zip(inputs, outputs, strict=True):
            self._images.append(RetrievalImage.of(record, output))

    def evaluate(self) -> dict[str, dict[str, float]]:
        """`{"retrieval": {metric: number}}` on the main process, elsewhere nothing.

        Raises:
            OSError: if the result file cannot be written.
        """
        images = gather_images(self._images, self._dataset_name)
        if not images:
            return {}
        metrics = summarize_retrieval(images)
        logger.info("%s, retrieval: %s", self._dataset_name, describe_retrieval(metrics))
        if warning := flat_warning(metrics):
            logger.warning("%s: %s", self._dataset_name, warning)
        if self._output_dir is not None:
            path = Path(self._output_dir) / "retrieval.json"
            write_json(path, self._content(metrics, images))
            logger.info("wrote %s", path)
        return {"retrieval": metrics}

    def _content(
        self, metrics: dict[str, float], images: Sequence[RetrievalImage]
    ) -> dict[str, Any]:
        return {
            "dataset": self._dataset_name,
            "agreement_distance": AGREEMENT_DISTANCE,
            "version": package_version(),
            "metrics": metrics,
            "images": [image.as_dict() for image in images],
        }


def _array(values: torch.Tensor) -> np.ndarray:
    return values.detach().cpu().double().numpy()
