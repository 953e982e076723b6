import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wecromcl_d2.evaluation.lexicon import (
    ImageLexicons,
    Lexicon,
    LexiconError,
    image_number,
    nearest_weighted,
    weighted_distance,
)

WORDS = st.text(alphabet="aAbcß", min_size=1, max_size=7)


def plain_distance(a, b):
    """Levenshtein's distance by its definition."""
    rows = [list(range(len(b) + 1))]
    for i, x in enumerate(a, start=1):
        rows.append([i])
        for j, y in enumerate(b, start=1):
            rows[i].append(
                min(rows[i - 1][j] + 1, rows[i][j - 1] + 1, rows[i - 1][j - 1] + (x != y))
            )
    return rows[-1][-1]


@given(st.lists(WORDS, min_size=1, max_size=12), st.lists(WORDS, min_size=1, max_size=6))
def test_nearest_is_that_of_a_scan_through_the_list(entries, texts):
    lexicon = Lexicon("words", entries, entries)
    for text, found in zip(texts, lexicon.nearest(texts), strict=True):
        word = text.upper()
        distances = [
            plain_distance(word, entry.upper()) / max(len(word), len(entry.upper()))
            for entry in entries
        ]
        assert found.distance == min(distances)
        assert found.entry == distances.index(min(distances))


def test_very_long_texts_are_measured_exactly():
    lexicon = Lexicon("words", ["b" * 300, "a" * 299], ["b", "a"])
    (found,) = lexicon.nearest(["a" * 600])
    assert (found.entry, found.distance) == (1, 301 / 600)


def test_limit_is_strict_and_farther_words_are_dropped_or_kept():
    pairs = ["ABCDE abc-de"]
    limited = Lexicon.from_lines("words", ["ABCDE"], pairs)
    assert limited.correct(["abcdx", "abcxx"]) == ["abc-de", None]
    kept = Lexicon.from_lines("words", ["ABCDE"], pairs, keep_unmatched=True)
    assert kept.correct(["abcxx"]) == ["abcxx"]
    assert Lexicon.from_lines("words", ["ABCDE"], pairs, limit=None).correct(["q"]) == ["abc-de"]


def test_pairs_are_joined_by_key_and_the_last_one_wins():
    pairs = ["INTO IN TO", "BNB B&B", "Into in-to"]
    lexicon = Lexicon.from_lines("words", ["BNB", "INTO", "ALONE"], pairs)
    assert lexicon.correct(["bnb", "into", "alone"]) == ["B&B", "in-to", "ALONE"]


def test_without_pairs_the_spelling_is_upper_case():
    assert Lexicon.from_lines("words", ["Real food"]).correct(["real food"]) == ["REAL FOOD"]


def test_modes_differ_in_marks_blank_lines_and_growing_letters():
    lines, pairs = ["\ufeffstraße", "", "B"], ["straße STRASSE", "B b"]
    robust = Lexicon.from_lines("words", lines, pairs)
    assert robust.entries == ["STRASSE", "B"]
    assert robust.correct(["strasse"]) == ["STRASSE"]
    official = Lexicon.from_lines("words", ["straße", "", "B"], pairs, mode="official")
    assert official.entries == ["STRASSE", "", "B"]
    assert official.replacements == ["TRASSE", None, "b"]


def test_official_mode_refuses_a_scan_over_an_entry_without_pair():
    lines = ["QQQ", "ABC"]
    lexicon = Lexicon.from_lines("words", lines, ["ABC abc"], mode="official")
    with pytest.raises(LexiconError, match="'QQQ'"):
        lexicon.correct(["ABC"])
    behind = Lexicon.from_lines("words", lines[::-1], ["ABC abc"], mode="official")
    assert behind.correct(["ABC"]) == ["abc"]


def test_empty_lexicons_are_refused():
    with pytest.raises(LexiconError, match="0 words"):
        Lexicon.from_lines("words", ["", "\ufeff"])
    with pytest.raises(LexiconError, match="no list"):
        ImageLexicons("strong", {})


def test_each_image_has_its_lexicon():
    one, two = (Lexicon.from_lines(name, [name]) for name in ("one", "two"))
    strong = ImageLexicons("strong", {1: one, 12: two})
    assert strong.of(1) is one
    assert strong.of("img_12") is two
    for image in (2, "img", "img_1.x"):
        with pytest.raises(LexiconError, match=f"image {image!r}"):
            strong.of(image)
    assert strong.describe() == "strong (2 lists, 2 words, distance < 0.4, else dropped)"


@pytest.mark.parametrize(
    ("image", "number"), [(7, 7), ("img_7", 7), ("0000007", 7), ("img", -1), ("v2/a1", 1)]
)
def test_image_numbers(image, number):
    assert image_number(image) == number


def test_weighted_distance_by_hand():
    # Replacing an unsure x by b: 1 - 5 * 0.1 / 0.8; deleting it costs 0.8; inserting c behind the
    # last character costs that character's probability.
    probabilities = np.array([[0.9, 0.05, 0.0, 0.05], [0.0, 0.1, 0.1, 0.8]])
    assert weighted_distance("ax", "ab", probabilities, "abcx") == pytest.approx(0.375)
    assert weighted_distance("ax", "a", probabilities, "abcx") == pytest.approx(0.8)
    assert weighted_distance("ax", "axc", probabilities, "abcx") == pytest.approx(0.8)
    assert nearest_weighted("ax", ["a", "ab", "axc"], probabilities, "abcx") == 1


def test_weighted_distance_survives_a_probability_of_zero():
    assert weighted_distance("a", "b", np.zeros((1, 2)), "ab") == 1


def test_weighted_distance_refuses_what_does_not_fit():
    with pytest.raises(LexiconError, match="shape"):
        weighted_distance("ab", "a", np.ones((1, 2)), "ab")
    with pytest.raises(LexiconError, match=r"\['z'\]"):
        weighted_distance("a", "z", np.ones((1, 2)), "ab")
    with pytest.raises(LexiconError, match="no entry"):
        nearest_weighted("a", [], np.ones((1, 2)), "ab")
