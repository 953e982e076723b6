"""Grids of spotters: the detector that they share, and the points that they are trained on."""

import json
import re
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from projects.studies import command
from projects.studies.grid import GridError, check_mixed, read_grid
from wecromcl_d2.cli import steps

# In place of the commands: `pipeline` leaves a summary and, for a spotter, labels of points;
# `train` leaves weights, or the metrics of an evaluation.
PROGRAM = """
import json, os, pathlib, sys
words = sys.argv[1:]
with open({noted!r}, "a") as noted:
    noted.write(json.dumps(words) + "\\n")

def after(name):
    return words[words.index(name) + 1]

def write(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))

if words[0] == "pipeline":
    output = pathlib.Path(after("--output"))
    summary = {{"anchors": {{"inside_rate": 0.9, "seconds": 60.0}}}}
    if "--spotter" in words:
        summary["spotting"] = {{"f": 0.8, "seconds": 60.0}}
        write(output / "points" / "0_report.json", {{"dataset_name": {points!r}}})
        read = {{"words": {{"hmean": 0.85}}}}
        results = output / "spotting" / "inference" / after("--test")
        write(results / "spotting.json", {{"metrics": read}})
    else:
        write(output / "anchors" / "model_best.pth", "weights")
    write(output / "summary.json", summary)
elif words[0] == "anchors":
    output, source = pathlib.Path(after("--output")), pathlib.Path({points!r})
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(source.read_text())
    name = f"{{output}}@{{source.parent}}"
    write(output.with_name(output.stem + "_report.json"), {{"dataset_name": name}})
elif words[0] == "benchmark":
    phases = [{{"images": 40, "step_gflop": 1.5}}, {{"images": 60, "step_gflop": 2.5}}]
    work = {{"phases": phases, "tflop": 5.0, "memory_mb": 300}}
    if words[2] == "inference":
        work = {{"image_gflop": 20.0, "image_seconds": 0.012, "memory_mb": 200}}
    write(pathlib.Path(after("--output")), work)
else:
    output = pathlib.Path(words[-1] if words[-2] == "OUTPUT_DIR" else after("OUTPUT_DIR"))
    if "--eval-only" not in words:
        write(output / "model_final.pth", "weights")
    else:
        name = after("DATASETS.TEST")[2:-3]
        metrics = {{"precision": 0.6, "recall": 0.6, "hmean": 0.6, "threshold": 0.3}}
        both = {{"words": metrics | {{"sweep_threshold": 0.3}}, "spotting": metrics}}
        write(output / "inference" / name / "spotting.json", {{"metrics": both}})
"""


@pytest.fixture
def points(tmp_path) -> str:
    """A label file of two words, one of whose points lies on its word."""
    word = {"texts": ["a", "b"], "polygons": [[0, 0, 9, 0, 9, 9, 0, 9]] * 2}
    record = {"file_name": "a.png", "height": 32, "width": 32, "points": [[5, 5], [20, 20]]} | word
    path = tmp_path / "points.jsonl"
    path.write_text(json.dumps(record) + "\n", encoding="utf-8")
    (tmp_path / "a.png").write_bytes(b"")
    return str(path)


@pytest.fixture
def grid_file(tmp_path, monkeypatch, points) -> Path:
    code = PROGRAM.format(noted=str(tmp_path / "noted"), points=points)
    monkeypatch.setattr(steps, "PROGRAM", (sys.executable, "-c", code))
    monkeypatch.setenv("PYTHONPATH", "")
    own = {"DATASETS.TRAIN": [points], "SOLVER.CURRICULUM.DATASETS": [[points]]}
    grid = {
        "question": "How good?",
        "detector": "configs/quick/anchors.yaml",
        "spotter": "configs/quick/srsts_a.yaml",
        "metric": "spotting/f",
        "against": "points/inside_rate",
        "seeds": [3],
        "variants": {
            "anchors": {"config": "configs/quick/anchors.yaml"},
            "points": own,
            "random start": own | {"MODEL.BACKBONE.WEIGHTS": ""},
        },
    }
    path = tmp_path / "few.yaml"
    path.write_text(yaml.safe_dump(grid), encoding="utf-8")
    return path


def test_spotters_share_a_detector_and_are_measured_with_their_points(grid_file, tmp_path, capfd):
    arguments = [str(grid_file), "--output", str(tmp_path / "out"), "--processes", "2"]
    assert command.main(arguments) == 0
    lines = (tmp_path / "noted").read_text(encoding="utf-8").splitlines()
    ran = [json.loads(line) for line in lines]
    pipelines = [words for words in ran if words[0] == "pipeline"]
    detector, anchors = sorted(pipelines, key=lambda words: "--spotter" in words)
    assert len(pipelines) == 2
    assert "--anchors-weights" not in detector
    weights = str(tmp_path / "out/few/runs/detector-seed3/anchors/model_best.pth")
    assert anchors[anchors.index("--anchors-weights") + 1] == weights
    trained = [words for words in ran if words[0] == "train" and "--eval-only" not in words]
    starts = {
        [w for k, w in pairwise(words) if k == "MODEL.BACKBONE.WEIGHTS"][-1] for words in trained
    }
    assert starts == {weights, ""}
    tests = [words for words in ran if "TEST.SPOTTING_THRESHOLD" in words]
    assert len(tests) == 2
    assert {words[words.index("TEST.SPOTTING_THRESHOLD") + 1] for words in tests} == {"0.3"}
    table = (tmp_path / "out/few/table.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    assert ["anchors", "0.800", "", "0.500", "2", "1 of 1"] in rows
    assert [row[:4] for row in rows if row[0] == "points"] == [["points", "0.600", "", "0.500"]]
    capfd.readouterr()
    assert command.main([*arguments, "--list"]) == 0
    assert "4 of 4 runs have finished" in capfd.readouterr().out


def test_true_points_are_mixed_with_anchors_of_the_shared_detector(grid_file, tmp_path):
    grid = yaml.safe_load(grid_file.read_text(encoding="utf-8"))
    grid["variants"] = {"true": {"true_percent": 100}, "found": {"true_percent": 0}}
    grid["settings"] = grid_settings = {"DATASETS.TRAIN": [str(tmp_path / "points.jsonl")]}
    grid_settings["SOLVER.CURRICULUM.DATASETS"] = [[str(tmp_path / "points.jsonl")]]
    grid_file.write_text(yaml.safe_dump(grid), encoding="utf-8")
    assert command.main([str(grid_file), "--output", str(tmp_path / "out")]) == 0
    lines = (tmp_path / "noted").read_text(encoding="utf-8").splitlines()
    ran = [json.loads(line) for line in lines]
    # One dataset, whose points both variants use.
    assert [words[0] for words in ran if "train" not in words] == ["pipeline", "anchors"]
    for percent, rate in ((100, "1.000"), (0, "0.500")):
        own = [w for w in ran if any(f"{percent}_percent_true" in word for word in w)]
        assert {w[w.index("DATASETS.TRAIN") + 1].count(".jsonl") for w in own} == {1}
        table = (tmp_path / "out/few/table.md").read_text(encoding="utf-8")
        name = "true" if percent else "found"
        assert re.search(rf"\| {name} +\| 0.600 +\| +\| {rate} ", table)


@pytest.mark.parametrize(
    "variant",
    [
        {"true_percent": 120},
        {"true_percent": "many"},
        {"true_percent": 5, "config": "configs/quick/anchors.yaml"},
        {"true_percent": 5, "spotter": ""},
    ],
)
def test_a_share_of_true_points_needs_a_spotter_beside_the_shared_detector(grid_file, variant):
    grid = yaml.safe_load(grid_file.read_text(encoding="utf-8"))
    runs = [replace(run, **variant) for run in read_grid(grid_file).runs[1:2]]
    with pytest.raises(GridError, match="takes a whole number up to 100, a 'detector'"):
        check_mixed(grid_file, runs, bool(grid["detector"]))
    with pytest.raises(GridError, match="true_percent 5"):
        check_mixed(grid_file, [replace(runs[0], true_percent=5)], False)


def test_operations_are_measured_once_for_each_variant(grid_file, tmp_path):
    names = ("training_tflop", "step_gflop", "training_mb", "image_ms", "inference_mb")
    grid = yaml.safe_load(grid_file.read_text(encoding="utf-8"))
    grid |= {"seeds": [3, 4], "also": [f"cost/{name}" for name in names]}
    grid_file.write_text(yaml.safe_dump(grid), encoding="utf-8")
    arguments = [str(grid_file), "--output", str(tmp_path / "out"), "--processes", "2"]
    for _ in range(2):
        assert command.main(arguments) == 0
    lines = (tmp_path / "noted").read_text(encoding="utf-8").splitlines()
    measured = [words for words in map(json.loads, lines) if words[:2] == ["benchmark", "work"]]
    files = [Path(words[words.index("--output") + 1]).name for words in measured]
    trained = ("detector-anchors", "anchors-spotting", "points-spotting", "random_start-spotting")
    assert sorted(files) == sorted(
        f"{name}-{kind}.json" for name in trained for kind in ("training", "inference")
    )
    assert [w[2] for w in measured if "--weights" in w] == ["inference"] * 4
    table = (tmp_path / "out/few/table.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    # Detector and spotter, and 100 images to find points in; then without the latter; one alone.
    assert {row[0]: row[4:9] for row in rows if row[0] in grid["variants"]} == {
        "anchors": ["12.000", "2.500", "300", "12.000", "200"],
        "points": ["10.000", "2.500", "300", "12.000", "200"],
        "random start": ["5.000", "2.500", "300", "12.000", "200"],
    }


def test_the_detector_has_the_seed_of_its_runs(grid_file):
    grid = read_grid(grid_file, seeds=[5, 6])
    assert {seed: run.opts for seed, run in grid.detectors.items()} == {
        5: ("SEED", "5"),
        6: ("SEED", "6"),
    }
