import pytest
import torch

from tests.stage2.spts.helpers import instances
from wecromcl_d2.data.text import Charset, CharsetError
from wecromcl_d2.stage2.spts.sequence import (
    Layout,
    collect_words,
    order_words,
    pad_samples,
    write_sample,
)
from wecromcl_d2.stage2.spts.vocabulary import Vocabulary

# a, b, c are 10, 11, 12; 13 is unknown, 14 ends a word, 15 the sequence, 16 starts, 17 pads
V = Vocabulary(Charset("abc"), 10)
PADDED = Layout(points=True, max_length=4, max_words=3, padded=True)
COMPACT = Layout(points=True, max_length=4, max_words=3, padded=False)
TWO = instances((100, 100), ["ab", "cccc"], [[15, 25], [95, 5]], weights=[0.5, 1.0])


def write(given, layout, vocabulary=V, official=False):
    words = collect_words(given, vocabulary, layout)
    return write_sample(words, vocabulary, layout, eos_weight=0.25, official=official)


def rows(sample):
    return [x.tolist() for x in sample]


def test_padded_words_fill_their_places():
    assert rows(write(TWO, PADDED)) == [
        [16, 1, 2, 10, 11, 14, 14, 9, 0, 12, 12, 12, 12],
        [1, 2, 10, 11, 14, 14, 9, 0, 12, 12, 12, 12, 15],
        [0.5, 0.5, 0.5, 0.5, 0.5, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.25],
    ]


def test_compact_words_end_with_a_token():
    assert rows(write(TWO, COMPACT)) == [
        [16, 1, 2, 10, 11, 14, 9, 0, 12, 12, 12, 12, 14],
        [1, 2, 10, 11, 14, 9, 0, 12, 12, 12, 12, 14, 15],
        [0.5, 0.5, 0.5, 0.5, 0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.25],
    ]


def test_without_points_there_are_only_texts():
    v = Vocabulary(Charset("abc"), 0)
    layout = Layout(points=False, max_length=3, max_words=2, padded=True)
    given = instances((50, 50), ["ab"], located=[False])
    assert rows(write(given, layout, v)) == [[6, 0, 1, 4], [0, 1, 4, 5], [1, 1, 1, 0.25]]


def test_the_official_form_weighs_all_padding_and_no_point():
    sample = write(TWO, PADDED, official=True)
    assert sample.weights.tolist() == [1.0] * 12 + [0.25]


@pytest.mark.parametrize(
    "unknown", [{"weights": [0.0]}, {"located": [False]}, {"located": [False], "weights": [0.0]}]
)
@pytest.mark.parametrize("official", [False, True])
def test_an_unknown_place_is_read_as_no_location_and_never_asked_for(unknown, official):
    given = instances((100, 100), ["a"], [[float("nan")] * 2], **unknown)
    assert rows(write(given, COMPACT, official=official)) == [
        [16, 17, 17, 10, 14],
        [17, 17, 10, 14, 15],
        [0.0, 0.0, 1.0, 1.0, 0.25],
    ]


def test_the_shortest_words_are_kept_and_the_others_counted():
    given = instances((10, 10), ["abc", "a", "xyz", "abca", "bca", "ab", "c"], [[5, 5]] * 7)
    words = collect_words(given, V, PADDED)
    assert words.texts == [[10], [10, 11], [12]]
    assert (words.left_out, words.cut) == (3, 0)


def test_the_first_of_equally_long_words_are_kept():
    given = instances((10, 10), ["ab", "bc", "ca", "ba"], [[5, 5]] * 4)
    assert collect_words(given, V, PADDED).texts == [[10, 11], [11, 12], [12, 10]]


def test_long_words_are_cut_and_counted():
    words = collect_words(instances((10, 10), ["abcabc"], [[5, 5]]), V, PADDED)
    assert (words.texts, words.cut) == ([[10, 11, 12, 10]], 1)


def test_ignored_and_unreadable_words_are_none():
    given = instances((10, 10), ["a", "-", "", "b"], [[5, 5]] * 4, ignore=[True, *[False] * 3])
    words = collect_words(given, V, PADDED)
    assert (words.texts, words.left_out) == ([[11]], 0)


def test_a_strict_charset_names_the_character():
    strict = Vocabulary(Charset("abc", unknown="error"), 10)
    with pytest.raises(CharsetError, match="'-'"):
        collect_words(instances((10, 10), ["a-b"], [[5, 5]]), strict, PADDED)


@pytest.mark.parametrize("layout", [PADDED, COMPACT])
def test_an_image_without_words_teaches_the_end(layout):
    given = instances((10, 10), [], [])
    assert rows(write(given, layout)) == [[16], [15], [0.25]]


def test_raster_order_goes_down_then_right_and_ends_with_the_unlocated():
    texts = ["a", "b", "c"]
    points = [[50.0, 80.0], [80.0, 10.0], [20.0, 10.0]]
    given = instances((100, 100), texts, points)
    ordered = order_words(collect_words(given, V, PADDED), "raster", V)
    assert ordered.texts == [[12], [11], [10]]
    assert ordered.places.tolist() == [[2, 1], [8, 1], [5, 8]]
    given = instances((100, 100), texts, points, located=[True, True, False])
    assert order_words(collect_words(given, V, PADDED), "raster", V).texts == [[11], [10], [12]]


def test_random_order_keeps_words_whole_and_differs():
    given = instances(
        (100, 100), ["a", "b", "c"], [[5, 5], [15, 15], [25, 25]], weights=[1, 0.5, 1]
    )
    words = collect_words(given, V, PADDED)
    seen = set()
    for seed in range(40):
        torch.manual_seed(seed)
        ordered = order_words(words, "random", V)
        for text, place, weight in zip(ordered.texts, ordered.places, ordered.weights, strict=True):
            index = text[0] - 10
            assert place.tolist() == [index, index]
            assert weight == (0.5 if index == 1 else 1)
        seen.add(tuple(map(tuple, ordered.texts)))
    assert len(seen) == 6


def test_batches_are_padded_with_tokens_that_count_nothing():
    short = write(instances((10, 10), ["a"], [[5, 5]]), COMPACT)
    inputs, targets, weights = pad_samples([short, write(TWO, COMPACT)], V)
    assert inputs[0].tolist() == [16, 5, 5, 10, 14] + [17] * 8
    assert targets[0].tolist() == [5, 5, 10, 14, 15] + [17] * 8
    assert weights[0].tolist() == [1, 1, 1, 1, 0.25] + [0] * 8


@pytest.mark.parametrize(
    ("padded", "points", "places", "inputs"),
    [(True, True, 27, 1621), (True, False, 25, 1501), (False, True, 28, 1681)],
)
def test_lengths_are_the_published_ones(padded, points, places, inputs):
    layout = Layout(points=points, max_length=25, max_words=60, padded=padded)
    assert (layout.places, layout.max_inputs) == (places, inputs)


@pytest.mark.parametrize(("length", "words"), [(0, 3), (4, 0)])
def test_a_sequence_that_holds_nothing_is_refused(length, words):
    with pytest.raises(ValueError, match=r"MAX_(WORDS|LENGTH) is 0"):
        Layout(points=True, max_length=length, max_words=words, padded=True)


def test_of_too_many_words_a_random_choice_is_the_published_one():
    texts = ["abc", "a", "xyz", "abca", "bca", "ab", "c"]
    given = instances((10, 10), texts, [[5, 5]] * 7)
    choices = {
        tuple(map(tuple, collect_words(given, V, PADDED, official=True).texts)) for _ in range(50)
    }
    # Of 6 readable words 3 are kept, in 20 ways; some choice leaves out each of the shortest.
    assert len(choices) > 5 and all(len(texts) == 3 for texts in choices)
    few = instances((10, 10), texts[:2], [[5, 5]] * 2)
    assert collect_words(few, V, PADDED, official=True).texts == collect_words(few, V, PADDED).texts
