"""The pipeline's runner on small programs, and what it asks of the other commands."""

import argparse
import importlib
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from detectron2.modeling import build_model
from PIL import Image

from wecromcl_d2.cli import pipeline as pipeline_command
from wecromcl_d2.cli import steps
from wecromcl_d2.cli.start import start_weights
from wecromcl_d2.cli.status import DONE, LOSSES
from wecromcl_d2.data import write_labels
from wecromcl_d2.engine import results_folder
from wecromcl_d2.engine.loading import CheckedCheckpointer
from wecromcl_d2.predictor import registry
from wecromcl_d2.predictor.registry import ModelEntry
from wecromcl_d2.tasks import load_config
from wecromcl_d2.weights_file import WeightsError

SPOTTER = "configs/quick/srsts_a.yaml"


@pytest.fixture(scope="module")
def pipeline():
    return pipeline_command


@pytest.fixture
def step(tmp_path, monkeypatch):
    """Makes a step that notes its name in a file and ends with a status."""
    monkeypatch.setattr(steps, "PROGRAM", (sys.executable, "-c"))

    def make(name, status=0, arguments=(), **options):
        code = (
            f"print('this', 'is', '{name}')\n"
            f"open({str(tmp_path / 'runs')!r}, 'a').write('{name} ')\n"
            f"raise SystemExit({status})\n"
        )
        return steps.Step(name, code, arguments, **options)

    return make


@pytest.fixture
def runs(tmp_path):
    def read():
        path = tmp_path / "runs"
        return sorted(path.read_text(encoding="utf-8").split()) if path.exists() else []

    return read


def test_what_has_finished_is_not_run_again(step, runs, tmp_path, capfd):
    for _ in range(2):
        (seconds,) = steps.Runner(tmp_path / "out").run(step("one"))
        assert seconds > 0
    assert runs() == ["one"]
    assert "one: finished before" in capfd.readouterr().out


def test_other_arguments_run_again(step, runs, tmp_path):
    for each in (step("one"), step("one", arguments=("--more",))):
        steps.Runner(tmp_path / "out").run(each)
    assert runs() == ["one", "one"]


def test_of_steps_at_the_same_time_the_first_is_shown(step, tmp_path, capfd):
    folder = tmp_path / "out"
    times = steps.Runner(folder).run(step("one"), step("two"), step("three", quiet=True))
    assert len(times) == 3
    shown = capfd.readouterr().out
    assert "this is one" in shown
    for name in ("two", "three"):
        assert f"this is {name}" not in shown
        kept = (folder / "steps" / f"{name}.log").read_text(encoding="utf-8")
        assert kept == f"this is {name}\n"


def test_a_failure_ends_it_with_its_status_and_keeps_what_is_done(step, runs, tmp_path):
    runner = steps.Runner(tmp_path / "out")
    with pytest.raises(SystemExit) as end:
        runner.run(step("good"), step("bad", status=7))
    assert end.value.code == 7
    runner.run(step("good"), step("bad"))
    assert runs() == ["bad", "bad", "good"]


def test_its_own_log_is_named_and_none_of_a_step_that_was_shown(step, tmp_path, capfd):
    runner = steps.Runner(tmp_path / "out")
    for name, quiet in (("open", False), ("quiet", True)):
        with pytest.raises(SystemExit):
            runner.run(step(name, status=3, quiet=quiet))
        told = capfd.readouterr().out
        assert ("see its output above" in told) != quiet
        log = tmp_path / "out" / "steps" / f"{name}.log"
        assert log.exists() == (f"see its output in {log}" in told) == quiet


def test_what_ends_it_ends_its_steps(step, tmp_path, monkeypatch):
    noted = tmp_path / "process"
    code = (
        "import os, time\n"
        f"open({str(tmp_path / 'new')!r}, 'w').write(str(os.getpid()))\n"
        f"os.rename({str(tmp_path / 'new')!r}, {str(noted)!r})\n"
        "time.sleep(60)\n"
    )

    def end():
        while not noted.exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    threading.Thread(target=end).start()
    with pytest.raises(SystemExit) as stop:
        steps.Runner(tmp_path / "out").run(steps.Step("long", code, ()))
    assert stop.value.code == 128 + signal.SIGTERM
    with pytest.raises(ProcessLookupError):
        os.kill(int(noted.read_text(encoding="utf-8")), 0)
    assert signal.getsignal(signal.SIGTERM) == before


def test_an_accepted_status_is_a_success(step, tmp_path):
    runner = steps.Runner(tmp_path / "out")
    runner.run(step("some", status=1, accepted=(DONE, LOSSES)))
    with pytest.raises(SystemExit):
        runner.run(step("other", status=4, accepted=(DONE, LOSSES)))


class FakeRunner:
    """Notes the steps and leaves the files that they would leave."""

    def __init__(self, folder):
        self.folder = folder
        self.together: list[list[str]] = []
        self.commands: dict[str, list[str]] = {}

    def run(self, *steps):
        self.together.append([step.name for step in steps])
        for step in steps:
            assert step.name not in self.commands
            self.commands[step.name] = step.command
            if step.name.startswith("points"):
                report = self.folder / "points" / f"{step.name[-1]}_report.json"
                self._write(report, {"dataset_name": f"found-{step.name[-1]}"})
            if step.name.endswith("-forecast"):
                phase = {"images": 40}
                forecast = {"seconds": 100, "seconds_per_image": 0.5, "phases": [phase, phase]}
                self._write(self.folder / step.name[:-9] / "forecast.json", forecast)
            if step.name == "anchors-test":
                path = Path(results_folder(str(self.folder / "anchors"), "my_test"))
                self._write(path / "anchors.json", {"metrics": {"images": 3, "words": 5}})
            elif step.name.endswith(("-validate", "-test")):
                run, name = step.name.rsplit("-", 1)
                dataset = {"validate": "my_val", "test": "my_test"}[name]
                threshold = {"spotting": 0.7, "spotting-true": 0.6}[run]
                metrics = dict.fromkeys(("hmean", "precision", "recall", "threshold"), threshold)
                words = {**metrics, "sweep_threshold": threshold}
                path = Path(results_folder(str(self.folder / run), dataset)) / "spotting.json"
                self._write(path, {"metrics": {"spotting": metrics, "words": words}})
        return [float(len(steps))] * len(steps)

    @staticmethod
    def _write(path, value):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(value), encoding="utf-8")


@pytest.fixture
def arguments():
    return argparse.Namespace(
        config_file="configs/quick/anchors.yaml",
        spotter=SPOTTER,
        train="my_train",
        val="my_val",
        test="my_test",
        true_points=True,
        processes=2,
        pictures=1,
        start=None,
        anchors_weights=None,
        anchor_opts=["SEED", "5"],
        spotter_opts=["SEED", "5"],
    )


@pytest.fixture
def asked(pipeline, arguments, tmp_path):
    """The steps of stage 2 with ground-truth points to compare with, and the summary."""
    runner = FakeRunner(tmp_path)
    summary = pipeline.run_spotter(arguments, runner)
    return runner, summary


def values(command, key):
    """What follows a key of a command line."""
    return [command[i + 1] for i, word in enumerate(command) if word == key]


def test_both_spotters_learn_the_same_but_for_their_points(asked):
    runner, _ = asked
    found, true = (runner.commands[f"{run}-train"] for run in ("spotting", "spotting-true"))
    assert values(found, "SOLVER.CURRICULUM.DATASETS") == ["[['found-0']]"]
    assert values(found, "DATASETS.TRAIN") == ["('found-1',)"]
    assert values(found, "INPUT.POINT_SOURCE") == []
    assert values(true, "SOLVER.CURRICULUM.DATASETS") == ["[['synth_groups_train']]"]
    assert values(true, "DATASETS.TRAIN") == ["('my_train',)"]
    assert values(true, "INPUT.POINT_SOURCE") == ["polygons"]
    for key in ("SEED", "MODEL.BACKBONE.WEIGHTS", "DATASETS.TEST", "--config-file"):
        assert values(found, key) == values(true, key) != []


def test_thresholds_come_from_the_validation_words(asked):
    runner, summary = asked
    for run, threshold in (("spotting", "0.7"), ("spotting-true", "0.6")):
        assert values(runner.commands[f"{run}-validate"], "TEST.SPOTTING_THRESHOLD") == []
        assert values(runner.commands[f"{run}-validate"], "DATASETS.TEST") == ["('my_val',)"]
        assert values(runner.commands[f"{run}-test"], "TEST.SPOTTING_THRESHOLD") == [threshold]
        assert values(runner.commands[f"{run}-test"], "DATASETS.TEST") == ["('my_test',)"]
    assert values(runner.commands["spotting-pictures"], "--threshold") == ["0.7"]
    assert (summary["f"], summary["f_true_points"]) == (0.7, 0.6)


def test_what_does_not_need_each_other_is_done_at_once(asked):
    runner, summary = asked
    assert runner.together == [
        ["points-0", "points-1"],
        ["spotting-train", "spotting-true-train"],
        ["spotting-validate", "spotting-true-validate"],
        ["spotting-test", "spotting-true-test"],
        ["spotting-pictures"],
    ]
    assert summary["seconds"] == 4.0  # two seconds of finding points and two of training


def test_both_trainings_are_forecast_on_their_images(pipeline, arguments, tmp_path, capsys):
    runner = FakeRunner(tmp_path)
    pipeline.run_forecasts(arguments, runner)
    assert runner.together == [["anchors-forecast"], ["spotting-forecast"]]
    for command in runner.commands.values():
        assert values(command, "DATASETS.TRAIN") == ["('my_train',)"]
        assert importlib.import_module("wecromcl_d2.cli.train").parse_args(command[4:]).forecast
    # Two trainings of 100 s, and 80 images of half a second in two processes.
    assert "trainings              4 min, of which finding the words of 80 images 20 s" in (
        capsys.readouterr().out
    )


def test_a_finished_detector_has_no_forecast(pipeline, arguments, tmp_path):
    arguments.anchors_weights = tmp_path / "detector.pth"
    runner = FakeRunner(tmp_path)
    pipeline.run_forecasts(arguments, runner)
    assert runner.together == [["spotting-forecast"]]


def test_anchors_are_measured_and_drawn_at_once(pipeline, arguments, tmp_path):
    runner = FakeRunner(tmp_path)
    summary = pipeline.run_anchors(arguments, runner)
    assert runner.together == [["anchors-train"], ["anchors-pictures", "anchors-test"]]
    assert summary == {"seconds": 1.0}  # and no inside rate, where nobody knows the outlines


def test_a_finished_detector_is_taken_as_it_is(pipeline, arguments, tmp_path):
    arguments.anchors_weights = tmp_path / "detector.pth"
    runner = FakeRunner(tmp_path)
    pipeline.run_anchors(arguments, runner)
    pipeline.run_spotter(arguments, runner)
    assert "anchors-train" not in runner.commands
    for step in ("anchors-pictures", "points-0"):
        assert values(runner.commands[step], "--weights") == [str(arguments.anchors_weights)]
    found = values(runner.commands["spotting-train"], "MODEL.BACKBONE.WEIGHTS")
    assert found == [str(arguments.anchors_weights)]


def test_each_stage_has_options_of_its_own(pipeline, tmp_path):
    (tmp_path / "d.pth").touch()
    paths = ["--config-file", "a", "--output", "o", "--anchors-weights", str(tmp_path / "d.pth")]
    own = ["--anchor-opts", "SEED", "2", "--spotter-opts", "SEED", "3"]
    args = pipeline.parse_args(["VERSION", "2", *paths, *own])
    assert args.anchor_opts == ["VERSION", "2", "SEED", "2"]
    assert args.spotter_opts == ["VERSION", "2", "SEED", "3"]


@pytest.mark.parametrize("where", [[], ["--spotter-opts"]])
@pytest.mark.parametrize("key", ["DATASETS.TRAIN", "SOLVER.CURRICULUM.DATASETS"])
def test_datasets_in_place_of_the_anchors_are_a_wrong_command(pipeline, capsys, key, where):
    command = ["--config-file", "a", "--spotter", "b", "--output", "o", *where]
    with pytest.raises(SystemExit) as stop:
        pipeline.parse_args([*command, "SEED", "1", key, "('x',)"])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert f"{key} would be the spotter's in place of the points" in error
    assert pipeline.parse_args([*command, key, "[]"]).spotter_opts == [key, "[]"]


OPTIONS_OF_IMAGES = ("--train", "--val", "--test")


@pytest.mark.parametrize("which", OPTIONS_OF_IMAGES)
def test_images_that_are_not_there_end_it_before_any_step(
    pipeline, monkeypatch, tmp_path, capsys, which
):
    monkeypatch.setattr(pipeline, "run_forecasts", pytest.fail)
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    names = {option: str(tmp_path / f"{option[2:]}.jsonl") for option in OPTIONS_OF_IMAGES}
    for labels in names.values():
        write_labels(labels, [{"file_name": "a.png", "texts": ["hill"]}])
    labels = names[which]
    names[which] = f"{labels}@nowhere"
    options = [part for item in names.items() for part in item]
    command = ["--config-file", "configs/quick/anchors.yaml", "--output", str(tmp_path / "out")]
    assert pipeline.main([*command, *options]) == 2
    assert f"name the folder of the images after the @: {labels}@FOLDER" in capsys.readouterr().err


def test_a_file_as_folder_of_results_is_a_wrong_command(pipeline, capsys):
    with pytest.raises(SystemExit) as stop:
        pipeline.parse_args(["--config-file", "a", "--output", __file__])
    assert stop.value.code == 2
    assert "is a file; name a folder" in capsys.readouterr().err


def test_weights_that_are_not_there_are_a_wrong_command(pipeline, capsys):
    with pytest.raises(SystemExit) as stop:
        pipeline.parse_args(["--config-file", "a", "--output", "o", "--anchors-weights", "no.pth"])
    assert stop.value.code == 2
    assert "--anchors-weights no.pth does not exist" in capsys.readouterr().err


@pytest.fixture
def pair(tmp_path, monkeypatch):
    """A registered pair of untrained quick models, "blank" and "blank-anchors"."""
    models = {"blank": SPOTTER, "blank-anchors": "configs/quick/anchors.yaml"}
    for name, config in models.items():
        model = build_model(load_config(config))
        torch.save({"model": model.state_dict()}, tmp_path / f"{name}.pth")
    entries = {n: ModelEntry(c, str(tmp_path / f"{n}.pth")) for n, c in models.items()}
    monkeypatch.setattr(registry, "_MODELS", entries)
    return tmp_path


def test_both_stages_start_from_a_trained_pair(pipeline, arguments, pair):
    arguments.start = "blank"
    runner = FakeRunner(pair / "out")
    pipeline.run_anchors(arguments, runner)
    pipeline.run_spotter(arguments, runner)
    for step, name in (("anchors-train", "blank-anchors"), ("spotting-train", "blank")):
        assert values(runner.commands[step], "MODEL.WEIGHTS") == [str(pair / f"{name}.pth")]
        assert values(runner.commands[step], "MODEL.BACKBONE.WEIGHTS") == []


def test_a_spotter_with_weights_of_its_own_keeps_its_backbone(pipeline, arguments, pair):
    arguments.spotter_opts = ["MODEL.WEIGHTS", "own.pth"]
    runner = FakeRunner(pair / "out")
    pipeline.run_anchors(arguments, runner)
    pipeline.run_spotter(arguments, runner)
    command = runner.commands["spotting-train"]
    assert values(command, "MODEL.WEIGHTS") == ["own.pth"]
    assert values(command, "MODEL.BACKBONE.WEIGHTS") == []


@pytest.mark.parametrize(
    ("config", "name"), [("configs/quick/anchors.yaml", "blank-anchors"), (SPOTTER, "blank")]
)
def test_another_alphabet_starts_from_the_image_modules(config, name, pair, capsys):
    opts = ["MODEL.TEXT_ENCODER.CHARSET", "wecromcl"]
    weights = start_weights(config, opts, name, pair / "start")
    assert weights == str(pair / "start" / f"{name}-image-modules.pth")
    assert f"{config} starts from the image modules of {name} alone" in capsys.readouterr().out
    # What the trainer does with MODEL.WEIGHTS: a part is enough.
    model = build_model(load_config(config, opts))
    CheckedCheckpointer(model, partial=True).load(weights, [])
    theirs = torch.load(pair / f"{name}.pth", weights_only=True)["model"]
    assert torch.equal(
        model.state_dict()["backbone.bottom_up.stem.conv1.weight"],
        theirs["backbone.bottom_up.stem.conv1.weight"],
    )


def test_a_model_without_image_modules_is_refused(pair):
    torch.save({"model": {"decoder.weight": torch.zeros(2)}}, pair / "blank.pth")
    with pytest.raises(WeightsError, match="has no image modules; start without blank"):
        start_weights(SPOTTER, [], "blank", pair / "start")


def test_points_have_the_weights_that_the_command_gives_them_by_itself(asked):
    runner, _ = asked
    assert "--percentiles" not in runner.commands["points-0"]


def test_every_step_is_a_command_that_reads_its_options(pipeline, arguments, tmp_path):
    runner = FakeRunner(tmp_path)
    pipeline.run_anchors(arguments, runner)
    pipeline.run_spotter(arguments, runner)
    for command in runner.commands.values():
        python, option, package, name, *rest = command
        assert (python, option, package) == (sys.executable, "-m", "wecromcl_d2")
        importlib.import_module(f"wecromcl_d2.cli.{name}").parse_args(rest)


def test_images_that_are_left_out_are_no_failure_of_finding_points(
    pipeline, arguments, tmp_path, monkeypatch
):
    accepted = {}
    runner = FakeRunner(tmp_path)
    monkeypatch.setattr(
        runner, "run", lambda *s: (accepted.update({x.name: x.accepted for x in s}), [1.0])[1]
    )
    with pytest.raises(FileNotFoundError):  # nobody has written the points
        pipeline.find_points(arguments, runner, ["one"])
    assert accepted == {"points-0": (DONE, LOSSES)}
