"""Grids: the runs that follow from them, and the sentence that a wrong one ends in."""

from pathlib import Path

import pytest
import yaml

from projects.studies import command
from projects.studies.grid import GridError, read_grid

KEY = "DATALOADER.SAMPLING.NUM_NEGATIVES"
GRID = {
    "question": "Which?",
    "config": "configs/quick/anchors.yaml",
    "metric": "anchors/inside_rate",
    "seeds": [0, 4],
    "settings": {"TEST.EVAL_PERIOD": 100},
    "values": {KEY: [8, 32]},
    "variants": {
        "none at all": {"DATALOADER.SAMPLING.NEGATIVES": "none", KEY: 0},
        "shared": {"DATALOADER.SAMPLING.NEGATIVES": "shared"},
    },
}


@pytest.fixture
def write(tmp_path):
    def grid(**changes) -> Path:
        path = tmp_path / "few.yaml"
        content = {k: v for k, v in (GRID | changes).items() if v is not None}
        path.write_text(yaml.safe_dump(content), encoding="utf-8")
        return path

    return grid


def test_runs_of_a_grid_come_seed_by_seed(write):
    grid = read_grid(write())
    assert [run.name for run in grid.runs] == [
        "none_at_all-0-seed0",
        "shared-8-seed0",
        "shared-32-seed0",
        "none_at_all-0-seed4",
        "shared-8-seed4",
        "shared-32-seed4",
    ]
    assert (grid.name, grid.key, grid.reach) == ("few", KEY, None)


def test_settings_of_grid_variant_value_seed_and_command_line_reach_the_config(write):
    run = read_grid(write(), seeds=[7], opts=["SOLVER.MAX_ITER", "5"]).runs[-1]
    cfg = run.load_configs()["anchors"]
    assert cfg.TEST.EVAL_PERIOD == 100
    assert (cfg.DATALOADER.SAMPLING.NEGATIVES, cfg.DATALOADER.SAMPLING.NUM_NEGATIVES) == (
        "shared",
        32,
    )
    assert (cfg.SEED, cfg.SOLVER.MAX_ITER) == (7, 5)


def test_a_variant_may_have_files_and_settings_of_a_stage_of_its_own(write):
    own = {
        "spotter": "configs/quick/srsts_a.yaml",
        "anchors": {"SOLVER.MAX_ITER": 6},
        "spotting": {"SOLVER.MAX_ITER": 9, "DATASETS.TEST": ["a", "b"]},
    }
    (run,) = read_grid(write(variants={"both": own}, values=None), seeds=[0]).runs
    configs = run.load_configs()
    assert {name: cfg.SOLVER.MAX_ITER for name, cfg in configs.items()} == {
        "anchors": 6,
        "spotting": 9,
    }
    assert configs["spotting"].DATASETS.TEST == ("a", "b")
    assert run.value is None
    assert run.name == "both-seed0"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"variants": None}, "few.yaml has no 'variants'; a grid has"),
        ({"metrics": "x"}, "few.yaml has an unknown entry 'metrics'"),
        ({"variants": ["a"]}, "variants is ['a']; write NAME: VALUE lines below it"),
        ({"values": {KEY: 8}}, "'values' names one key and a list"),
        ({"seeds": [-1]}, "'seeds' is [-1]; give whole numbers from 0 on"),
        ({"config": None}, "has neither 'config' nor 'spotter'"),
        ({"config": "nowhere.yaml"}, "variant 'none at all': nowhere.yaml does not exist"),
        ({"settings": {"MODEL.NOSE": 1}}, "Non-existent key: MODEL.NOSE"),
        ({"settings": {"MODEL.TEXT_ENCODER.NAME": "Nobody"}}, "Nobody"),
        ({"variants": {"a": {"DATALOADER.SAMPLING.NEGATIVES": "worst"}}}, "worst"),
        (
            {"spotter": "configs/quick/srsts_a.yaml", "settings": {"DATASETS.TRAIN": ["a"]}},
            "sets DATASETS.TRAIN of a spotter that is trained on anchors",
        ),
        ({"variants": {"a b": {}, "a/b": {}}, "values": None}, "two runs are called 'a_b-seed0'"),
    ],
)
def test_a_wrong_grid_ends_in_one_sentence(write, tmp_path, capsys, changes, sentence):
    with pytest.raises((GridError, OSError)) as error:
        read_grid(write(**changes))
    assert sentence in str(error.value)
    assert command.main([str(write(**changes)), "--output", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert said.startswith("run_study.py: ")
    assert said.count("\n") == 1


def test_a_file_that_is_no_grid_ends_in_one_sentence(tmp_path):
    path = tmp_path / "grid.yaml"
    with pytest.raises(FileNotFoundError, match="there is no grid"):
        read_grid(path)
    path.write_text("a: [", encoding="utf-8")
    with pytest.raises(GridError, match="is no YAML"):
        read_grid(path)
    path.write_text("- a\n", encoding="utf-8")
    with pytest.raises(GridError, match="the file is"):
        read_grid(path)
