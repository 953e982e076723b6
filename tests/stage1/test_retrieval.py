"""Quality of anchors without positions: numbers by hand, and on a model with random weights."""

import json

import cv2
import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.modeling import build_model
from detectron2.structures import Instances

from wecromcl_d2 import add_wecromcl_config
from wecromcl_d2.data import write_labels
from wecromcl_d2.data.text import TextList
from wecromcl_d2.stage1 import AnchorTrainer, RetrievalEvaluator
from wecromcl_d2.stage1.retrieval import (
    area_under_curve,
    describe_retrieval,
    draw_negatives,
    flat_warning,
    retrieval_inputs,
)
from wecromcl_d2.stage1.text_keys import vocabulary


def output(texts, similarity, peaks, negatives, points=None, second=None):
    """What the model gives for an image of 100 x 200 pixels."""
    instances = Instances((100, 200))
    instances.pred_texts = TextList(texts)
    instances.similarity = torch.tensor(similarity)
    instances.peak_over_flat = torch.tensor(peaks)
    instances.pred_points = torch.tensor(points or [[0.0, 0.0]] * len(texts))
    found = {"instances": instances, "negative_similarity": torch.tensor(negatives)}
    return found | ({} if second is None else {"second_points": torch.tensor(second)})


def record(name, texts, **more):
    return {"image_id": name, "texts": texts, "height": 100, "width": 200} | more


def evaluate(*pairs, **options):
    evaluator = RetrievalEvaluator("by hand", **options)
    evaluator.reset()
    evaluator.process(*zip(*pairs, strict=True))
    return evaluator.evaluate()["retrieval"]


def test_figures_by_hand(tmp_path):
    """Of three words "a" alone beats its negatives; "skip" is ignored, "?" is unreadable.

    Pairs of words and negatives: 0.9 and 0.5 beat all of 0.8, 0.2, 0.5, 0.1 but 0.5 loses to 0.8
    and ties with 0.5; 0.4 beats 0.2 and 0.1.
    """
    first = (
        record("1", ["a", "?", "b", "skip"], ignore=[False, False, False, True]),
        output(
            ["a", "b", "skip"],
            [0.9, 0.5, 0.99],
            [30.0, 10.0, 99.0],
            [0.8, 0.2],
            points=[[10.0, 10.0], [50.0, 50.0], [0.0, 0.0]],
            second=[[13.0, 14.0], [50.0, 55.1], [0.0, 0.0]],
        ),
    )
    second = (
        record("2", ["c"]),
        output(["c"], [0.4], [20.0], [0.5, 0.1, 0.1], second=[[0.0, 0.0]]),
    )
    metrics = evaluate(first, second, output_dir=str(tmp_path))
    assert metrics == {
        "images": 2,
        "words": 3,
        "accuracy": pytest.approx(1 / 3),
        "chance": pytest.approx((1 / 3 + 1 / 3 + 1 / 4) / 3),
        "auc": pytest.approx((5 + 3.5 + 3) / 15),
        "peak_over_flat": 20.0,
        "agreement": pytest.approx(2 / 3),
    }
    content = json.loads((tmp_path / "retrieval.json").read_text(encoding="utf-8"))
    assert content["metrics"] == metrics
    assert content["images"][0]["texts"] == ["a", "b"]
    assert content["images"][1]["negative_similarity"] == [0.5, 0.1, 0.1]


def test_a_word_that_occurs_twice_does_not_count_for_agreement():
    """Its two anchors may change places from one scale to the other."""
    points = [[10.0, 10.0], [90.0, 90.0], [50.0, 50.0]]
    swapped = [points[1], points[0], points[2]]
    found = output(["a", "A", "b"], [0.5] * 3, [9.0] * 3, [0.1], points=points, second=swapped)
    assert evaluate((record("1", ["a", "A", "b"]), found))["agreement"] == 1.0


def test_equal_similarities_beat_nothing():
    metrics = evaluate((record("1", ["a", "b"]), output(["a", "b"], [0.5] * 2, [1.0] * 2, [0.5])))
    assert (metrics["accuracy"], metrics["auc"]) == (0.0, 0.5)
    assert "flat" in flat_warning(metrics)
    assert flat_warning(metrics | {"peak_over_flat": 50.0}) == ""
    assert "chance 0.5000" in describe_retrieval(metrics)


def test_without_words_or_negatives_there_is_nothing_to_compare():
    nothing = output([], [], [], [0.1], points=torch.zeros(0, 2).tolist())
    assert evaluate((record("1", []), nothing)) == {"images": 1, "words": 0}
    alone = evaluate((record("1", ["a"]), output(["a"], [0.5], [9.0], [])))
    assert alone == {"images": 1, "words": 1}
    assert "no retrieval" in describe_retrieval(alone)


def test_the_area_is_the_share_of_pairs_in_order():
    generator = np.random.default_rng(0)
    here, away = generator.integers(0, 9, 40) + 2.0, generator.integers(0, 9, 60) * 1.0
    pairs = np.sign(here[:, None] - away) / 2 + 0.5
    assert area_under_curve(here, away) == pytest.approx(pairs.mean())


def test_negatives_are_words_of_other_images_alone(cfg):
    records = [
        {"texts": ["B", "a", "x"], "ignore": [False, False, True]},
        {"texts": ["b", "c", "", "\u6f22"]},
        {"texts": ["d", "e"], "ignore": [False, True]},
    ]
    assert vocabulary(cfg, records) == ["b", "a", "c", "d"]
    asked = retrieval_inputs(cfg, records)
    drawn = [asked[number]["negatives"] for number in range(3)]
    assert [set(own) for own in drawn] == [{"c", "d"}, {"a", "d"}, {"a", "b", "c"}]
    assert all(len(own) == len(set(own)) for own in drawn)


def test_negatives_depend_on_the_seed_alone_and_are_as_many_as_asked():
    pool = [f"w{i}" for i in range(50)]

    def drawn(seed):
        return [draw_negatives(pool, [f"w{i}", "same"], 5, seed, i) for i in range(50)]

    assert drawn(3) == drawn(3) != drawn(4)
    assert {len(own) for own in drawn(3)} == {5}
    assert drawn(3)[0] != drawn(3)[1]
    assert draw_negatives(["a"], ["a"], 5, 0, 0) == []
    assert draw_negatives([], [], 5, 0, 0) == []


@pytest.fixture(scope="module")
def cfg():
    cfg = get_cfg()
    add_wecromcl_config(cfg)
    cfg.merge_from_file("configs/quick/anchors.yaml")
    cfg.TEST.RETRIEVAL.NUM_NEGATIVES = 3
    return cfg


def test_some_images_of_a_large_set_are_measured_spread_evenly(cfg):
    records = [{"texts": [f"word{i}"]} for i in range(101)]
    everywhere, some = retrieval_inputs(cfg, records), retrieval_inputs(cfg, records, most=5)
    assert list(everywhere) == list(range(101)) and list(some) == [0, 25, 50, 75, 100]
    assert all(some[i] == everywhere[i] for i in some)
    assert {len(asked["negatives"]) for asked in some.values()} == {3}
    assert retrieval_inputs(cfg, []) == {}


def test_a_negative_setting_is_refused(cfg):
    cfg = cfg.clone()
    cfg.TEST.RETRIEVAL.SECOND_SCALE = -0.5
    with pytest.raises(ValueError, match=r"SECOND_SCALE is -0\.5"):
        retrieval_inputs(cfg, [])


@pytest.fixture(scope="module")
def labels(tmp_path_factory):
    """Two label files of the same images: with positions, and with transcriptions alone."""
    folder = tmp_path_factory.mktemp("labels")
    generator = np.random.default_rng(0)
    records = []
    for index in range(4):
        pixels = generator.integers(0, 256, (48, 64, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f"{index}.png"), pixels)
        texts = [f"word{index}", "Street", "###"][: index % 3 + 1]
        records.append({"file_name": f"{index}.png", "height": 48, "width": 64, "texts": texts})
    write_labels(folder / "words.jsonl", records)
    for r in records:
        r["polygons"] = [[0, 0, 20, 0, 20, 10, 0, 10]] * len(r["texts"])
        r["points"] = [[10.0, 5.0]] * len(r["texts"])
    write_labels(folder / "places.jsonl", records)
    return folder


def figures(cfg, dataset, model, tmp_path):
    cfg.OUTPUT_DIR = str(tmp_path)
    cfg.DATASETS.TEST = (str(dataset),)
    return AnchorTrainer.test(cfg, model)


def test_positions_change_no_figure(cfg, labels, tmp_path):
    torch.manual_seed(0)
    model = build_model(cfg).eval()
    places = figures(cfg, labels / "places.jsonl", model, tmp_path)
    words = figures(cfg, labels / "words.jsonl", model, tmp_path)
    assert "inside_rate" in places["anchors"] and "inside_rate" not in words["anchors"]
    assert words["retrieval"] == places["retrieval"]
    assert set(words["retrieval"]) == {
        "images", "words", "accuracy", "chance", "auc", "peak_over_flat", "agreement"
    }  # fmt: skip
    assert words["retrieval"]["words"] == 6, "nobody reads ###"


def test_retrieval_can_be_left_out(cfg, labels, tmp_path):
    cfg = cfg.clone()
    cfg.TEST.RETRIEVAL.NUM_NEGATIVES = 0
    model = build_model(cfg).eval()
    assert set(figures(cfg, labels / "words.jsonl", model, tmp_path)) == {"anchors"}


def test_it_chooses_a_model_where_nobody_has_positions(cfg, labels, tmp_path):
    cfg = cfg.clone()
    cfg.SOLVER.CURRICULUM.update(DATASETS=[], ITERS=[], IMS_PER_BATCH=[])
    cfg.SOLVER.update(IMS_PER_BATCH=2, MAX_ITER=2, CHECKPOINT_PERIOD=5)
    cfg.DATASETS.update(TRAIN=(str(labels / "words.jsonl"),), TEST=(str(labels / "words.jsonl"),))
    cfg.DATALOADER.SAMPLING.NUM_NEGATIVES = 2
    cfg.TEST.update(EVAL_PERIOD=1, BEST_METRIC="retrieval/accuracy")
    cfg.OUTPUT_DIR = str(tmp_path)
    trainer = AnchorTrainer(cfg)
    trainer.resume_or_load(resume=False)
    trainer.train()
    lines = (tmp_path / "metrics.json").read_text(encoding="utf-8").splitlines()
    accuracies = [json.loads(line).get("retrieval/accuracy") for line in lines]
    assert [a for a in accuracies if a is not None]
    best = torch.load(tmp_path / "model_best.pth", weights_only=True)
    assert best["model"].keys() >= set(trainer.model.state_dict())
