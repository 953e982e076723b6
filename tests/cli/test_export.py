"""`wecromcl export` and `wecromcl import`: to every format, and corrections into a label file."""

import importlib
import json

import pytest
from PIL import Image

from wecromcl_d2.cli.export import FORMATS
from wecromcl_d2.cli.export import main as export
from wecromcl_d2.data.datasets import read_labels, write_labels

# A keyword is no name to import.
import_labels = importlib.import_module("wecromcl_d2.cli.import").main


@pytest.fixture
def labels(tmp_path):
    """Label file of ten images, of which the last is the least sure."""
    (tmp_path / "photos").mkdir()
    records = []
    for number in range(10):
        Image.new("RGB", (40, 20)).save(tmp_path / "photos" / f"{number}.png")
        record = {"file_name": f"{number}.png", "texts": ["Hill", "Way"]}
        record["points"] = [[10.0, 5.0], [30.0, 15.0]]
        record["point_scores"] = [0.9, 0.8 - number / 20]
        record["point_weights"] = [1.0, 0.5]
        records.append(record)
    write_labels(tmp_path / "anchors.jsonl", records)
    return f"{tmp_path}/anchors.jsonl@{tmp_path}/photos"


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_written_once(labels, name, tmp_path, capsys):
    argv = [labels, "--to", name, "--output", str(tmp_path / "out")]
    assert export(argv) == 0
    assert "10 of 10 images, 20 words" in capsys.readouterr().out
    assert export(argv) == 2
    assert "--force" in capsys.readouterr().err
    assert export([*argv, "--force"]) == 0


def test_the_doubtful_tenth_is_corrected(labels, tmp_path, capsys):
    tasks = tmp_path / "tasks.json"
    options = ["--doubtful", "10", "--output", str(tasks)]
    assert export([labels, "--to", "labelstudio", *options]) == 0
    assert (tmp_path / "tasks_config.xml").is_file()
    (task,) = json.loads(tasks.read_text(encoding="utf-8"))
    assert task["data"]["image"] == "/data/local-files/?d=9.png"
    task["annotations"] = task.pop("predictions")
    task["annotations"][0]["result"][0]["value"]["x"] = 50
    tasks.write_text(json.dumps([task]), encoding="utf-8")
    output = tmp_path / "corrected.jsonl"
    argv = [str(tasks), "--from", "labelstudio", "--into", labels, "--output", str(output)]
    assert import_labels(argv) == 0
    shown = capsys.readouterr().out
    assert "1 of 10 images corrected" in shown
    assert f"('{output}@{tmp_path}/photos',)" in shown
    before = read_labels(tmp_path / "anchors.jsonl", tmp_path / "photos")
    after = read_labels(output, tmp_path / "photos")
    unchanged = [{k: v for k, v in r.items() if k not in ("height", "width")} for r in after[:9]]
    assert unchanged == before[:9]
    assert after[9]["points"] == [[20.0, 5.0], [30.0, 15.0]]
    assert after[9]["point_scores"] == [None, before[9]["point_scores"][1]]
    assert after[9]["point_weights"] == [1.0, 1.0]
    assert import_labels(argv) == 2


def test_coco_into_a_new_label_file(labels, tmp_path):
    coco, output = tmp_path / "coco.json", tmp_path / "photos" / "back.jsonl"
    assert export([labels, "--to", "coco", "--output", str(coco)]) == 0
    assert import_labels([str(coco), "--from", "coco", "--output", str(output)]) == 0
    assert [r["points"] for r in read_labels(output)] == [[[10.0, 5.0], [30.0, 15.0]]] * 10


def test_words_without_a_place_are_told(labels, tmp_path, capsys):
    write_labels(tmp_path / "photos" / "l.jsonl", [{"file_name": "0.png", "texts": ["Hill"]}])
    source = str(tmp_path / "photos" / "l.jsonl")
    assert export([source, "--to", "icdar", "--output", str(tmp_path / "gt")]) == 1
    assert "1 words without a place" in capsys.readouterr().err


@pytest.mark.parametrize("percent", ["0", "101", "nan"])
def test_a_share_that_is_none_is_refused(labels, percent, tmp_path):
    with pytest.raises(SystemExit) as end:
        export([labels, "--to", "csv", "--output", str(tmp_path / "x"), "--doubtful", percent])
    assert end.value.code == 2
