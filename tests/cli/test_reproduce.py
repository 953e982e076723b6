"""`wecromcl reproduce`, from miniature downloads to the table."""

import importlib
import json
import logging
import os
import re
import shlex
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from tests.miniature import IMAGES, build_all, render_scenes
from wecromcl_d2.__main__ import main as run_command
from wecromcl_d2.cli import comparison, reproduce, steps
from wecromcl_d2.cli.prepare import main as prepare
from wecromcl_d2.cli.reproduction import PARTIAL_HINT, SPOTTERS, TARGETS
from wecromcl_d2.cli.status import DONE, LOSSES, WRONG_COMMAND
from wecromcl_d2.data.readers.registry import BENCHMARKS
from wecromcl_d2.stage1.checkpoint_names import official_names
from wecromcl_d2.tasks import load_config

PAGE = Path(__file__).resolve().parents[2] / "docs" / "BENCHMARKS.md"


@pytest.fixture(scope="module")
def downloads(tmp_path_factory):
    """The published sets, small."""
    root = tmp_path_factory.mktemp("downloads")
    build_all(root / "datasets", render_scenes(root / "scenes", 2 * IMAGES))
    return root / "datasets"


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory):
    """A file with the names and shapes of torchvision's ResNet-50."""
    from wecromcl_d2.cli.convert import STAGE1_CONFIG, model_state
    from wecromcl_d2.stage1.checkpoint_names import resnet_names

    state = model_state(STAGE1_CONFIG)
    names = {theirs: f"backbone.bottom_up.{ours}" for theirs, ours in resnet_names().items()}
    path = tmp_path_factory.mktemp("weights") / "resnet50-19c8e357.pth"
    torch.save({theirs: state[ours] for theirs, ours in names.items()}, path)
    yield path
    path.unlink()  # 100 MB


class Started:
    """Runs the steps in this process, which spares them the import of torch.

    Attributes:
        names: steps that were started.
        failing: step that fails.
    """

    def __init__(self):
        self.names = []
        self.failing = ""

    def start(self, step, shown):
        self.names.append(step.name)
        code = 7 if step.name == self.failing else run_command([step.action, *step.arguments])
        for name in ("detectron2", "wecromcl_d2", "fvcore"):
            logging.getLogger(name).handlers.clear()  # each training adds its own
        return SimpleNamespace(poll=lambda: code, returncode=code)


@pytest.fixture
def started(downloads, monkeypatch):
    here = Started()
    monkeypatch.setenv("DETECTRON2_DATASETS", str(downloads))
    monkeypatch.setattr(steps.Runner, "_start", lambda self, step, shown: here.start(step, shown))
    clock = SimpleNamespace(sleep=lambda seconds: None, monotonic=steps.time.monotonic)
    monkeypatch.setattr(steps, "time", clock)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return here


def tiny(output, imagenet, spotter, name="all"):
    """The command of a short run of tiny models."""
    files = ("--output", str(output), "--imagenet", str(imagenet), "--spotter", spotter)
    return reproduce.main([name, "--tiny", *files, "SOLVER.MAX_ITER", "2"])


def test_from_downloads_to_the_table(started, imagenet, tmp_path):
    output = tmp_path / "results"
    started.failing = "anchors-totaltext"
    with pytest.raises(SystemExit) as end:
        tiny(output, imagenet, "srsts_a")
    assert end.value.code == 7
    assert not [name for name in started.names if name.startswith("points")]
    rows = comparison.read_table(output / "table.csv")
    assert {row.dataset for row in rows} == {
        f"icdar{year}_{split}" for year in (2013, 2015) for split in ("train", "test")
    }

    before, started.failing = started.names.copy(), ""
    assert tiny(output, imagenet, "srsts_a") == DONE
    assert set(started.names[len(before) :]) & set(before) == {"anchors-totaltext"}
    assert "convert-imagenet" in started.names and "check-synthtext" in started.names

    before = started.names.copy()
    assert tiny(output, imagenet, "srsts_a") == DONE
    assert started.names == before
    assert tiny(output, imagenet, "spts") == DONE
    new = set(started.names[len(before) :])
    assert {"spts-pretrain", "check-curvedsyntext", "points-mlt2017_train"} <= new
    assert not [name for name in new if name.startswith("anchors")]
    check_table(output)
    check_labels(output)
    for spotter in SPOTTERS.keys() - {"srsts_a", "spts"}:
        assert tiny(output, imagenet, spotter, "icdar2015") == DONE
    rows = comparison.read_table(output / "table.csv")
    for spotter in SPOTTERS:
        own = {row.figure: row.published for row in rows if row.spotter == spotter}
        known = comparison.PUBLISHED_WORDS.get(spotter, {}).get("icdar2015", {})
        assert {f: own.get(f) for f in known} == {f: f"{v:.1f}" for f, v in known.items()}
        assert own
    shutil.rmtree(output / "weights")  # 100 MB


def test_datasets_that_are_missing_have_no_share_in_the_draws(tmp_path):
    arguments = ["icdar2015", "--available", "--spotter", "srsts_a", "--output", str(tmp_path)]
    work = reproduce.plan(reproduce.parse_args(arguments))
    work.__dict__["datasets"] = ("icdar2015_train", "icdar2015_test", "synthtext_train")
    commands = {task.step.name: task.step.arguments for task in work.tasks()}
    joint = commands["srsts_a-joint"]
    assert joint[joint.index("DATASETS.TRAIN") + 1].count(".jsonl@") == 2
    assert joint[joint.index("DATASETS.PROPORTIONS") + 1] == "(0.5, 0.15)"
    assert "DATASETS.PROPORTIONS" not in commands["srsts_a-pretrain_synthtext"]


def check_table(output):
    """Both files name every figure once, and beside it the published one."""
    rows = comparison.read_table(output / "table.csv")
    assert len({row.key() for row in rows}) == len(rows)
    for target in TARGETS:
        own = [row for row in rows if row.dataset.startswith(target)]
        anchors = [row for row in own if row.figure == "anchors, nearest point"]
        assert [row.published for row in anchors] == [
            f"{figure:.1f}" for figure in comparison.PUBLISHED_ANCHORS[target]
        ]
        assert all(0 <= float(row.ours) <= 100 >= float(row.chance) > 0 for row in anchors)
        assert {row.spotter for row in own} == {"", "srsts_a", "spts"}
        counts = {BENCHMARKS[target].splits[split].count for split in ("train", "test")}
        assert {int(row.published_images) for row in own} == counts
        assert {(row.images, row.models) for row in own} == {(str(IMAGES), "tiny")}
    lines = (output / "table.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 2 + len(rows)


def check_labels(output):
    """The spotter learned from what the labelling wrote."""
    report = json.loads((output / "points" / "ctw1500_train_report.json").read_text("utf-8"))
    command = json.loads((output / "steps" / "spts-ctw1500.json").read_text("utf-8"))
    words = command["finished"]
    (used,) = re.findall(r"\('(.*)',\)", words[words.index("DATASETS.TRAIN") + 1])
    name, _, root = report["dataset_name"].partition("@")
    assert used == f"{name}@{os.path.abspath(root)}"


def test_all_eight_sets_are_read_in_the_formats_they_come_in(downloads, monkeypatch, capsys):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(downloads))
    counts = {}
    for name, benchmark in BENCHMARKS.items():
        assert prepare([name, "--check"]) == DONE
        shown = capsys.readouterr().out
        counts[name] = list(map(int, re.findall(r"  images (\d+)", shown)))
        assert len(counts[name]) == len(benchmark.splits)
    assert counts.pop("curvedsyntext") == [2 * IMAGES]
    assert len(counts) == 7 and {n for own in counts.values() for n in own} == {IMAGES}


@pytest.fixture
def nothing(tmp_path, monkeypatch):
    """No download at all."""
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "datasets"))
    monkeypatch.chdir(tmp_path)
    return ["--output", str(tmp_path / "results"), "--spotter", "srsts_a"]


def test_spotters_without_points_read_the_sets_themselves(nothing, capsys):
    shown = {}
    for spotter in SPOTTERS:
        options = [*nothing[:-1], spotter, "--dry-run"]
        assert reproduce.main(["totaltext", *options]) == DONE
        shown[spotter] = capsys.readouterr().out
    labelled = {name for name, text in shown.items() if "wecromcl anchors" in text}
    assert labelled == set(SPOTTERS) - {"npts"}
    for name, spotter in SPOTTERS.items():
        assert spotter.config("totaltext") in shown[name]
    (own,) = (
        c for c in commands_of(shown["npts"]) if "npts_totaltext.yaml --resume" in " ".join(c)
    )
    assert own[own.index("DATASETS.TRAIN") + 1] == "('totaltext_train',)"


def test_missing_downloads_are_named_with_their_sources(nothing, capsys):
    assert reproduce.main(["icdar2015", *nothing]) == WRONG_COMMAND
    shown = capsys.readouterr().err
    for name in ("icdar2015", "synthtext"):
        assert BENCHMARKS[name].page in shown
    assert "icdar2015_test" in shown and "weights/resnet50-19c8e357.pth" in shown
    assert "strong lexicon" in shown and "mlt2017" not in shown
    assert reproduce.main(["icdar2015", *nothing, "--available"]) == WRONG_COMMAND
    assert "icdar2015_train, icdar2015_test cannot be done without" in capsys.readouterr().err


def test_a_set_that_is_not_complete_stops_it_before_any_training(
    started, downloads, tmp_path, monkeypatch, capsys
):
    (tmp_path / "datasets").mkdir()
    shutil.copytree(downloads / "icdar2013", tmp_path / "datasets" / "icdar2013")
    (tmp_path / "datasets/icdar2013/Challenge2_Test_Task12_Images/img_2.jpg").unlink()
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "datasets"))
    weights = tmp_path / "pretrained.pth"
    torch.save({"model": {"logit_scale": torch.zeros(1)}}, weights)
    files = ["--output", str(tmp_path / "results"), "--pretrained", str(weights)]
    with pytest.raises(SystemExit) as end:
        reproduce.main(["icdar2013", *files])
    assert end.value.code == LOSSES
    assert started.names == ["check-icdar2013"]
    assert PARTIAL_HINT in capsys.readouterr().out


def test_a_dry_run_prints_commands_that_each_command_takes(nothing, capsys):
    for name in (*TARGETS, "all"):
        assert reproduce.main([name, *nothing, "--dry-run", "SEED", "3"]) == DONE
        lines = capsys.readouterr().out.splitlines()
        for action, *arguments in commands_of("\n".join(lines)):
            parser_of(action)(arguments)
            assert action in ("prepare", "convert") or "SEED" in arguments
        tested = re.findall(r"DATASETS\.TEST '?\(([^)]*)\)", "\n".join(lines))
        assert {t for t in TARGETS if any(t in text for text in tested)} == (
            set(TARGETS) if name == "all" else {name}
        )


def test_the_page_has_the_commands_of_a_dry_run(downloads, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DETECTRON2_DATASETS", raising=False)
    (tmp_path / "datasets").mkdir()
    for name in ("icdar2015", "synthtext"):
        (tmp_path / "datasets" / name).symlink_to(downloads / name)
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "resnet50-19c8e357.pth").touch()
    options = ["--available", "--spotter", "srsts_a", "--output", "results", "--dry-run"]
    assert reproduce.main(["icdar2015", *options]) == DONE
    shown = capsys.readouterr().out.replace(f"{tmp_path}/", "")
    _, _, steps_of_page = PAGE.read_text(encoding="utf-8").partition("## Step by step")
    page = "".join(re.findall(r"^```\n(.*?)^```", steps_of_page, re.MULTILINE | re.DOTALL))
    assert list(map(meaning, commands_of(page))) == list(map(meaning, commands_of(shown)))


def commands_of(text):
    """The commands in a text, each as its words."""
    lines = text.replace("\\\n", " ").splitlines()
    return [shlex.split(line)[1:] for line in lines if line.startswith("wecromcl ")]


def meaning(words):
    """What a command does, however its options are written."""
    action, *arguments = words
    args = parser_of(action)(arguments)
    if action != "train":
        return action, vars(args)
    return action, args.eval_only, args.resume, load_config(args.config_file, args.opts).dump()


def parser_of(action):
    """What reads the options of a command."""
    module = importlib.import_module(f"wecromcl_d2.cli.{action}")
    return getattr(module, "parse_args", None) or module._parser().parse_args


def test_no_training_looks_at_test_images(nothing, capsys):
    reproduce.main(["all", *nothing, "--dry-run"])
    trainings = [line for line in capsys.readouterr().out.splitlines() if " --resume " in line]
    assert len(trainings) == 1 + 4 + 2 + 4
    assert all(line.endswith("DATASETS.TEST '()'") for line in trainings)


def test_weights_of_the_authors_are_converted_and_ours_are_not(nothing, tmp_path, capsys):
    path = tmp_path / "pretrained.pth"
    for weights, is_converted in (
        ({f"module.{name}": torch.zeros(1) for name in official_names()}, True),
        ({"model": {name: torch.zeros(1) for name in official_names().values()}}, False),
    ):
        torch.save(weights, path)
        reproduce.main(["icdar2015", *nothing, "--dry-run", "--pretrained", str(path)])
        shown = capsys.readouterr().out
        assert ("wecromcl convert --source official" in shown) == is_converted
        assert "stage1/official_pretrain_synthtext.yaml --resume" not in shown
        used = tmp_path / "results" / "weights" / "pretrained.pth" if is_converted else path
        assert f"MODEL.WEIGHTS {used}" in shown
    assert reproduce.main(["all", *nothing, "--pretrained", "none.pth"]) == WRONG_COMMAND
    assert "--pretrained: there is no file none.pth" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["SOLVER.NO_SUCH_KEY", "1"], "SOLVER.NO_SUCH_KEY"),
        (["--pretrained", "none.pth"], "there is no file none.pth"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_shown(tmp_path, capsys, arguments, message):
    command = ["icdar2015", "--output", str(tmp_path), "--dry-run", *arguments]
    assert reproduce.main(command) == WRONG_COMMAND
    told = capsys.readouterr()
    assert message in told.err and not told.out


@pytest.mark.parametrize(
    "other", [["SEED", "2"], ["SEED", "1", "--tiny"], ["SEED", "1", "--stage1", "ours"], []]
)
def test_an_output_of_other_settings_is_not_resumed(tmp_path, capsys, monkeypatch, other):
    monkeypatch.setattr(reproduce, "check_targets", lambda work: None)
    monkeypatch.setattr(reproduce.Reproduction, "tasks", lambda self: ())
    command = ["icdar2015", "--output", str(tmp_path)]
    for name, spotter in (("icdar2015", "srsts_a"), ("totaltext", "spts")):
        assert reproduce.main([name, *command[1:], "--spotter", spotter, "SEED", "1"]) == DONE
    assert reproduce.main([*command, *other]) == WRONG_COMMAND
    told = capsys.readouterr().err
    assert f"{tmp_path} holds results with" in told and "another --output" in told


def test_more_processes_than_gpus_are_refused(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    command = ["icdar2015", "--output", str(tmp_path), "--dry-run", "--num-gpus"]
    assert reproduce.main([*command, "3"]) == WRONG_COMMAND
    told = capsys.readouterr()
    assert "--num-gpus is 3" in told.err and "give 2 at most" in told.err and not told.out
    assert reproduce.main([*command, "2"]) == DONE


def test_a_key_without_a_value_is_a_wrong_command(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        reproduce.main(["icdar2015", "--output", str(tmp_path), "SEED"])
    assert stop.value.code == WRONG_COMMAND
    assert "'SEED' has no value" in capsys.readouterr().err


def test_a_later_measurement_takes_the_place_of_the_earlier_one(tmp_path):
    metrics = {"inside_rate": 0.5, "sweep_hmean": 0.25, "hmean": 0.125, "images": 3, "words": 9}
    old = comparison.anchor_rows("icdar2013_train", metrics, "ours", "full")
    other = comparison.anchor_rows("icdar2013_test", metrics, "ours", "full")
    new = comparison.anchor_rows(
        "icdar2013_train", metrics | {"inside_rate": 0.75, "chance": 0.01}, "ours", "full"
    )
    for rows in (old, other, new):
        comparison.update_table(tmp_path, rows)
    rows = comparison.read_table(tmp_path / "table.csv")
    assert rows == [*new, *other]
    assert [(row.ours, row.chance) for row in rows] == [
        ("25.0", ""), ("75.0", "1.0"), ("25.0", ""), ("50.0", ""),
    ]  # fmt: skip
    (tmp_path / "table.csv").write_text("dataset\n", encoding="utf-8")
    with pytest.raises(ValueError, match="other columns"):
        comparison.update_table(tmp_path, new)


def test_the_page_has_the_published_figures():
    text = PAGE.read_text(encoding="utf-8")
    for name, (train, test) in comparison.PUBLISHED_ANCHORS.items():
        assert re.search(rf"^\| `{name}` \| {train} \| {test} \|", text, re.MULTILINE)
    for spotter, column in (("spts", 0), ("npts", 1), ("srsts_a", 0)):
        for name, figures in comparison.PUBLISHED_WORDS[spotter].items():
            for figure, value in figures.items():
                row = re.search(rf"^\| `{name}` \|.* `{figure}` \| (.*) \|", text, re.MULTILINE)
                assert row and row[1].split("|")[column].strip() == str(value)
