import json
import logging

import pytest
import torch
from detectron2.evaluation import inference_on_dataset, print_csv_format
from detectron2.structures import Instances
from torch import nn

from wecromcl_d2 import __version__
from wecromcl_d2.data.text import TextList
from wecromcl_d2.evaluation.counting import MatchingError, PointWords, Threshold
from wecromcl_d2.evaluation.evaluator import SpottingEvaluator
from wecromcl_d2.evaluation.lexicon import Lexicon
from wecromcl_d2.evaluation.spotting import GTWords, SpottingProtocol
from wecromcl_d2.stage1.evaluator import AnchorEvaluator, AnchorImage, run_anchors

LEFT = [0, 0, 10, 0, 10, 10, 0, 10]
RIGHT = [30, 0, 40, 0, 40, 10, 30, 10]


def record(**extra):
    base = {"file_name": "a.jpg", "image_id": "a", "height": 20, "width": 50}
    return base | {"texts": ["Left", "right"], "polygons": [LEFT, RIGHT]} | extra


def output(texts=("right", "Left"), points=((45.0, 5.0), (5.0, 7.0)), scores=(0.035, 0.5)):
    instances = Instances(
        (20, 50),
        pred_points=torch.tensor(points).reshape(-1, 2),
        pred_texts=TextList(texts),
        scores=torch.tensor(scores),
    )
    return {"instances": instances}


def evaluate(*pairs, **options):
    evaluator = AnchorEvaluator("words", **options)
    evaluator.reset()
    for one_record, one_output in pairs:
        evaluator.process([one_record], [one_output])
    return evaluator.evaluate()


def test_exact_metrics_of_one_hit_and_one_miss():
    # "Left" sits 2 px below its center; "right" sits 10 px beside its own, yet nearest to it.
    metrics = evaluate((record(), output()))["anchors"]
    assert 0 <= metrics.pop("hmean_chance") <= 1
    assert metrics == {
        "inside_rate": 0.5,
        "chance": pytest.approx(0.1),
        "distance_mean": pytest.approx(0.6),
        "distance_median": pytest.approx(0.6),
        "within_0.10": 0,
        "within_0.25": 0.5,
        "within_0.50": 0.5,
        "precision": 1,
        "recall": 1,
        "hmean": 1,
        "sweep_precision": 1,
        "sweep_recall": 1,
        "sweep_hmean": 1,
        "sweep_threshold": 0.03,
        "images": 1,
        "words": 2,
    }
    assert not any("-" in key for key in metrics)


def test_chance_of_the_nearest_point_is_that_of_random_points():
    # Centers at x = 5 and 35 of 50: a random point is nearest to the left word in 2 of 5 cases.
    both = evaluate(*[(record(), output())] * 400)["anchors"]
    assert both["hmean_chance"] == pytest.approx(0.5, abs=0.03)
    left = output(("Left",), ((5.0, 7.0),), (0.5,))
    one = evaluate(*[(record(), left)] * 400)["anchors"]
    assert one["hmean_chance"] == pytest.approx(2 * 0.4 * 0.2 / (0.4 + 0.2), abs=0.03)


def test_chance_of_the_nearest_point_needs_the_sizes_of_the_images():
    words = GTWords.from_record(record())
    found = PointWords.of(["Left"], [[5, 7]], [0.5])
    for size, is_known in ((None, False), ((20, 50), True)):
        image = AnchorImage.of("a", words, found, size)
        metrics = run_anchors("words", [image], "robust", Threshold(0)).metrics
        assert ("hmean_chance" in metrics) == is_known


def test_fixed_threshold_is_kept_apart_from_the_sweep():
    metrics = evaluate((record(), output()), threshold=0.1)["anchors"]
    assert (metrics["precision"], metrics["recall"]) == (1, 0.5)
    assert (metrics["sweep_recall"], metrics["sweep_threshold"]) == (1, 0.03)


def test_given_points_go_before_outline_centers():
    moved = record(points=[[5, 7], None])
    metrics = evaluate((moved, output()))["anchors"]
    assert metrics["distance_mean"] == pytest.approx(0.5)


def test_ignored_words_and_their_anchors_do_not_count():
    metrics = evaluate((record(ignore=[False, True]), output()))["anchors"]
    assert metrics["words"] == 1
    assert metrics["inside_rate"] == 1
    assert (metrics["precision"], metrics["recall"]) == (1, 1)


def test_words_without_an_anchor_are_misses():
    metrics = evaluate((record(), output((), (), ())))["anchors"]
    assert metrics["inside_rate"] == 0
    assert metrics["hmean"] == 0
    assert "distance_mean" not in metrics


def test_missing_outlines_leave_their_metrics_out(caplog):
    caplog.set_level(logging.WARNING)
    points_only = record(polygons=[None, None], points=[[5, 5], [35, 5]])
    metrics = evaluate((points_only, output()))["anchors"]
    assert metrics["hmean"] == 1
    assert not metrics.keys() & {"inside_rate", "chance", "distance_mean", "within_0.10"}
    assert caplog.messages == [
        "words has no outlines: inside rate, chance and distances are left out"
    ]


def test_missing_positions_leave_only_counts(caplog):
    words_only = record()
    del words_only["polygons"]
    assert evaluate((words_only, output())) == {"anchors": {"images": 1, "words": 2}}
    assert "neither points nor outlines" in caplog.text


def test_no_images_is_said(caplog):
    assert evaluate() == {}
    assert "no image of words" in caplog.text


def test_reset_forgets():
    evaluator = AnchorEvaluator("words")
    evaluator.process([record()], [output()])
    evaluator.reset()
    evaluator.process([record()], [output()])
    assert evaluator.evaluate()["anchors"]["images"] == 1


def test_log_names_protocol_mode_and_threshold(caplog):
    caplog.set_level(logging.INFO)
    evaluate((record(), output()), mode="official")
    accuracy, fixed, sweep = caplog.messages
    assert "anchor accuracy" in accuracy
    assert "chance 0.1000" in accuracy
    assert "published stage-1 protocol), lexicon none, mode official, threshold 0 (fixed)" in fixed
    assert "threshold 0.03 (best of a sweep over this very set, as published)" in sweep


def test_diverged_points_name_the_image():
    bad = output(points=((float("nan"), 5.0), (5.0, 7.0)))
    with pytest.raises(MatchingError, match=r"image 'a\.jpg': .*not finite"):
        evaluate((record(), bad))


def test_result_file(tmp_path):
    metrics = evaluate((record(texts=["Left", "漢字"]), output()), output_dir=str(tmp_path))
    content = json.loads((tmp_path / "anchors.json").read_text(encoding="utf-8"))
    assert content["metrics"] == metrics["anchors"]
    assert (content["dataset"], content["mode"], content["threshold"]) == ("words", "robust", 0)
    (image,) = content["images"]
    assert image["texts"] == ["right", "Left"]
    assert image["points"] == [[45, 5], [5, 7]]
    assert image["words"] == [
        {"text": "Left", "anchor": 1, "inside": True, "distance": 0.2},
        {"text": "漢字", "anchor": None, "inside": False, "distance": None},
    ]
    fixed, sweep = content["results"]
    assert (fixed["true_positives"], fixed["ground_truth"], fixed["predictions"]) == (1, 2, 2)
    assert (sweep["threshold"], fixed["lexicon"], fixed["version"]) == (0.05, "none", __version__)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["anchors.csv", "anchors.json"]


class Parrot(nn.Module):
    """Answers with the ground truth's own centers."""

    def forward(self, batch):
        return [output(x["texts"], ((5.0, 5.0), (35.0, 5.0))) for x in batch]


def test_in_the_evaluation_loop(caplog):
    caplog.set_level(logging.INFO)
    results = inference_on_dataset(Parrot(), [[record()], [record()]], AnchorEvaluator("words"))
    assert results["anchors"]["inside_rate"] == 1
    assert results["anchors"]["images"] == 2
    print_csv_format(results)
    line = next(message for message in caplog.messages if "inside_rate,distance_mean" in message)
    assert "hmean" in line


def spot(*pairs, **options):
    evaluator = SpottingEvaluator("words", **options)
    evaluator.reset()
    for one_record, one_output in pairs:
        evaluator.process([one_record], [one_output])
    return evaluator.evaluate()


def spotted(texts=("LEFT", "righ"), scores=(0.9, 0.85)):
    return output(texts, ((5.0, 5.0), (35.0, 5.0)), scores)


def test_spotting_metrics():
    assert spot((record(), spotted())) == {
        "spotting": {
            "precision": 0.5,
            "recall": 0.5,
            "hmean": 0.5,
            "threshold": 0.8,
            "sweep_precision": 1,
            "sweep_recall": 0.5,
            "sweep_hmean": pytest.approx(2 / 3),
            "sweep_threshold": pytest.approx(0.89),
            "images": 1,
            "words": 2,
        }
    }


def test_several_spotting_protocols_and_a_chosen_threshold(tmp_path):
    protocols = {
        "none": SpottingProtocol(),
        "full": SpottingProtocol(lexicon=Lexicon.from_lines("full.txt", ["LEFT", "RIGHT"])),
        "bag": SpottingProtocol(metric="bag_of_words"),
    }
    chosen = Threshold(0.85, "best on validation split val")
    options = {"protocols": protocols, "threshold": chosen, "details": True}
    metrics = spot((record(), spotted()), output_dir=str(tmp_path), **options)
    assert {name: row["hmean"] for name, row in metrics.items()} == {
        "none": 0.5,
        "full": pytest.approx(1, abs=1e-6),
        "bag": 0.5,
    }
    content = json.loads((tmp_path / "spotting.json").read_text(encoding="utf-8"))
    full = content["results"][2]
    assert full["lexicon"] == "full.txt (2 words, distance < 0.4, else dropped)"
    assert (full["threshold"], full["threshold_choice"]) == (0.85, chosen.choice)
    assert content["protocols"]["none"]["worst_images"] == [
        {"image_id": "a", "file_name": "a.jpg", "wrong": 1, "missed": 1}
    ]
    assert content["protocols"]["full"]["images"][0]["read_as"] == ["LEFT", "RIGHT"]
    lines = (tmp_path / "spotting.csv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 7
    assert lines[0].startswith("dataset,protocol,mode,lexicon,threshold,threshold_choice")


def test_spotting_without_positions_leaves_the_point_metric_out(caplog):
    protocols = {"point": SpottingProtocol(), "bag": SpottingProtocol(metric="bag_of_words")}
    words_only = record()
    del words_only["polygons"]
    assert spot((words_only, spotted()), protocols=protocols).keys() == {"bag"}
    assert "words has words without a position: point is left out" in caplog.text


def test_spotting_refuses_twice_the_same_image_and_no_protocol():
    with pytest.raises(MatchingError, match="2 images have 1 values of image_id"):
        spot((record(), spotted()), (record(), spotted()))
    with pytest.raises(ValueError, match="no protocol"):
        SpottingEvaluator("words", protocols={})


def test_spotting_without_images_or_with_bad_numbers(caplog):
    assert spot() == {}
    assert "no image of words" in caplog.text
    with pytest.raises(MatchingError, match=r"image 'a\.jpg': .*not finite"):
        spot((record(), spotted(scores=(float("nan"), 0.5))))
