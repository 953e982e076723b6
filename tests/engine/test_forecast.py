"""What a training will do, said beforehand."""

import json

import pytest
from detectron2.data import DatasetCatalog

from wecromcl_d2.cli.forecast import duration, print_forecast
from wecromcl_d2.data.datasets import write_labels
from wecromcl_d2.engine import forecast
from wecromcl_d2.engine.forecast import measure_training, plan_phases, unseen_datasets
from wecromcl_d2.stage1.trainer import AnchorTrainer
from wecromcl_d2.stage2.trainer import SpottingTrainer
from wecromcl_d2.tasks import load_config

from . import toy

QUICK = "configs/quick/anchors.yaml"


@pytest.mark.parametrize(
    ("iterations", "left"), [(3000, [300, 200, 500, 2000]), (400, [300, 100, 0, 0])]
)
def test_phases_get_what_the_iterations_leave_for_them(iterations, left):
    plans = plan_phases(load_config(QUICK, ["SOLVER.MAX_ITER", str(iterations)]))
    assert [plan.iterations for plan in plans] == left
    assert [plan.batch for plan in plans] == [48, 48, 48, 24]


def test_a_curriculum_that_leaves_nothing_for_the_images_is_said():
    assert unseen_datasets(load_config(QUICK)) == ""
    own = ["SOLVER.MAX_ITER", "40", "DATASETS.TRAIN", "('shop/train.jsonl@photos',)"]
    said = unseen_datasets(load_config(QUICK, own))
    assert said.startswith("SOLVER.MAX_ITER is 40, and the phases of SOLVER.CURRICULUM take 1000")
    assert "synth_words_train, synth_groups_train, shop/train.jsonl@photos;" in said


def test_a_training_warns_of_images_that_it_never_sees(root, caplog):
    AnchorTrainer(toy.toy_config(root, "SOLVER.MAX_ITER", "4"))
    assert "nothing is learned from toy_scenes" in caplog.text


def test_a_forecast_counts_images_and_multiplies_times(root, monkeypatch, capsys):
    monkeypatch.setattr(forecast, "_time", lambda run, count, device: run() or 2.0)
    cfg = toy.toy_config(root, "OUTPUT_DIR", str(root / "none"))
    (root / "none").rmdir()
    result = measure_training(AnchorTrainer, cfg)
    assert not (root / "none").exists()
    words, scenes = result["phases"]
    assert (words["images"], words["iterations"], words["drawn"]) == (16, 4, 24)
    assert (scenes["images"], scenes["iterations"], scenes["drawn"]) == (12, 6, 24)
    assert (words["seconds"], scenes["seconds"], result["seconds_per_image"]) == (8, 12, 2)
    assert (result["evaluations"], result["evaluation_seconds"]) == (2, 2 * 12 * 2)
    assert result["seconds"] == 8 + 12 + 48
    assert 0.1 < result["memory_gb"] < 20
    print_forecast("it", json.loads(json.dumps(result)))
    printed = capsys.readouterr().out
    assert "4 iterations on toy_words, of whose 16 images it sees about 1.5 times each" in printed


def test_a_spotter_is_measured_before_its_points_are_found(tmp_path, root):
    labels = root / "scenes" / "labels.jsonl"
    plain = [json.loads(line) for line in labels.read_text(encoding="utf-8").splitlines()]
    own = str(root / "scenes" / "plain.jsonl")
    write_labels(own, [{k: r[k] for k in ("file_name", "texts")} for r in plain])
    before = set(DatasetCatalog.list())
    opts = ["DATASETS.TRAIN", (own,), "DATASETS.TEST", (), "SOLVER.IMS_PER_BATCH", 2]
    opts += ["SOLVER.MAX_ITER", 5, "OUTPUT_DIR", str(tmp_path)]
    for key in ("DATASETS", "ITERS", "IMS_PER_BATCH"):
        opts += [f"SOLVER.CURRICULUM.{key}", []]
    result = measure_training(SpottingTrainer, load_config("configs/quick/srsts_a.yaml", opts))
    assert result["phases"][0]["drawn"] == 10 < result["phases"][0]["images"]
    assert result["evaluations"] == 0
    for name in set(DatasetCatalog.list()) - before:
        DatasetCatalog.remove(name)


def test_the_first_of_several_runs_is_not_counted(monkeypatch):
    now = iter([0, 9, 10, 11, 20, 23, 30, 32])
    monkeypatch.setattr(forecast.time, "perf_counter", lambda: next(now))
    assert forecast._time(lambda: None, 4, "cpu") == 2  # of 1, 3 and 2
    now = iter([0, 9])
    assert forecast._time(lambda: None, 1, "cpu") == 9


def test_durations_have_suitable_units():
    assert [duration(x) for x in (4.2, 99, 600, 8000)] == ["4 s", "99 s", "10 min", "2.2 h"]


def test_a_curriculum_whose_keys_do_not_fit_is_refused():
    cfg = load_config(QUICK, ["SOLVER.CURRICULUM.ITERS", "[1]"])
    with pytest.raises(ValueError, match="as many ITERS and IMS_PER_BATCH as DATASETS, not 1, 3"):
        plan_phases(cfg)
