import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wecromcl_d2.evaluation.counting import MatchingError, PointWords, Score, Threshold
from wecromcl_d2.evaluation.evaluator import run_spotting
from wecromcl_d2.evaluation.lexicon import ImageLexicons, Lexicon, LexiconError
from wecromcl_d2.evaluation.report import format_table
from wecromcl_d2.evaluation.spotting import (
    GTWords,
    SpottingProtocol,
    filter_word,
    outline_center,
    score_spotting,
)


def gt(*words):
    """Ground-truth words as (text, x) or (text, x, ignored), all at y = 0."""
    return GTWords(
        [word[0] for word in words],
        np.array([(word[1], 0.0) for word in words]).reshape(-1, 2),
        np.array([len(word) > 2 and word[2] for word in words], dtype=bool),
    )


def found(*words):
    """Predictions as (text, x, score), all at y = 0."""
    return PointWords.of([w[0] for w in words], [(w[1], 0) for w in words], [w[2] for w in words])


def count(ground_truth, predictions, thresholds=(0.5,), **options):
    scores = score_spotting(ground_truth, predictions, SpottingProtocol(**options), thresholds)
    return [(score.true_positives, score.ground_truth, score.predictions) for score in scores]


IMAGE = st.tuples(
    st.lists(st.tuples(st.sampled_from("aAbß"), st.integers(0, 3), st.booleans()), max_size=4),
    st.lists(
        st.tuples(st.sampled_from(["a", "A", "b", "ss", ""]), st.integers(0, 3), st.integers(0, 3)),
        max_size=5,
    ),
)


@given(st.lists(IMAGE, min_size=1, max_size=3), st.integers(0, 3))
def test_point_metric_is_the_loop_of_its_docstring(images, threshold):
    hits = counted = scored = 0
    for words, predictions in images:
        scored += sum(not ignored for _, _, ignored in words)
        taken = set()
        for text, x, score in sorted(predictions, key=lambda row: -row[2]):
            if not text or score < threshold:
                continue
            if not words:
                counted += 1
                continue
            nearest = min(range(len(words)), key=lambda i: abs(words[i][1] - x))
            if words[nearest][2]:
                continue
            counted += 1
            if words[nearest][0].upper() == text.upper() and nearest not in taken:
                taken.add(nearest)
                hits += 1
    ground_truth = {i: gt(*words) for i, (words, _) in enumerate(images)}
    predictions = {i: found(*rows) for i, (_, rows) in enumerate(images)}
    assert count(ground_truth, predictions, [threshold]) == [(hits, scored, counted)]


def test_twins_and_ignored_words():
    ground_truth = {0: gt(("sale", 0), ("SALE", 10), ("off", 20, True))}
    predictions = {0: found(("Sale", 1, 0.9), ("sale", 2, 0.8), ("OFF", 19, 0.9))}
    assert count(ground_truth, predictions) == [(1, 2, 2)]
    assert count(ground_truth, predictions, metric="bag_of_words") == [(2, 2, 3)]


def test_thresholds_are_inclusive():
    ground_truth, predictions = {0: gt(("a", 0))}, {0: found(("a", 0, 0.82))}
    assert count(ground_truth, predictions, [0.82, 0.8200000000000001]) == [(1, 1, 1), (0, 1, 0)]


def test_empty_and_unknown_images_are_false_positives_or_errors(caplog):
    ground_truth = {0: gt(("a", 0)), 1: gt()}
    predictions = {1: found(("x", 0, 0.9)), 2: found(("y", 0, 0.9), ("", 0, 0.9))}
    assert count(ground_truth, predictions) == [(0, 1, 2)]
    assert "2 images with predictions have no ground truth" in caplog.text
    with pytest.raises(MatchingError, match="image 1"):
        count(ground_truth, predictions, mode="official")
    assert count(ground_truth, {2: found(("y", 0, 0.4))}, mode="official") == [(0, 1, 0)]


def test_words_without_position():
    nowhere = GTWords(["a"], np.full((1, 2), np.nan), np.array([False]))
    with pytest.raises(MatchingError, match="no position"):
        count({0: nowhere}, {0: found(("a", 0, 0.9))})
    assert count({0: nowhere}, {0: found(("a", 0, 0.9))}, metric="bag_of_words") == [(1, 1, 1)]
    ignored = GTWords(["a", "b"], np.array([[np.nan] * 2, [5, 0]]), np.array([True, False]))
    assert count({0: ignored}, {0: found(("b", 0, 0.9))}) == [(1, 1, 1)]


def test_dictionary_filter_shortens_ground_truth_and_on_request_predictions():
    ground_truth = {0: gt(("JOE'S", 0), ("B-12", 50))}
    predictions = {0: found(("JOE'S", 0, 0.9), ("B-12", 50, 0.9))}
    assert count(ground_truth, predictions) == [(2, 2, 2)]
    assert count(ground_truth, predictions, dictionary_filter=True) == [(0, 1, 1)]
    both = {"dictionary_filter": True, "filter_predictions": True}
    assert count(ground_truth, predictions, **both) == [(1, 1, 1)]


@pytest.mark.parametrize(
    ("text", "short", "kept"),
    [
        ("Joe's", "Joe", True),
        ("-co-op-", "co-op", True),
        ("why?!", "why", True),
        ("a.b", "a b", False),
        ("ab", "ab", False),
        ("B12", "B12", False),
        ("a÷b", "a÷b", False),
        ("ÉCOLE", "ÉCOLE", True),
        ("", "", False),
    ],
)
def test_filtered_words(text, short, kept):
    assert filter_word(text) == (short, kept)


def test_unicode_folding_is_an_option():
    ground_truth = {0: gt(("caf\u00e9", 0), ("ΣΑΣ", 50))}
    predictions = {0: found(("CAFE\u0301", 0, 0.9), ("σας", 50, 0.9))}
    assert count(ground_truth, predictions) == [(1, 2, 2)]
    assert count(ground_truth, predictions, unicode_fold=True) == [(2, 2, 2)]


def test_lexicons_correct_before_counting():
    lexicon = Lexicon.from_lines("words", ["HOTEL", "BAR"], ["HOTEL Hotel!", "BAR bar"])
    ground_truth = {1: gt(("hotel!", 0), ("bar", 50))}
    predictions = {1: found(("H0TEL", 0, 0.9), ("XYZ", 50, 0.9), ("", 50, 0.9))}
    assert count(ground_truth, predictions) == [(0, 2, 2)]
    assert count(ground_truth, predictions, lexicon=lexicon) == [(1, 2, 1)]
    strong = ImageLexicons("strong", {1: lexicon})
    assert count(ground_truth, predictions, lexicon=strong) == [(1, 2, 1)]
    assert count(ground_truth, {5: predictions[1]}, lexicon=strong) == [(0, 2, 2)]
    with pytest.raises(LexiconError, match="image 5"):
        count({5: ground_truth[1]}, {5: predictions[1]}, lexicon=strong)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"metric": "points"}, "'points'"),
        ({"mode": "fair"}, "'fair'"),
        ({"mode": "official", "unicode_fold": True}, "official"),
        ({"filter_predictions": True}, "needs dictionary_filter"),
    ],
)
def test_contradicting_options_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        SpottingProtocol(**options)


def test_triangles_have_a_center_except_officially():
    assert outline_center([0, 0, 10, 0, 5, 5]) == pytest.approx((3.75, 1.25))
    with pytest.raises(MatchingError, match="3 vertices"):
        outline_center([0, 0, 10, 0, 5, 5], "official")


def run(threshold=0.5):
    ground_truth = {
        1: gt(("one", 0), ("two", 50), ("###", 90, True)),
        2: gt(("four", 0)),
        3: gt(("six", 0)),
    }
    predictions = {
        1: found(("ONE", 1, 0.9), ("to", 51, 0.8), ("x", 91, 0.9), ("one", 2, 0.1), ("", 0, 0.9)),
        2: found(("four", 0, 0.7)),
    }
    return run_spotting(
        "words", ground_truth, predictions, SpottingProtocol(), Threshold(threshold), (0.75, 0.85)
    )


def test_a_run_says_what_it_measured():
    chosen, best = run().results()
    assert chosen.as_dict() | {"version": "?"} == {
        "dataset": "words",
        "protocol": "SPTS point, end-to-end",
        "mode": "robust",
        "lexicon": "none",
        "threshold": 0.5,
        "threshold_choice": "fixed",
        "precision": pytest.approx(2 / 3),
        "recall": 0.5,
        "hmean": pytest.approx(4 / 7),
        "true_positives": 2,
        "ground_truth": 4,
        "predictions": 3,
        "images": 3,
        "version": "?",
    }
    assert (best.threshold, best.threshold_choice.split()[0]) == (0.85, "best")
    assert [result.predictions for result in run().sweep()] == [2, 1]
    table = format_table([chosen, best])
    assert "dataset: words; images: 3; mode: robust" in table
    assert "0.5 (fixed)" in table


def test_worst_images_and_details():
    assert [(row["image_id"], row["wrong"], row["missed"]) for row in run().worst(5)] == [
        (1, 1, 1),
        (3, 0, 1),
    ]
    assert [row["image_id"] for row in run().worst(1)] == [1]
    first = run().details()[0]
    assert first["states"] == ["right", "wrong", "ignored", "below", "dropped"]
    assert first["read_as"] == ["ONE", "to", "x", "one", None]
    assert [word["found"] for word in first["words"]] == [True, False, False]


def test_scores_without_any_hit_are_zero():
    empty = Score(0.5, 0, 0, 0)
    assert (empty.precision, empty.recall, empty.hmean) == (0, 0, 0)
    assert not math.isnan(empty.hmean)
