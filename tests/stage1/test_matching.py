import math

import numpy as np
import pytest

from wecromcl_d2.evaluation.counting import MatchingError, PointWords, Score
from wecromcl_d2.stage1.matching import (
    area_share,
    inside_polygon,
    match_anchors,
    perturb_anchors,
    score_nearest_points,
    summarize_anchors,
)

SQUARE = [0, 0, 10, 0, 10, 10, 0, 10]
BESIDE = [20, 0, 30, 0, 30, 10, 20, 10]


def words(layout):
    return {
        image: PointWords.of(entry["text"], entry["points"], entry.get("scores", ()))
        for image, entry in layout.items()
    }


def test_robust_mode_counts_what_breaks_the_published_script():
    ground_truth = words({"a": {"text": ["x", "y"], "points": [[0, 0], [9, 9]]}, "e": empty()})
    found = words(
        {
            "a": {"text": ["x", "y"], "points": [[0, 0], [9, 9]], "scores": [0.5]},
            "e": {"text": ["x"], "points": [[1, 1]], "scores": [0.5]},
            "unknown": {"text": ["x"], "points": [[1, 1]], "scores": [0.5]},
        }
    )
    assert score_nearest_points(ground_truth, found, [0.0, 0.9]) == [
        Score(0.0, true_positives=2, ground_truth=2, predictions=4),
        Score(0.9, true_positives=1, ground_truth=2, predictions=1),
    ]


def empty():
    return {"text": [], "points": []}


def test_official_mode_truncates_true_points_towards_zero():
    ground_truth = {0: PointWords.of(["a", "b"], [[1.9, 0], [3.0, 0]])}
    found = {0: PointWords.of(["b"], [[2.2, 0]], [1])}
    assert score_nearest_points(ground_truth, found, [0])[0].true_positives == 0
    assert score_nearest_points(ground_truth, found, [0], "official")[0].true_positives == 1


def test_unknown_mode_is_refused():
    with pytest.raises(ValueError, match="'fair'"):
        score_nearest_points({}, {}, mode="fair")


@pytest.mark.parametrize(
    ("texts", "points", "scores"),
    [
        (["a"], [], []),
        (["a"], [[0, 0]], [1, 2]),
        (["a"], [[0, math.nan]], [1]),
        (["a"], [[0, 0]], [math.inf]),
    ],
)
def test_inconsistent_words_are_refused(texts, points, scores):
    with pytest.raises(MatchingError):
        PointWords.of(texts, points, scores)


def test_border_counts_as_inside():
    points = np.array([[0, 0], [10, 5], [5, 5], [10.001, 5]], float)
    assert inside_polygon(SQUARE, points).tolist() == [True, True, True, False]


def test_invalid_outlines_are_repaired():
    crossed = [0, 0, 10, 10, 10, 0, 0, 10]
    assert inside_polygon(crossed, np.array([[5.0, 1.0], [9.0, 5.0]])).sum() == 1
    line = [0, 0, 5, 0, 10, 0]
    assert inside_polygon(line, np.array([[7.0, 0.0], [7.0, 1.0]])).tolist() == [True, False]


def test_anchor_match_of_a_wide_word():
    found = PointWords.of(["WORD", "other"], [[15, 10], [0, 0]], [1, 1])
    match = match_anchors(["word"], [[0, 0, 40, 0, 40, 10, 0, 10]], np.array([[20.0, 5.0]]), found)
    assert match.anchor.tolist() == [0]
    assert match.inside.tolist() == [True]
    assert match.distance.tolist() == [pytest.approx(math.hypot(5 / 40, 5 / 10))]


def test_word_without_anchor_is_a_miss_at_infinite_distance():
    match = match_anchors(["a"], [SQUARE], np.array([[5.0, 5.0]]), PointWords.of([], []))
    assert (match.anchor[0], match.inside[0], match.distance[0]) == (-1, False, math.inf)


def test_twins_are_assigned_for_most_hits_not_nearest_first():
    # The first anchor is nearest to the first word but only it can serve the second.
    wide = [0, 0, 30, 0, 30, 10, 0, 10]
    found = PointWords.of(["A", "a"], [[21, 5], [1, 5]], [1, 1])
    centers = np.array([[15.0, 5.0], [25.0, 5.0]])
    match = match_anchors(["a", "a"], [wide, BESIDE], centers, found)
    assert match.anchor.tolist() == [1, 0]
    assert match.inside.all()


def test_equal_hits_go_to_the_smaller_distance():
    found = PointWords.of(["a", "a"], [[6, 5], [4, 5]], [1, 1])
    centers = np.array([[5.5, 5.0], [4.0, 5.0]])
    match = match_anchors(["a", "a"], [SQUARE, SQUARE], centers, found)
    assert match.anchor.tolist() == [0, 1]


def test_summary_of_three_words():
    found = PointWords.of(["a", "b"], [[5, 5], [26, 5]], [1, 1])
    centers = np.array([[5.0, 5.0], [25.0, 5.0], [5.0, 5.0]])
    match = match_anchors(["a", "b", "c"], [SQUARE, BESIDE, SQUARE], centers, found)
    assert summarize_anchors([match]) == {
        "inside_rate": pytest.approx(2 / 3),
        "distance_mean": pytest.approx(0.05),
        "distance_median": pytest.approx(0.05),
        "within_0.10": pytest.approx(2 / 3),
        "within_0.25": pytest.approx(2 / 3),
        "within_0.50": pytest.approx(2 / 3),
    }
    assert summarize_anchors([]) == {}


def test_area_share_counts_only_the_part_in_the_image():
    assert area_share(SQUARE, (20, 50)) == pytest.approx(0.1)
    assert area_share([-10, 0, 10, 0, 10, 10, -10, 10], (20, 50)) == pytest.approx(0.1)
    assert area_share([60, 0, 70, 0, 70, 10, 60, 10], (20, 50)) == 0


@pytest.mark.parametrize(("alpha", "inside"), [(0.2, 0.975), (0.3, 0.818), (0.5, 0.466)])
def test_perturbed_centers_have_the_known_inside_rate_and_distance(alpha, inside):
    count = 100_000
    size, center = (1000, 1000), np.array([500.0, 500.0])
    outline = [460, 490, 540, 490, 540, 510, 460, 510]
    anchors = perturb_anchors(
        np.tile(center, (count, 1)),
        np.tile([20.0, 80.0], (count, 1)),
        size,
        alpha,
        np.random.default_rng(7),
    )
    texts = [str(index) for index in range(2000)]
    found = PointWords.of(texts, anchors[:2000], np.ones(2000))
    match = match_anchors(texts, [outline] * 2000, np.tile(center, (2000, 1)), found)
    assert match.inside.tolist() == inside_polygon(outline, anchors[:2000]).tolist()
    assert inside_polygon(outline, anchors).mean() == pytest.approx(inside, abs=0.005)
    distance = np.linalg.norm((anchors - center) / [80, 20], axis=1)
    assert match.distance == pytest.approx(distance[:2000])
    assert distance.mean() == pytest.approx(alpha * math.sqrt(math.pi / 2), abs=0.005)


def test_perturbed_centers_stay_in_the_image():
    moved = perturb_anchors(
        np.full((500, 2), 5.0), np.full((500, 2), 50.0), (10, 40), 1.0, np.random.default_rng(0)
    )
    assert moved.min() == 0
    assert moved[:, 0].max() == 40
    assert moved[:, 1].max() == 10
