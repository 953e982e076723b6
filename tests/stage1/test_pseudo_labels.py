"""Weights, collisions and outcomes of anchors, by hand and on anything."""

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wecromcl_d2.stage1.pseudo_labels import (
    COLLISION_DISTANCE,
    OUTCOMES,
    LabelledImage,
    anchor_confidence,
    confidence_weights,
    find_collisions,
    percentile_limits,
    weigh_anchors,
)

# A busy machine is no fault of the code.
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
SCORES = st.lists(st.floats(0, 1, allow_nan=False, width=32), min_size=1, max_size=30)


def test_confidence_follows_from_two_ranks():
    """Of four anchors: ranks of the peaks 3, 1, 2, 4 and of the similarities 1, 2.5, 2.5, 4."""
    peaks, similarities = np.array([5, 1, 3, 7]) / 8, np.array([1, 4, 4, 7]) / 8
    confidence = anchor_confidence([0.3, 0.1, 0.2, 0.4], [0.5, 0.6, 0.6, 0.9])
    assert confidence == pytest.approx(peaks * (1 + 2 * similarities) / 3)
    assert anchor_confidence([], []).tolist() == []


@UNHURRIED
@given(SCORES, st.floats(0.01, 100))
def test_confidence_depends_on_the_order_alone(scores, scale):
    scores = [0.5 + score for score in scores]
    similarity = scores[::-1]
    scaled = anchor_confidence([score * scale for score in scores], similarity)
    if len({score * scale for score in scores}) == len(set(scores)):
        assert scaled == pytest.approx(anchor_confidence(scores, similarity))


def test_limits_are_the_2nd_and_15th_percentile():
    assert percentile_limits([s / 100 for s in range(101)]) == pytest.approx((0.02, 0.15))
    assert percentile_limits([0.2, 0.4]) == pytest.approx((0.204, 0.23))
    assert percentile_limits([]) == (0.0, 0.0)


def test_weights_rise_between_the_limits():
    weights = confidence_weights([0.05, 0.1, 0.2, 0.35, 0.6, 0.9], (0.1, 0.6))
    assert weights == pytest.approx([0, 0, 0.2, 0.5, 1, 1])


def test_equal_limits_part_the_scores():
    assert confidence_weights([0.1, 0.3, 0.5], (0.3, 0.3)).tolist() == [0, 1, 1]
    assert confidence_weights([], (0.0, 0.0)).tolist() == []


@UNHURRIED
@given(SCORES)
def test_weights_are_shares_in_the_order_of_the_scores(scores):
    weights = confidence_weights(scores, percentile_limits(scores))
    assert np.isfinite(weights).all() and weights.min() >= 0
    assert weights.max() == 1
    order = np.argsort(scores, kind="stable")
    assert (np.diff(weights[order]) >= 0).all()


@UNHURRIED
@given(SCORES, st.floats(0.01, 100))
def test_the_scale_of_the_scores_does_not_matter(scores, scale):
    scores = [0.5 + score for score in scores]
    scaled = [score * scale for score in scores]
    weights = confidence_weights(scores, percentile_limits(scores))
    low, high = percentile_limits(scores)
    if high - low > 1e-6:
        assert confidence_weights(scaled, percentile_limits(scaled)) == pytest.approx(
            weights, abs=1e-6
        )


def test_of_two_words_on_one_point_the_better_one_stays():
    points = [[10, 10], [13, 12], [14, 10], [50, 50]]
    lost = find_collisions(points, [0.3, 0.2, 0.9, 0.1], "abcd")
    assert lost.tolist() == [False, True, False, False]


def test_four_pixels_apart_is_far_enough():
    assert not find_collisions([[0, 0], [4, 0]], [0.3, 0.2], "ab").any()
    assert find_collisions([[0, 0], [3.99, 0]], [0.3, 0.2], "ab").tolist() == [False, True]


def test_equal_words_do_not_collide_and_of_equal_scores_the_first_stays():
    assert not find_collisions([[0, 0], [1, 0]], [0.3, 0.2], ["hill", "hill"]).any()
    assert find_collisions([[0, 0], [1, 0]], [0.2, 0.2], "ab").tolist() == [False, True]
    assert find_collisions([], [], []).tolist() == []


@UNHURRIED
@given(
    st.lists(
        st.tuples(st.integers(0, 12), st.integers(0, 3), st.sampled_from([0.1, 0.5, 0.9]),
                  st.sampled_from("abc")),
        max_size=12,
    )
)  # fmt: skip
def test_collisions_pair_by_pair(words):
    lost = {
        i if (si, -i) < (sj, -j) else j
        for i, (xi, yi, si, ki) in enumerate(words)
        for j, (xj, yj, sj, kj) in enumerate(words)
        if i != j and ki != kj and math.dist((xi, yi), (xj, yj)) < COLLISION_DISTANCE
    }
    found = find_collisions([w[:2] for w in words], [w[2] for w in words], [w[3] for w in words])
    assert set(np.flatnonzero(found)) == lost


def test_every_outcome():
    points = [[10, 10], [12, 10], [40, 10], [70, 10], [100, 10], None, None, None]
    scores = [0.9, 0.8, 0.3, 0.05, 0.5, None, None, None]
    keys = ["hill", "road", "inn", "bar", "pub", "hill", "", "cafe"]
    ignore = [False] * 7 + [True]
    weights, outcomes = weigh_anchors(points, scores, keys, ignore, (0.1, 0.6))
    assert weights == [1.0, 0.0, 0.4, 0.0, 0.8, 0.0, 0.0, 0.0]
    assert outcomes == [
        "kept",
        "collision",
        "low_weight",
        "zero",
        "kept",
        "no_peak",
        "unreadable",
        "ignored",
    ]
    assert set(outcomes) == set(OUTCOMES)


def test_an_image_without_words():
    assert weigh_anchors([], [], [], [], (0.1, 0.6)) == ([], [])


def test_a_label_keeps_everything_but_the_points():
    record = {
        "file_name": "/pictures/a/1.png",
        "texts": ["Hill"],
        "points": [[1.0, 2.0]],
        "polygons": [[0, 0, 4, 0, 4, 4]],
        "licence": "CC0",
    }
    label = LabelledImage(record, [[3.0, 4.0]], [0.5], [0.7], [0.9], [1.0], ["kept"]).label(
        "a/1.png"
    )
    assert label == {
        **record,
        "file_name": "a/1.png",
        "points": [[3.0, 4.0]],
        "point_scores": [0.5],
        "similarity": [0.7],
        "point_weights": [1.0],
    }
    assert record["points"] == [[1.0, 2.0]]
