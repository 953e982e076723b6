"""The runner on small programs that stand for the trainings."""

import itertools
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest
import yaml

from projects.studies import command, study
from projects.studies.grid import read_grid
from projects.studies.measures import rates_by_length, rates_by_line
from projects.studies.report import format_table, mean_of, rows_of, spread
from projects.studies.study import Study, describe_rest
from wecromcl_d2.cli import steps

# In place of `wecromcl pipeline`: notes that it ran, fails once if told so, and leaves the files of
# a training that reaches 0.5 after 20 iterations and 0.9 after 40.
PROGRAM = """
import json, os, pathlib, sys, time
words = sys.argv[1:]
output = pathlib.Path(words[words.index("--output") + 1])
with open({noted!r}, "a") as noted:
    noted.write(output.name + "\\n")
failing = pathlib.Path({failing!r})
if failing.exists() and failing.read_text() in output.name:
    sys.exit(3)
if pathlib.Path({sleeping!r}).exists():
    pathlib.Path({sleeping!r}).write_text(str(os.getpid()))
    time.sleep(60)
seed = int(words[words.index("SEED") + 1])
folder = output / "anchors"
folder.mkdir(parents=True)
lines = [{{"iteration": 19, "anchors/inside_rate": 0.5}}, {{"iteration": 39}},
         {{"iteration": 39, "anchors/inside_rate": 0.9}}]
(folder / "metrics.json").write_text("\\n".join(map(json.dumps, lines)))
metrics = {{"inside_rate": 0.9 + seed / 100, "chance": 0.05, "seconds": 120.0}}
(output / "summary.json").write_text(json.dumps({{"anchors": metrics}}))
"""
GRID = {
    "question": "Which is best?",
    "config": "configs/quick/anchors.yaml",
    "metric": "anchors/inside_rate",
    "reach": 0.8,
    "seeds": [0, 1],
    "settings": {"SOLVER.MAX_ITER": 40},
    "variants": {"one": {}, "two": {"MODEL.WECROMCL.TEMPERATURE": 0.2}},
}


@pytest.fixture
def grid_file(tmp_path, monkeypatch) -> Path:
    (tmp_path / "noted").write_text("", encoding="utf-8")
    files = {name: str(tmp_path / name) for name in ("noted", "failing", "sleeping")}
    code = PROGRAM.format(**files)
    monkeypatch.setattr(steps, "PROGRAM", (sys.executable, "-c", code))
    monkeypatch.setenv("PYTHONPATH", "")
    path = tmp_path / "few.yaml"
    path.write_text(yaml.safe_dump(GRID), encoding="utf-8")
    return path


def ran(folder):
    return sorted((folder / "noted").read_text(encoding="utf-8").split())


ALL = ["one-seed0", "one-seed1", "two-seed0", "two-seed1"]


def test_a_study_runs_once_and_is_compared(grid_file, tmp_path, capfd):
    arguments = [str(grid_file), "--output", str(tmp_path / "out"), "--processes", "2"]
    for _ in range(2):
        assert command.main(arguments) == 0
    assert ran(tmp_path) == ALL
    folder = tmp_path / "out" / "few"
    table = (folder / "table.md").read_text(encoding="utf-8")
    assert "Which is best?" in table
    row = next(line for line in table.splitlines() if line.startswith("| one"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells == ["one", "0.905", "0.900 to 0.910", "0.050", "40", "2", "2 of 2"]
    runs = (folder / "runs.csv").read_text(encoding="utf-8").splitlines()
    assert runs[0].startswith("variant,value,seed,iterations_to_0.8,anchors/inside_rate")
    assert len(runs) == 5
    assert (folder / "plot.png").stat().st_size > 1000
    said = capfd.readouterr().out
    assert "-- 4 of 4 runs, 100% of the iterations" in said


def test_a_failed_run_does_not_stop_the_others_and_is_tried_again(grid_file, tmp_path, capfd):
    arguments = [str(grid_file), "--output", str(tmp_path / "out")]
    failing = tmp_path / "failing"
    failing.write_text("two-seed0", encoding="utf-8")
    assert command.main(arguments) == 1
    assert "two-seed0 failed; its output is in" in capfd.readouterr().out
    failing.unlink()
    assert command.main(arguments) == 0
    assert ran(tmp_path) == sorted([*ALL, "two-seed0"])


def test_an_error_between_two_steps_is_told(grid_file, tmp_path, capfd, monkeypatch):
    def fail(results):
        raise OSError("no space left")

    monkeypatch.setattr(study, "rates_by_length", fail)
    assert command.main([str(grid_file), "--output", str(tmp_path / "out"), "--seeds", "0"]) == 1
    assert "one-seed0 failed; OSError: no space left" in capfd.readouterr().out


def test_sigterm_ends_the_trainings(grid_file, tmp_path):
    sleeping = tmp_path / "sleeping"
    sleeping.write_text("", encoding="utf-8")

    def send() -> None:
        while not sleeping.read_text(encoding="utf-8"):
            time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGTERM)

    sender = threading.Thread(target=send)
    sender.start()
    with pytest.raises(SystemExit) as end:
        command.main([str(grid_file), "--output", str(tmp_path / "out")])
    sender.join()
    assert end.value.code == 128 + signal.SIGTERM
    with pytest.raises(ProcessLookupError):
        os.kill(int(sleeping.read_text(encoding="utf-8")), 0)
    assert ran(tmp_path) == ["one-seed0"]


def test_what_is_done_is_listed_without_running(grid_file, tmp_path, capsys):
    arguments = [str(grid_file), "--output", str(tmp_path / "out"), "--list"]
    assert command.main(arguments) == 0
    assert "0 of 4 runs have finished" in capsys.readouterr().out
    assert command.main([*arguments[:-1], "--seeds", "1"]) == 0
    folder = tmp_path / "out" / "few" / "runs" / "one-seed0" / "anchors"
    folder.mkdir(parents=True)
    lines = '{"iteration": 9, "loss": 1}\n{"itera'  # as a killed run leaves them
    (folder / "metrics.json").write_text(lines, encoding="utf-8")
    capsys.readouterr()
    assert command.main(arguments) == 0
    said = capsys.readouterr().out
    assert "| one-seed0 | iteration 10 of 40 |" in said
    assert "| one-seed1 | finished           | 0.910" in said
    # Two runs of two minutes each: one and three quarters are left.
    assert "2 of 4 runs have finished, about 4 min of one process are left" in said


def test_a_run_is_not_continued_with_other_settings(grid_file, tmp_path, capfd):
    arguments = [str(grid_file), "--output", str(tmp_path / "out")]
    assert command.main(arguments) == 0
    assert command.main([*arguments, "SOLVER.MAX_ITER", "50"]) == 2
    assert "was begun with other settings than the grid now has" in capfd.readouterr().err
    assert ran(tmp_path) == ALL


def test_a_metric_that_no_run_has_is_one_sentence(grid_file, tmp_path, capfd):
    path = grid_file
    path.write_text(yaml.safe_dump(GRID | {"metric": "anchors/nose"}), encoding="utf-8")
    assert command.main([str(path), "--output", str(tmp_path / "out"), "--seeds", "0"]) == 2
    assert "but its runs have anchors/inside_rate, anchors/chance" in capfd.readouterr().err


def test_rows_without_runs_show_what_is_missing(grid_file, tmp_path):
    empty = Study(read_grid(grid_file), tmp_path / "out")
    table = format_table(empty, rows_of(empty))
    assert "0 of 2" in table
    assert "chance" not in table


@pytest.mark.parametrize(
    ("seconds", "words"), [(None, "not known yet"), (1800, "30 min"), (44424, "12.3 h")]
)
def test_remaining_time_in_words(seconds, words):
    assert describe_rest(seconds) == words


def test_spread_needs_two_values():
    assert spread([0.5]) == ""
    assert spread([0.5, 0.25]) == "0.250 to 0.500"


def test_the_command_of_a_run_is_the_pipeline_with_the_parts_imported(grid_file, tmp_path):
    assert command.main([str(grid_file), "--output", str(tmp_path / "out"), "--seeds", "1"]) == 0
    state = tmp_path / "out" / "few" / "steps" / "two-seed1.json"
    words = json.loads(state.read_text(encoding="utf-8"))["finished"]
    words = words[words.index("pipeline") :]
    assert words[:3] == ["pipeline", "--import", "projects.studies"]
    pairs = dict(itertools.pairwise(words))
    assert pairs["--config-file"] == "configs/quick/anchors.yaml"
    assert (pairs["SEED"], pairs["MODEL.WECROMCL.TEMPERATURE"]) == ("1", "0.2")
    assert "--spotter" not in words


def test_the_mean_of_a_further_metric_leaves_out_runs_without_it():
    summaries = [{"a": {"x": 1.0}}, {"a": {"y": 5.0}}, {"a": {"x": 2.0}}, {}]
    assert mean_of(summaries, "a/x") == 1.5
    assert mean_of(summaries, "b/x") is None


def test_inside_rates_by_length():
    words = [("a" * 8, True), ("b" * 8, False), ("c" * 9, True), ("d" * 40, False)]
    images = [{"words": [{"text": text, "inside": inside} for text, inside in words]}]
    assert rates_by_length({"images": images}) == {"1-8": 0.5, "9-16": 1.0, "26-40": 0.0}


def test_inside_rates_by_number_of_words():
    words = [("ab", True), ("ab cd", False), ("ef gh", True), ("ab cd ef", True)]
    images = [{"words": [{"text": text, "inside": inside}]} for text, inside in words]
    assert rates_by_line({"images": images}) == {"1": 1.0, "2": 0.5, "3": 1.0}
    assert rates_by_line({}) == {}
