"""Counting rules for anchors, as pure functions on strings and arrays.

Two protocols. *Nearest point* is the published evaluation of stage 1: it counts anchors whose
nearest ground-truth point has the anchor's text. *Anchor accuracy* measures whether the anchor of
each word lies on that word.

Letters: `T` ground-truth words, `P` predictions of one image. Points are (x, y) and sizes are
(height, width), in pixels of the original image.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely

from ..evaluation.counting import (
    ImageMatches,
    Mode,
    PointWords,
    Score,
    best_matches,
    count_matches,
    joined,
    match_images,
)

# The published evaluation reports the best of these, tuned on the very set it evaluates.
NEAREST_POINT_THRESHOLDS = (0.0, 0.01, 0.02, 0.03, 0.04, 0.05)
DISTANCE_LIMITS = (0.1, 0.25, 0.5)


def score_nearest_points(
    ground_truth: Mapping[Any, PointWords],
    predictions: Mapping[Any, PointWords],
    thresholds: Sequence[float] = NEAREST_POINT_THRESHOLDS,
    mode: Mode = "robust",
) -> list[Score]:
    """Count the published stage-1 protocol over a dataset, once per threshold.

    1. A prediction whose score is below the threshold is left out.
    2. Every other prediction is assigned to the word with the nearest point of its image: the
       first on a tie, whatever its text, already matched or not, at any distance.
    3. It is a true positive if the lower-cased strings are equal and the word is not yet matched.

    Per word it only matters whether the best of its equal predictions reaches the threshold, so
    counts do not depend on the order of predictions.

    Args:
        ground_truth: words by image, without ignored ones.
        predictions: predicted words by image.
        thresholds: score thresholds; a score equal to one passes it.
        mode: `"official"` truncates ground-truth points to integers as the published files do, and
            raises where the published script fails. `"robust"` counts predictions on images
            without ground truth as false positives, and lets a missing score pass every
            threshold.

    Returns:
        One `Score` per threshold, in the given order.

    Raises:
        MatchingError: in official mode, if a prediction has no score or its image no ground truth.
        ValueError: if `mode` is neither of the two.
    """
    matches = match_nearest_points(ground_truth, predictions, min(thresholds), mode)
    return count_matches(matches.values(), thresholds)


def match_nearest_points(
    ground_truth: Mapping[Any, PointWords],
    predictions: Mapping[Any, PointWords],
    lowest: float,
    mode: Mode = "robust",
) -> dict[Any, ImageMatches]:
    """Each image's matches by the rules of `score_nearest_points`.

    Args:
        ground_truth: see there.
        predictions: see there.
        lowest: lowest threshold at which the matches will be counted.
        mode: see there.

    Raises:
        MatchingError: see there.
        ValueError: see there.
    """

    def match(gt: PointWords, found: PointWords, scores: np.ndarray) -> ImageMatches:
        points = np.trunc(gt.points) if mode == "official" else gt.points
        nearest = np.linalg.norm(found.points[:, None] - points[None], axis=2).argmin(axis=1)
        words = [text.lower() for text in gt.texts]
        equal = [t.lower() == words[n] for t, n in zip(found.texts, nearest, strict=True)]
        matched_gt = best_matches(np.where(np.array(equal, dtype=bool), nearest, -1), scores)
        return ImageMatches(len(words), scores, np.ones(len(scores), dtype=bool), matched_gt)

    return match_images(ground_truth, predictions, match, lowest, mode)


@dataclass(frozen=True)
class AnchorMatch:
    """The anchor of each ground-truth word of one image; every array has shape `(T,)`.

    Attributes:
        anchor: index of the word's anchor among the predictions, -1 for none.
        inside: whether that anchor lies in the word's outline, border included.
        distance: `sqrt((dx / w)^2 + (dy / h)^2)` from the word's center in units of its
            axis-parallel box; infinite without an anchor.
    """

    anchor: np.ndarray
    inside: np.ndarray
    distance: np.ndarray


def match_anchors(
    texts: Sequence[str],
    polygons: Sequence[Sequence[float]],
    centers: np.ndarray,
    predictions: PointWords,
) -> AnchorMatch:
    """Match each ground-truth word to at most one anchor of the same text.

    Equal lower-cased texts are assigned one to one so that as many anchors as possible lie inside,
    and among those assignments the summed distance is smallest.

    Args:
        texts: `T` ground-truth words.
        polygons: `T` flat outlines `x1, y1, ...`; an invalid one is repaired.
        centers: `(T, 2)` word centers.
        predictions: `P` anchors.
    """
    # Imported here: it costs 0.9 s of CPU, which every command would pay.
    from scipy.optimize import linear_sum_assignment

    count = len(texts)
    match = AnchorMatch(np.full(count, -1), np.zeros(count, bool), np.full(count, np.inf))
    anchors_of: dict[str, list[int]] = defaultdict(list)
    for index, text in enumerate(predictions.texts):
        anchors_of[text.lower()].append(index)
    words_of: dict[str, list[int]] = defaultdict(list)
    for index, text in enumerate(texts):
        words_of[text.lower()].append(index)
    for text, words in words_of.items():
        anchors = anchors_of[text]
        if not anchors:
            continue
        points = predictions.points[anchors]
        inside = np.stack([inside_polygon(polygons[word], points) for word in words])
        distance = np.stack([_normalized(polygons[w], centers[w], points) for w in words])
        # One hit outweighs every distance together, so hits are maximised first.
        cost = distance - inside * (1 + distance.sum())
        for row, column in zip(*linear_sum_assignment(cost), strict=True):
            word = words[row]
            match.anchor[word] = anchors[column]
            match.inside[word] = inside[row, column]
            match.distance[word] = distance[row, column]
    return match


def summarize_anchors(matches: Sequence[AnchorMatch]) -> dict[str, float]:
    """Rates over all ground-truth words of several images.

    Returns:
        `inside_rate`; `within_0.10` and so on, the shares of words whose anchor is no further
        than that from the center; `distance_mean` and `distance_median` over the words that
        have an anchor, absent when none has one. Empty without any word.
    """
    inside = joined([match.inside for match in matches])
    distance = joined([match.distance for match in matches])
    if not len(inside):
        return {}
    summary = {"inside_rate": float(inside.mean())}
    known = distance[np.isfinite(distance)]
    if len(known):
        summary["distance_mean"] = float(known.mean())
        summary["distance_median"] = float(np.median(known))
    for limit in DISTANCE_LIMITS:
        summary[f"within_{limit:.2f}"] = float((distance <= limit).mean())
    return summary


def inside_polygon(polygon: Sequence[float], points: np.ndarray) -> np.ndarray:
    """Say for each of `(P, 2)` points whether it lies in the flat outline, border included."""
    return shapely.intersects_xy(_shape(polygon), points[:, 0], points[:, 1])


def area_share(polygon: Sequence[float], image_size: tuple[int, int]) -> float:
    """The share of the image that the outline covers: a random point's chance to hit it.

    The mean over all words is the inside rate to expect from anchors drawn uniformly.
    """
    height, width = image_size
    image = shapely.box(0, 0, width, height)
    return float(shapely.intersection(_shape(polygon), image).area / image.area)


def perturb_anchors(
    centers: np.ndarray,
    box_sizes: np.ndarray,
    image_size: tuple[int, int],
    alpha: float,
    generator: np.random.Generator,
) -> np.ndarray:
    """Word centers moved by normal noise in proportion to the words' boxes.

    `a = c + alpha * (w e1, h e2)` with standard normal `e`, then clipped to the image.

    Args:
        centers: `(T, 2)` points (x, y).
        box_sizes: `(T, 2)` sizes (height, width).
        image_size: (height, width) of the image.
        alpha: noise in box sizes.
        generator: source of the noise, one draw a word.
    """
    noise = generator.standard_normal(centers.shape) * box_sizes[:, ::-1]
    return np.clip(centers + alpha * noise, 0, np.array(image_size[::-1]))


def _normalized(polygon: Sequence[float], center: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The distance of `(P, 2)` points from the center in box sizes of at least 1 px."""
    size = np.maximum(np.ptp(np.asarray(polygon, dtype=np.float64).reshape(-1, 2), axis=0), 1)
    return np.linalg.norm((points - center) / size, axis=1)


def _shape(polygon: Sequence[float]) -> shapely.Geometry:
    """A valid area of the outline; without any area left, its convex hull."""
    shape = shapely.Polygon(np.asarray(polygon, dtype=np.float64).reshape(-1, 2))
    if shape.is_valid:
        return shape
    repaired = shape.buffer(0)
    return shape.convex_hull if repaired.is_empty else repaired
