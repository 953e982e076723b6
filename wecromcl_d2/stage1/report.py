"""Report of a labelling run: numbers, a chart and a sheet of the anchors of lowest confidence."""

from __future__ import annotations

import math
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
from ..evaluation.counting import PointWords, joined
from ..evaluation.spotting import GTWords
from ..files import replace_file
from ..visualizer import BACKGROUND, add_caption, contact_sheet, draw_anchors, draw_polygons
from .evaluator import AnchorImage
from .matching import summarize_anchors
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


def describe_labels(
    images: Sequence[LabelledImage],
    damaged: Sequence[tuple[Mapping[str, Any], str]],
    limits: Limits,
    percentiles: Sequence[float] = PERCENTILES,
    retrieval: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """Content of the report, in JSON types.

    Args:
        images: the images that were labelled.
        damaged: records of those that could not be used, with the reason.
        limits: see `pseudo_labels.percentile_limits`.
        percentiles: those that gave the limits.
        retrieval: see `summarize_retrieval`.

    Returns:
        `retrieval`; counts of images; `words` and `shares` by outcome; `scores`, their limits and
        histogram; `truth`, how the anchors fit the outlines, None where no image has any; and
        `damaged`, file and reason of each.
    """
    counts = Counter(outcome for image in images for outcome in image.outcomes)
    counts[DAMAGED] = sum(len(record["texts"]) for record, _ in damaged)
    total = sum(counts.values())
    confidence = [sure for image in images for sure in image.confidence if sure is not None]
    heights, edges = np.histogram(confidence, HISTOGRAM_BINS, (0, 1))
    return {
        "retrieval": {name: round(value, 4) for name, value in (retrieval or {}).items()},
        "images": {
            "labelled": len(images),
            "without_words": sum(not image.outcomes for image in images),
            "damaged": len(damaged),
        },
        "words": {name: counts[name] for name in (*OUTCOMES, DAMAGED)},
        "shares": {
            name: round(counts[name] / total, 4) if total else 0.0 for name in (*OUTCOMES, DAMAGED)
        },
        "confidence": {
            "percentiles": list(percentiles),
            "weight_0_up_to": limits[0],
            "weight_1_from": limits[1],
            "histogram": {"edges": edges.tolist(), "counts": heights.tolist()},
        },
        "truth": compare_with_gt(images),
        "damaged": [{"file_name": str(r["file_name"]), "problem": why} for r, why in damaged],
    }


def compare_with_gt(images: Sequence[LabelledImage]) -> dict[str, Any] | None:
    """Accuracy of the anchors by the outlines of the source; None if it has none.

    Of equal words in an image, each goes to the outline that `matching.match_anchors` gives it.

    Returns:
        `all`, the numbers of `matching.summarize_anchors` over all words with an outline;
        `by_confidence`, `by_score` and `by_similarity`, over anchors in bins of equal counts;
        `by_outcome`.
    """
    matches, measures, outcomes = [], [], []
    for image in images:
        found = [row for row, point in enumerate(image.points) if point is not None]
        texts = [image.record["texts"][row] for row in found]
        points = [image.points[row] for row in found]
        words = PointWords.of(texts, points, [image.scores[row] for row in found])
        gt = GTWords.from_record(image.record)
        match = AnchorImage.of(image.record["image_id"], gt, words).match()
        matches.append(match)
        own = match.anchor[match.anchor >= 0]
        rows = [found[row] for row in own]
        measures += [(image.confidence[r], image.scores[r], image.similarity[r]) for r in rows]
        outcomes += [image.outcomes[row] for row in rows]
    summary = summarize_anchors(matches)
    if not summary:
        return None
    found_ones = [match.anchor >= 0 for match in matches]
    inside = joined([match.inside[rows] for match, rows in zip(matches, found_ones, strict=True)])
    away = joined([match.distance[rows] for match, rows in zip(matches, found_ones, strict=True)])
    kinds = np.array(outcomes, dtype=object)
    names = ("by_confidence", "by_score", "by_similarity")
    columns = np.array(measures, dtype=np.float64).reshape(-1, len(names)).T

    def rates(rows: np.ndarray) -> dict[str, Any]:
        if not rows.any():
            return {"words": 0}
        return {
            "words": int(rows.sum()),
            "inside_rate": round(float(inside[rows].mean()), 4),
            "distance_median": round(float(np.median(away[rows])), 4),
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
        "by_outcome": {name: rates(kinds == name) for name in OUTCOMES if name in outcomes},
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


def draw_uncertain(images: Sequence[LabelledImage], count: int = UNCERTAIN_COUNT) -> np.ndarray:
    """Sheet of the anchors of lowest confidence, the lowest first.

    Each tile is a crop centered at the anchor, with the outline of the word where it is known. An
    image that cannot be read any more is left out.

    Returns:
        The sheet as an RGB image; one empty tile if there are no anchors.
    """
    ranked = sorted(
        (sure, number, row)
        for number, image in enumerate(images)
        for row, sure in enumerate(image.confidence)
        if sure is not None
    )
    tiles = []
    for sure, number, row in ranked[:count]:
        try:
            pixels = read_image(images[number].record["file_name"])
        except (OSError, SyntaxError, ValueError):
            continue
        tile = _crop(pixels, images[number], row)
        tiles.append(add_caption(tile, images[number].record["texts"][row], f"{sure:.3g}", size=13))
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
