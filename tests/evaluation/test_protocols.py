"""Protocols and lexicons by config: the rows that `--eval-only` prints."""

import json

import numpy as np
import pytest
import torch
from detectron2.structures import Instances
from PIL import Image

from tests.fake_spotter import paint, write_model
from wecromcl_d2.cli import evaluate, train
from wecromcl_d2.data.datasets import write_labels
from wecromcl_d2.data.text import TextList
from wecromcl_d2.evaluation.counting import MatchingError
from wecromcl_d2.evaluation.protocols import build_protocols, read_lexicons
from wecromcl_d2.tasks import load_config, trainer_class

# What is written in each image; the fake spotter reads it without a mistake.
PAINTED = {"img_1.png": ["strete", "inn"], "img_2.png": ["caf"]}
# What the ground truth says, at the same places.
TRUE = {"img_1.png": ["STREET", "INN'S"], "img_2.png": ["cafe"]}


@pytest.fixture
def icdar2015(tmp_path, monkeypatch):
    """A test set of two images with its published lexicons, weak and strong, generic missing."""
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    root = tmp_path / "icdar2015"
    (root / "lexicons" / "new_strong_lexicon").mkdir(parents=True)
    records = []
    for name, words in PAINTED.items():
        image = np.zeros((64, 80, 3), np.uint8)
        for row, word in enumerate(words):
            paint(image, word, 8, 8 + 32 * row)
        Image.fromarray(image).save(root / name)
        points = [[8 + 4 * len(word), 12 + 32 * row] for row, word in enumerate(words)]
        records.append(
            {"file_name": name, "height": 64, "width": 80, "texts": TRUE[name], "points": points}
        )
    write_labels(root / "test.jsonl", records)
    lexicons = root / "lexicons"
    (lexicons / "weak_new.txt").write_text("STREET\nCAFE\nINNS\n", encoding="utf-8")
    (lexicons / "weak_new_pair_list.txt").write_text(
        "STREET Street\nCAFE Cafe\nINNS Inn's\n", encoding="utf-8"
    )
    for number, word in ((1, "STREET"), (2, "CAFS")):
        for name, line in (("new_voc", word), ("pair_voc", f"{word} {word}")):
            path = lexicons / "new_strong_lexicon" / f"{name}_img_{number}.txt"
            path.write_text(line, encoding="utf-8")
    return root


def test_eval_only_prints_every_published_row(icdar2015, tmp_path, capfd):
    config, weights = write_model(tmp_path)
    arguments = ["--config-file", str(config), "--eval-only", "--weights", str(weights)]
    opts = ["DATASETS.TEST", "('icdar2015_test',)", "OUTPUT_DIR", str(tmp_path / "out")]
    rows = ["TEST.PROTOCOLS", "('end_to_end', 'word_spotting', 'edit_distance')"]
    rows += ["TEST.LEXICONS", "('published',)", "DATALOADER.NUM_WORKERS", "0"]
    args = train.parse_args([*arguments, *opts, *rows])
    results = train.run(args, train.read_config(args))
    # Right without a lexicon: nothing. Weak: all three become the ground-truth words. Strong: "inn"
    # is far from STREET and dropped, "caf" becomes CAFS. Word spotting: the ground truth is INN,
    # not INN'S.
    expected = {
        "end_to_end_none": (0, 0),
        "end_to_end_weak": (1, 1),
        "end_to_end_strong": (1 / 2, 1 / 3),
        "word_spotting_none": (1 / 3, 1 / 3),
        "word_spotting_weak": (2 / 3, 2 / 3),
        "word_spotting_strong": (1 / 2, 1 / 3),
        "edit_distance_none": (0, 0),
        "edit_distance_weak": (1, 1),
        "edit_distance_strong": (1 / 2, 1 / 3),
    }
    assert {*results} == {"spotting", "words", *expected}
    for name, rates in expected.items():
        assert (results[name]["precision"], results[name]["recall"]) == pytest.approx(rates), name
    output = " ".join("".join(capfd.readouterr()).split())
    assert "left out, because there is no generic lexicon" in output
    assert "| SPTS point, word spotting | weak_new.txt (3 words" in output
    check_the_file_can_be_evaluated(tmp_path, icdar2015)


def check_the_file_can_be_evaluated(tmp_path, root):
    """`spotting.json` as it is written, by a lexicon of the command line."""
    written = tmp_path / "out/inference/icdar2015_test/spotting.json"
    arguments = ["spotting", "--truth", str(root / "test.jsonl"), "--results", str(written)]
    lexicon = ["--lexicon", str(root / "lexicons/weak_new.txt"), "--lexicon-kind", "weak"]
    pairs = ["--pairs", str(root / "lexicons/weak_new_pair_list.txt")]
    scores = ["--threshold", "0.5", "--output", str(tmp_path / "scores")]
    assert evaluate.main([*arguments, *lexicon, *pairs, *scores]) == 0
    (row,) = json.loads((tmp_path / "scores/spotting.json").read_text(encoding="utf-8"))["results"]
    assert (row["true_positives"], row["ground_truth"], row["predictions"]) == (3, 3, 3)


def test_a_result_file_without_words_says_so(tmp_path, icdar2015, capsys):
    bare = {"metrics": {}, "results": [], "protocols": {"spotting": {"worst_images": []}}}
    (tmp_path / "spotting.json").write_text(json.dumps(bare), encoding="utf-8")
    arguments = ["--truth", str(icdar2015 / "test.jsonl")]
    results = ["--results", str(tmp_path / "spotting.json")]
    assert evaluate.main(["spotting", *arguments, *results]) == 2
    assert "without every image's words" in capsys.readouterr().err


def test_own_lists(tmp_path):
    (tmp_path / "words.txt").write_text("STREET\n", encoding="utf-8")
    entries = [f"{kind}={tmp_path / 'words.txt'}" for kind in ("full", "generic")]
    found = read_lexicons(entries, "shop_test")
    assert found["full"].correct(["stret", "zzz"]) == ["STREET", None]
    assert found["generic"].correct(["stret", "zzz"]) == ["STREET", "STREET"]
    protocols = build_protocols(("bag_of_words",), found, "robust")
    assert [*protocols] == ["bag_of_words_none", "bag_of_words_full", "bag_of_words_generic"]
    (tmp_path / "voc_img_3.txt").write_text("HILL\n", encoding="utf-8")
    strong = read_lexicons([f"strong={tmp_path}"], "shop_test")["strong"]
    assert strong.of("img_3").correct(["hil"]) == ["HILL"]


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match=r"TEST\.PROTOCOLS is 'iou'"):
        build_protocols(("iou",), {}, "robust")
    for entry in ("strongest=a.txt", "full", "full="):
        with pytest.raises(ValueError, match=r"TEST\.LEXICONS has"):
            read_lexicons([entry], "shop_test")


def instances(texts, points):
    result = Instances((50, 50))
    result.pred_points = torch.tensor(points, dtype=torch.float64)
    result.pred_texts, result.scores = TextList(texts), torch.ones(len(texts))
    return {"instances": result}


@pytest.mark.parametrize(("mode", "hits"), [("robust", 1.0), ("official", 0.0)])
def test_anchors_are_counted_as_published_by_config(tmp_path, mode, hits):
    """Cut to integers, the ground-truth points at 10.9 and 12.0 lie at 10 and 12."""
    opts = ["TEST.MODE", mode, "OUTPUT_DIR", str(tmp_path), "TEST.RETRIEVAL.NUM_NEGATIVES", "0"]
    cfg = load_config("configs/quick/anchors.yaml", opts)
    evaluator = trainer_class(cfg).build_evaluator(cfg, "shop_test")
    record = {"image_id": 1, "file_name": "a.png", "height": 50, "width": 50}
    record |= {"texts": ["inn", "bar"], "points": [[10.9, 5.0], [12.0, 5.0]]}
    evaluator.process([record], [instances(["inn"], [[11.3, 5.0]])])
    assert evaluator.evaluate()["anchors"]["precision"] == hits


def test_words_are_counted_as_published_by_config(tmp_path):
    """Where the published script has no ground truth, it fails; its thresholds start at 0.8."""
    record = {"image_id": 1, "file_name": "a.png", "height": 50, "width": 50, "texts": ["inn"]}
    record |= {"points": [[10.0, 5.0]]}
    empty = {**record, "image_id": 2, "texts": [], "points": []}
    found = instances(["inn"], [[10.0, 5.0]])
    lowest = {}
    for mode in ("robust", "official"):
        opts = ["TEST.MODE", mode, "OUTPUT_DIR", str(tmp_path)]
        cfg = load_config("configs/quick/srsts_a.yaml", opts)
        evaluator = trainer_class(cfg).build_evaluator(cfg, "shop_test")
        evaluator.process([record], [found])
        lowest[mode] = evaluator.evaluate()["spotting"]["sweep_threshold"]
        evaluator.process([empty], [found])
        if mode == "official":
            with pytest.raises(MatchingError, match="no ground truth"):
                evaluator.evaluate()
        else:
            assert evaluator.evaluate()["spotting"]["precision"] == 0.5
    assert lowest == {"robust": 0.98, "official": pytest.approx(0.94)}
