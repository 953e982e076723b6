"""Datasets whose points are off their words by a known amount, and the share of points on words.

For each dataset of the quick spotter, such as `synth_scenes_train`, there are

- `synth_scenes_train_moved_0.3`: centers of the outlines, moved by normal noise of 0.3 box sizes;
- `synth_scenes_train_swapped_10`: 10 % of the centers are those of another word of the image;
- `synth_scenes_train_shifted_0.2`: centers moved to the right by 0.2 box widths;
- `synth_scenes_train_first_5`: centers of the outlines of the first 5 % of the images.

Letters: N words of an image. Points are (x, y) in pixels of the image, sizes (height, width).
"""

import zlib
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np
from detectron2.data import DatasetCatalog

from wecromcl_d2.data.datasets import usable_words
from wecromcl_d2.data.records import MappedRecords
from wecromcl_d2.geometry import bounding_box, polygon_center
from wecromcl_d2.stage1.matching import inside_polygon, perturb_anchors

BASES = ("synth_groups_train", "synth_scenes_train", "synth_dense_scenes_train")
MOVED = (0.0, 0.1, 0.2, 0.3, 0.5, 0.8)
SWAPPED = (5, 10, 20, 40)
SHIFTED = (0.1, 0.2, 0.3)
FIRST = (1, 5, 10, 25)

Record = dict[str, Any]
# Record, centers (N, 2) and generator -> points (N, 2).
Change = Callable[[Record, np.ndarray, np.random.Generator], np.ndarray]


def move(alpha: float, record: Record, centers: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Points moved by normal noise of `alpha` box sizes, see `perturb_anchors`."""
    size = (record["height"], record["width"])
    return perturb_anchors(centers, box_sizes(record), size, alpha, rng)


def swap(share: float, record: Record, centers: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Points of which `share` are the center of another word, if the image has another."""
    points, count = centers.copy(), len(centers)
    if count > 1:
        others = (np.arange(count) + rng.integers(1, count, count)) % count
        swapped = rng.random(count) < share
        points[swapped] = centers[others[swapped]]
    return points


def shift(
    offset: float, record: Record, centers: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Points `offset` box widths to the right of the centers, at most at the image's border."""
    points = centers + [1, 0] * (offset * box_sizes(record)[:, 1:])
    return points.clip(0, (record["width"], record["height"]))


CHANGES: dict[str, Change] = {
    **{f"moved_{alpha}": partial(move, alpha) for alpha in MOVED},
    **{f"swapped_{percent}": partial(swap, percent / 100) for percent in SWAPPED},
    **{f"shifted_{offset}": partial(shift, offset) for offset in SHIFTED},
}


def box_sizes(record: Record) -> np.ndarray:
    """(N, 2) height and width of the words' boxes."""
    boxes = np.array([bounding_box(polygon) for polygon in record["polygons"]]).reshape(-1, 4)
    return np.stack([boxes[:, 3] - boxes[:, 1], boxes[:, 2] - boxes[:, 0]], axis=1)


def change_points(change: Change, record: Record) -> Record:
    """The record with changed points; what is drawn depends on the image's name alone."""
    rng = np.random.default_rng(zlib.crc32(str(record["image_id"]).encode("utf-8")))
    return record | {"points": change(record, centers_of(record), rng).tolist()}


def centers_of(record: Record) -> np.ndarray:
    """(N, 2) centers of the words' outlines."""
    centers = np.array([polygon_center(polygon) for polygon in record["polygons"]]).reshape(-1, 2)
    # The center of a bent word may lie beyond the image's border.
    return centers.clip(0, (record["width"], record["height"]))


def register_points() -> None:
    """Register the datasets that the module's docstring lists."""
    for base in BASES:
        for name, change in CHANGES.items():
            DatasetCatalog.register(f"{base}_{name}", partial(_load_changed, base, change))
        for percent in FIRST:
            DatasetCatalog.register(f"{base}_first_{percent}", partial(_load_first, base, percent))


def _load_changed(base: str, change: Change) -> MappedRecords:
    return MappedRecords(DatasetCatalog.get(base), partial(change_points, change))


def _load_first(base: str, percent: int) -> Sequence[Record]:
    records = _load_changed(base, CHANGES["moved_0.0"])
    return records[: len(records) * percent // 100]


def inside_rate(records: Iterable[Record]) -> float:
    """Share of the words with a point whose point lies on their outline."""
    inside = []
    for record in records:
        words = zip(record["points"], record["polygons"], usable_words(record), strict=True)
        inside += [
            bool(inside_polygon(polygon, np.array([point]))[0])
            for point, polygon, usable in words
            if usable and point is not None
        ]
    return float(np.mean(inside))
