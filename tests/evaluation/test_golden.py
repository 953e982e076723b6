"""Published results on invented words, recomputed: counts exactly, rates to 1e-12.

`WECROMCL_EVAL_CASES` names another folder of files in the same layout.
"""

import json
import os
import string
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from wecromcl_d2.data.datasets import LabelError
from wecromcl_d2.data.readers.base import ImageGT
from wecromcl_d2.evaluation.counting import MatchingError, PointWords, best_score
from wecromcl_d2.evaluation.lexicon import (
    ImageLexicons,
    Lexicon,
    LexiconError,
    nearest_weighted,
    weighted_distance,
)
from wecromcl_d2.evaluation.readers import gt_words, parse_point_file
from wecromcl_d2.evaluation.spotting import (
    SPTS_THRESHOLDS,
    GTWords,
    SpottingProtocol,
    correct_texts,
    filter_word,
    outline_center,
    score_spotting,
)
from wecromcl_d2.stage1.matching import score_nearest_points

DEFAULT_CASES = Path(__file__).parents[1] / "data" / "eval_cases"
FOLDER = Path(os.environ.get("WECROMCL_EVAL_CASES", DEFAULT_CASES))
# Robust mode keeps the whole of a word, and a pair's whole spelling, on purpose.
ROBUST_DIFFERS = {"text_with_separator", "pair_key_length_change"}
BOTH_MODES = pytest.mark.parametrize("mode", ["official", "robust"])


def load(name):
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


POINT, LEXICON, NO_POINT, STAGE_1 = map(
    load, ("spts_point", "spts_lexicon", "npts", "wecromcl_stage1")
)


def cases(content):
    return pytest.mark.parametrize("case", content["cases"], ids=lambda case: case["name"])


def agree(scores, rows):
    assert len(scores) == len(rows)
    for score, row in zip(scores, rows, strict=True):
        counts = (score.threshold, score.true_positives, score.ground_truth, score.predictions)
        assert counts == tuple(row[key] for key in ("threshold", "ntp", "ngt", "ndet"))
        for key in ("precision", "recall", "hmean"):
            assert getattr(score, key) == pytest.approx(row[key], rel=0, abs=1e-12)


def agree_on_best(scores, expected):
    index = best_score(scores)
    assert index == expected["best_index"]
    for key, printed in expected["printed"].items():
        assert f"{getattr(scores[index], key):.4f}" == printed


def spts_ground_truth(case, mode):
    """The case's ground truth, by way of the text files it would be read from."""
    ground_truth = {}
    for image, words in case["gts"].items():
        lines = [",".join(map(str, polygon)) + f",####{text}\n" for polygon, text in words]
        parsed = parse_point_file("".join(lines).encode(), mode)
        ground_truth[int(image)] = gt_words(ImageGT(image, (image,), parsed), mode)
    return ground_truth


def spts_predictions(rows):
    grouped = defaultdict(list)
    for image, x, y, text, score in rows:
        grouped[image].append((text, (x, y), score))
    return {image: PointWords.of(*zip(*words, strict=True)) for image, words in grouped.items()}


def spts_lexicon(case, mode):
    if "lexicon" not in case:
        return None
    limit = None if case["lexicon_type"] == "generic" else LEXICON["match_distance_limit"]

    def build(name, lists):
        return Lexicon.from_lines(name, lists["lexicon"], lists["pairs"], mode=mode, limit=limit)

    if case["lexicon_type"] == "strong":
        lists = {int(image): build(image, lists) for image, lists in case["lexicon"].items()}
        return ImageLexicons("strong", lists)
    return build("list", case["lexicon"])


def run_spts(case, mode, thresholds):
    protocol = SpottingProtocol(
        mode=mode, dictionary_filter=case["word_spotting"], lexicon=spts_lexicon(case, mode)
    )
    ground_truth, predictions = spts_ground_truth(case, mode), spts_predictions(case["predictions"])
    texts = correct_texts(predictions, protocol, ground_truth)
    kept = sum(text is not None for row in texts.values() for text in row)
    return score_spotting(ground_truth, predictions, protocol, thresholds), kept


def check_spts(case, mode, thresholds):
    if "official_error" in case:
        if mode == "official":
            with pytest.raises((LabelError, LexiconError, MatchingError)):
                run_spts(case, mode, thresholds)
        else:
            assert len(run_spts(case, mode, thresholds)[0]) == len(thresholds)
        return
    scores, kept = run_spts(case, mode, thresholds)
    expected = case["expected"]
    assert kept == expected["kept_after_reading"]
    if mode == "robust" and case["name"] in ROBUST_DIFFERS:
        assert [score.true_positives for score in scores] != [
            row["ntp"] for row in expected["per_threshold"]
        ]
        return
    agree(scores, expected["per_threshold"])
    agree_on_best(scores, expected)


@BOTH_MODES
@cases(POINT)
def test_golden_spts_point(case, mode):
    check_spts(case, mode, POINT["thresholds"])


@BOTH_MODES
@cases(LEXICON)
def test_golden_spts_lexicon(case, mode):
    check_spts(case, mode, LEXICON["thresholds"])


@BOTH_MODES
@cases(NO_POINT)
@pytest.mark.parametrize("metric", ["nearest_text", "bag_of_words"])
def test_golden_no_point(case, metric, mode):
    ground_truth = {
        int(image): GTWords(
            [text for text, _ in words],
            np.full((len(words), 2), np.nan),
            np.array([ignore for _, ignore in words], dtype=bool),
        )
        for image, words in case["gts"].items()
    }
    predictions = spts_predictions([(i, 0, 0, t, s) for i, t, s in case["predictions"]])
    protocol = SpottingProtocol(metric=metric, mode=mode)
    scores = score_spotting(ground_truth, predictions, protocol, NO_POINT["thresholds"])
    agree(scores, case["expected"][metric])
    assert best_score(scores) == case["expected"][f"{metric}_best_index"]


@BOTH_MODES
@cases(STAGE_1)
def test_golden_stage_1(case, mode):
    def words(layout):
        return {
            image: PointWords.of(entry["text"], entry["points"], entry.get("scores", ()))
            for image, entry in layout.items()
        }

    def run():
        ground_truth, found = words(case["gts"]), words(case["results"])
        return score_nearest_points(ground_truth, found, STAGE_1["thresholds"], mode)

    if "official_error" in case:
        if mode == "official":
            with pytest.raises(MatchingError):
                run()
        else:
            assert all(score.predictions >= 1 for score in run())
        return
    scores = run()
    agree(scores, case["expected"]["per_threshold"])
    agree_on_best(scores, case["expected"])


def test_golden_thresholds_are_the_published_ones():
    assert tuple(POINT["thresholds"]) == SPTS_THRESHOLDS


def test_golden_centers():
    for polygon, x, y in POINT["centres"]["values"]:
        assert outline_center(polygon) == pytest.approx((x, y), rel=0, abs=1e-9)


def test_golden_dictionary_filter():
    for text, kept, cleaned in POINT["dictionary_filter"]["values"]:
        assert filter_word(text) == (cleaned, kept)


def test_golden_match_table():
    table = LEXICON["match_table"]
    lexicon = Lexicon.from_lines("table", table["lexicon"]["lexicon"], table["lexicon"]["pairs"])
    nearest = lexicon.nearest([query for query, _, _ in table["values"]])
    found = [(lexicon.replacements[match.entry], match.distance) for match in nearest]
    assert found == [(text, distance) for _, text, distance in table["values"]]


def test_golden_weighted_distance():
    alphabet = " " + string.digits + string.ascii_lowercase
    table = LEXICON["weighted_edit_distance"]
    for row in table["values"]:
        scores = np.array(row["scores"])
        distance = weighted_distance(row["word"], row["other"], scores, alphabet)
        assert distance == pytest.approx(row["distance"], rel=0, abs=1e-12)
        index = nearest_weighted(row["word"], table["list"], scores, alphabet)
        assert table["list"][index] == row["match_weighted"]
