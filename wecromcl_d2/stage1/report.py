"""Report of a labelling run: numbers, a chart and a sheet of the anchors of lowest confidence."""

from __future__ import annotations

import heapq
import math
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..data.images import read_image
from ..data.label_format import per_text
from ..evaluation.counting import PointWords
from ..evaluation.spotting import GTWords
from ..files import replace_file
from ..visualizer import BACKGROUND, add_caption, contact_sheet, draw_anchors, draw_polygons
from .evaluator import AnchorImage
from .matching import AnchorMatch, summarize_anchors
from .pseudo_labels import OUTCOMES, PERCENTILES, LabelledImage, Limits

HISTOGRAM_BINS = 40
# Bins of equal counts in which anchors are compared with the ground truth.
GT_BINS = 4
# Sheet of the anchors of lowest confidence: their number and its columns; side of a crop as a share
# of the image's longer side, and its least value in pixels of the image; side of a tile in pixels.
UNCERTAIN_COUNT, UNCERTAIN_COLUMNS = 50, 10
CROP_SHARE, SMALLEST_CROP = 0.4, 64
TILE_SIDE = 144

DAMAGED = "damaged_image"
# Outcomes of words that get no anchor.
WITHOUT_ANCHOR = ("no_peak", "unreadable", "ignored", DAMAGED)

# An anchor of low confidence in a heap: confidence, number of the image and of the word, all three
# negative, and the image.
Uncertain = tuple[float, int, int, LabelledImage]


class LabelReport:
    """Counts of a labelling run, image by image; of each word a few numbers are kept.

    Args:
        limits: see `pseudo_labels.percentile_limits`.
        percentiles: those that gave the limits.

    Attributes:
        labelled: images added so far, without the unusable ones.
        damaged: file and reason of each image that could not be used.
        uncertain: the `UNCERTAIN_COUNT` anchors of lowest confidence, for `draw_uncertain`.
    """

    def __init__(self, limits: Limits, percentiles: Sequence[float] = PERCENTILES):
        self._limits, self._percentiles = limits, percentiles
        self._counts: Counter[str] = Counter()
        self._confidence = array("d")
        self._gt = _GTComparison()
        self.labelled, self._without_words = 0, 0
        self.damaged: list[dict[str, str]] = []
        self.uncertain: list[Uncertain] = []

    def add(self, image: LabelledImage) -> None:
        """Count an image that was labelled."""
        self._counts.update(image.outcomes)
        self._without_words += not image.outcomes
        self._gt.add(image)
        for row, sure in enumerate(image.confidence):
            if sure is not None:
                self._confidence.append(sure)
                _push(self.uncertain, (-sure, -self.labelled, -row, image))
        self.labelled += 1

    def leave_out(self, record: Mapping[str, Any], problem: str) -> None:
        """Count an image that could not be used, and say why."""
        self._counts[DAMAGED] += len(record["texts"])
        self.damaged.append({"file_name": str(record["file_name"]), "problem": problem})

    def content(self, retrieval: Mapping[str, float] | None = None) -> dict[str, Any]:
        """The report, in JSON types.

        Args:
            retrieval: see `summarize_retrieval`.

        Returns:
            `retrieval`; counts of images; `words` and `shares` by outcome; `confidence`, its limits
            and histogram; `truth`, how the anchors fit the outlines, None where no image has any;
            and `damaged`, file and reason of each.
        """
        total = sum(self._counts.values())
        names = (*OUTCOMES, DAMAGED)
        heights, edges = np.histogram(np.frombuffer(self._confidence), HISTOGRAM_BINS, (0, 1))
        return {
            "retrieval": {name: round(value, 4) for name, value in (retrieval or {}).items()},
            "images": {
                "labelled": self.labelled,
                "without_words": self._without_words,
                "damaged": len(self.damaged),
            },
            "words": {name: self._counts[name] for name in names},
            "shares": {n: round(self._counts[n] / total, 4) if total else 0.0 for n in names},
            "confidence": {
                "percentiles": list(self._percentiles),
                "weight_0_up_to": self._limits[0],
                "weight_1_from": self._limits[1],
                "histogram": {"edges": edges.tolist(), "counts": heights.tolist()},
            },
            "truth": self._gt.content(),
            "damaged": self.damaged,
        }


def _push(heap: list[Uncertain], anchor: Uncertain) -> None:
    """Keep the `UNCERTAIN_COUNT` anchors of lowest confidence, the first ones of equal ones."""
    if len(heap) < UNCERTAIN_COUNT:
        heapq.heappush(heap, anchor)
    elif anchor[:3] > heap[0][:3]:
        heapq.heapreplace(heap, anchor)


class _GTComparison:
    """Accuracy of the anchors by the outlines of the source.

    Of equal words in an image, each goes to the outline that `matching.match_anchors` gives it.
    """

    def __init__(self) -> None:
        # Of each word with an outline; then of each such word with an anchor.
        self._inside, self._distance = array("b"), array("d")
        self._measures, self._outcomes = array("d"), array("b")

    def add(self, image: LabelledImage) -> None:
        """Compare the anchors of an image."""
        gt = GTWords.from_record(image.record)
        found = [row for row, point in enumerate(image.points) if point is not None]
        texts = [image.record["texts"][row] for row in found]
        points = [image.points[row] for row in found]
        words = PointWords.of(texts, points, [image.scores[row] for row in found])
        match = AnchorImage.of(image.record["image_id"], gt, words).match()
        self._inside.extend(match.inside.tolist())
        self._distance.extend(match.distance.tolist())
        for row in (found[own] for own in match.anchor[match.anchor >= 0]):
            measures = image.confidence[row], image.scores[row], image.similarity[row]
            self._measures.extend(measures)
            self._outcomes.append(OUTCOMES.index(image.outcomes[row]))

    def content(self) -> dict[str, Any] | None:
        """None without any outline.

        Returns:
            `all`, the numbers of `matching.summarize_anchors` over all words with an outline;
            `by_confidence`, `by_score` and `by_similarity`, over anchors in bins of equal counts;
            `by_outcome`.
        """
        inside, distance = np.frombuffer(self._inside, bool), np.frombuffer(self._distance)
        has_anchor = np.isfinite(distance)
        summary = summarize_anchors([AnchorMatch(np.where(has_anchor, 0, -1), inside, distance)])
        if not summary:
            return None
        inside, distance = inside[has_anchor], distance[has_anchor]
        kinds = np.frombuffer(self._outcomes, np.int8)
        names = ("by_confidence", "by_score", "by_similarity")
        columns = np.frombuffer(self._measures).reshape(-1, len(names)).T

        def rates(rows: np.ndarray) -> dict[str, Any]:
            if not rows.any():
                return {"words": 0}
            return {
                "words": int(rows.sum()),
                "inside_rate": round(float(inside[rows].mean()), 4),
                "distance_median": round(float(np.median(distance[rows])), 4),
            }

        return {
            "all": {name: round(value, 4) for name, value in summary.items()},
            **{
                name: [
                    {"from": low, "to": high, **rates((values >= low) & (values < high))}
                    for low, high in _equal_bins(values)
                ]
                for name, values in zip(names, columns, strict=True)
            },
            "by_outcome": {
                name: rates(kinds == kind) for kind, name in enumerate(OUTCOMES) if kind in kinds
            },
        }


def draw_report(report: Mapping[str, Any], path: Path) -> None:
    """Write the charts of a report as a PNG file.

    Raises:
        OSError: if the file cannot be written.
    """
    gt = report["truth"]
    figure = Figure(figsize=(12, 8 if gt else 4), layout="constrained")
    axes = figure.subplots(2 if gt else 1, 2, squeeze=False)
    confidence, shares = report["confidence"], report["shares"]
    histogram = confidence["histogram"]
    axes[0, 0].stairs(histogram["counts"], histogram["edges"], fill=True)
    for limit in (confidence["weight_0_up_to"], confidence["weight_1_from"]):
        axes[0, 0].axvline(limit, color="black", linestyle=":")
    title = "confidence, and where weights start and end to rise"
    _describe(axes[0, 0], title, "confidence", "anchors")
    bars = axes[0, 1].barh(list(shares), list(shares.values()))
    axes[0, 1].bar_label(bars, [f"{share:.1%}" for share in shares.values()], padding=3)
    axes[0, 1].invert_yaxis()
    axes[0, 1].margins(x=0.15)
    _describe(axes[0, 1], "what became of the words", "share", "")
    if gt:
        bins = gt["by_confidence"]
        places = range(len(bins))
        names = [f"{entry['from']:.3g}" for entry in bins]
        for plot, key, title in (
            (axes[1, 0], "inside_rate", "anchors on their word"),
            (axes[1, 1], "distance_median", "median distance from the center, in word sizes"),
        ):
            plot.bar(places, [entry.get(key, 0.0) for entry in bins])
            plot.set_xticks(places, names)
            _describe(plot, title, "confidence from", "")
    with replace_file(path) as stream:
        figure.savefig(stream, format="png", dpi=80)


def draw_uncertain(anchors: Sequence[Uncertain]) -> np.ndarray:
    """Sheet of the anchors of lowest confidence, the lowest first.

    Each tile is a crop centered at the anchor, with the outline of the word where it is known. An
    image that cannot be read any more is left out.

    Args:
        anchors: see `LabelReport.uncertain`.

    Returns:
        The sheet as an RGB image; one empty tile if there are no anchors.
    """
    tiles = []
    for sure, _, row, image in sorted(anchors, key=lambda anchor: anchor[:3], reverse=True):
        try:
            pixels = read_image(image.record["file_name"])
        except (OSError, SyntaxError, ValueError):
            continue
        tile = _crop(pixels, image, -row)
        tiles.append(add_caption(tile, image.record["texts"][-row], f"{-sure:.3g}", size=13))
    if not tiles:
        return np.full((TILE_SIDE, TILE_SIDE, 3), BACKGROUND, dtype=np.uint8)
    return contact_sheet(tiles, min(UNCERTAIN_COLUMNS, len(tiles)))


def _crop(pixels: np.ndarray, image: LabelledImage, row: int) -> np.ndarray:
    """A square tile centered at an anchor, which is marked; filled up outside the image."""
    point = image.points[row]
    assert point is not None
    side = max(SMALLEST_CROP, math.ceil(CROP_SHARE * max(pixels.shape[:2])))
    left, top = (math.floor(value - side / 2) for value in point)
    rows, columns = (
        np.clip(np.arange(start, start + side), 0, size - 1)
        for start, size in ((top, pixels.shape[0]), (left, pixels.shape[1]))
    )
    tile = pixels[rows[:, None], columns[None]]
    tile[(rows != np.arange(top, top + side))] = BACKGROUND
    tile[:, (columns != np.arange(left, left + side))] = BACKGROUND
    scale = TILE_SIDE / side
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    tile = cv2.resize(tile, (TILE_SIDE, TILE_SIDE), interpolation=method)
    polygon = per_text(image.record, "polygons")[row]
    if polygon is not None:
        corner = np.tile([left, top], len(polygon) // 2)
        tile = draw_polygons(tile, [((np.asarray(polygon) - corner) * scale).tolist()])
    return draw_anchors(tile, [[(point[0] - left) * scale, (point[1] - top) * scale]])


def _equal_bins(scores: np.ndarray) -> Iterator[tuple[float, float]]:
    """Half-open bins of about equal counts that cover all scores."""
    if not len(scores):
        return
    edges = np.unique(np.quantile(scores, np.linspace(0, 1, GT_BINS + 1)))
    if len(edges) == 1:
        edges = np.append(edges, edges)
    edges[-1] = np.nextafter(edges[-1], np.inf)
    yield from pairwise(edges.tolist())


def _describe(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set_title(title)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
