"""The worked example of docs/OWN_DATA.md, with rendered images as the photographs.

Its two trainings are replaced by models of random weights, in the files that they would write.
"""

import csv
import json
import re
import shlex
from pathlib import Path

import pytest
import torch
from detectron2.modeling import build_model
from PIL import Image

pytest.importorskip("starlette", reason="the extra `web`, for a command of the page, is missing")
pytest.importorskip("uvicorn", reason="the extra `web`, for a command of the page, is missing")

from wecromcl_d2.__main__ import main
from wecromcl_d2.cli import pipeline, train
from wecromcl_d2.data.datasets import read_labels
from wecromcl_d2.data.synthetic import SceneRecipe, render
from wecromcl_d2.tasks import load_config
from wecromcl_d2.web.run import listen

PAGE = Path(__file__).resolve().parent.parent / "docs" / "OWN_DATA.md"
COUNT = 20


def blocks(language: str) -> list[str]:
    """The page's code blocks of a language, in order."""
    text = PAGE.read_text(encoding="utf-8")
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [code for own, code in found if own == language]


def commands() -> list[list[str]]:
    """The arguments of all commands of the page's blocks, in order."""
    lines = "".join(blocks("")).replace("\\\n", " ").splitlines()
    words = [shlex.split(line) for line in lines if line]
    assert all(first == "wecromcl" for first, *_ in words)
    return [rest for _, *rest in words]


def write_photographs(folder: Path) -> None:
    (folder / "photos").mkdir()
    with open(folder / "photos.csv", "w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["image", "words"])
        for number in range(COUNT):
            scene = render(SceneRecipe(size=(96, 96), num_words=(1, 2)), number)
            name = f"scene_{number:02}.png"
            Image.fromarray(scene.image).save(folder / "photos" / name)
            writer.writerow([name, " ".join(scene.texts)])


def write_models(args) -> None:
    """Random weights where the pipeline of the page leaves its trained ones."""
    # Without outlines of the validation words, stage 1 has no metric that chooses weights.
    for folder, config, name in (
        ("anchors", args.config_file, "model_final.pth"),
        ("spotting", args.spotter, "model_best.pth"),
    ):
        target = args.output / folder
        target.mkdir(parents=True)
        cfg = load_config(config)
        (target / "config.yaml").write_text(cfg.dump(), encoding="utf-8")
        torch.save({"model": build_model(cfg).state_dict()}, target / name)


def submit(tasks: Path, reviewed: Path) -> list[str]:
    """What Label Studio exports once somebody has moved the first point of each task."""
    content = json.loads(tasks.read_text(encoding="utf-8"))
    for task in content:
        task["annotations"] = task.pop("predictions")
        task["annotations"][0]["result"][0]["value"] |= {"x": 50, "y": 50}
    reviewed.write_text(json.dumps(content), encoding="utf-8")
    return [task["data"]["file_name"] for task in content]


def end_the_page_at_once(monkeypatch) -> None:
    """Let `wecromcl web` do all but serve, at a port that no other test has."""
    monkeypatch.setattr("wecromcl_d2.web.run.listen", lambda host, port: listen(host, 0))
    monkeypatch.setattr("wecromcl_d2.web.run.run", lambda app, listening: listening.close())


def test_the_worked_example(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    end_the_page_at_once(monkeypatch)
    write_photographs(tmp_path)
    corrected: list[str] = []
    printed: dict[str, str] = {}
    done = []
    for name, *arguments in commands():
        if name == "pipeline":
            args = pipeline.parse_args(arguments)
            write_models(args)
            options = shlex.split(printed["labels"].split("wecromcl pipeline ... ")[1])
            assert arguments[-len(options) :] == options
        elif name == "train":
            args = train.parse_args(arguments)
            cfg = load_config(args.config_file, args.opts)
            records = train.trainer_class(cfg).load_records(cfg, cfg.DATASETS.TRAIN)
            assert len(records) == len(read_labels("shop/train.jsonl"))
        else:
            if name == "import":
                corrected = submit(tmp_path / "shop/tasks.json", tmp_path / "shop/reviewed.json")
            assert main([name, *arguments]) == 0
            printed[name] = capsys.readouterr().out
        done.append(name)
    assert done == [
        *("labels", "visualize", "pipeline", "anchors", "web", "export", "import", "train"),
        *("read", "find"),
    ]
    assert corrected == [Path(r["file_name"]).name for r in moved(tmp_path)]


def moved(folder: Path) -> list[dict]:
    """The records whose points the corrected label file has elsewhere than the found one."""
    before = read_labels(folder / "shop/anchors.jsonl")
    after = read_labels(folder / "shop/corrected.jsonl")
    pairs = zip(before, after, strict=True)
    return [new for old, new in pairs if new["points"] != old["points"]]


def test_the_table_of_the_page_is_read(tmp_path):
    (table,) = blocks("csv")
    (tmp_path / "photos").mkdir()
    for name in ("scene_00.png", "scene_01.png"):
        Image.new("RGB", (8, 8)).save(tmp_path / "photos" / name)
    (tmp_path / "photos.csv").write_text(table, encoding="utf-8")
    argv = [str(tmp_path / "photos.csv"), "--images", str(tmp_path / "photos")]
    options = ["--output", str(tmp_path / "shop"), "--split", "100", "0", "0"]
    assert main(["labels", *argv, *options]) == 0
    records = read_labels(tmp_path / "shop/train.jsonl")
    assert [r["texts"] for r in records] == [["Hill", "Street"], ["open", "daily,", "bakery"]]


def test_the_module_of_the_page_registers_a_dataset(monkeypatch):
    (code,) = blocks("python")
    given = []
    monkeypatch.setattr("wecromcl_d2.register_labels", lambda *a, **k: given.append((a, k)))
    exec(compile(code, PAGE.name, "exec"))
    assert given == [(("shop_train", "shop/train.jsonl"), {"image_root": "photos"})]


@pytest.mark.parametrize("name", ["labels", "export", "import"])
def test_the_page_is_named_where_it_helps(name, capsys):
    with pytest.raises(SystemExit):
        main([name, "--help"])
    assert "docs/OWN_DATA.md" in capsys.readouterr().out
