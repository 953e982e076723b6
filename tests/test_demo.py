"""The command line of the demo, run in this process on a spotter without learning."""

import json
import os

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from PIL import Image

from tests.fake_spotter import paint, write_model
from tests.scripts import load_script
from wecromcl_d2.tasks import load_config

ANCHORS = "configs/quick/anchors.yaml"


@pytest.fixture(scope="module")
def demo():
    return load_script("demo/demo.py")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    config, weights = write_model(tmp_path_factory.mktemp("model"))
    return ["--config-file", str(config), "--weights", str(weights)]


@pytest.fixture(scope="module")
def anchors(tmp_path_factory):
    weights = tmp_path_factory.mktemp("anchors") / "model.pth"
    torch.manual_seed(1)
    torch.save({"model": build_model(load_config(ANCHORS)).state_dict()}, weights)
    return ["--config-file", ANCHORS, "--weights", str(weights)]


@pytest.fixture
def photos(tmp_path):
    """Three pictures in a folder with a subfolder, each of one word."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for name, word in (("one.png", "hill"), ("two.png", "street"), ("more/one.png", "way")):
        image = np.zeros((48, 80, 3), np.uint8)
        paint(image, word, 8, 16)
        Image.fromarray(image).save(folder / name)
    (folder / "notes.txt").write_text("no picture", encoding="utf-8")
    return folder


def read_lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_folder_is_read_drawn_and_written(demo, model, photos, tmp_path, capsys):
    output, lines = tmp_path / "out", tmp_path / "words.jsonl"
    argv = [str(photos), *model, "--output", str(output), "--json", str(lines)]
    for _ in range(2):  # the second time over what the first has written
        assert demo.main(argv) == 0
        records = read_lines(lines)
        assert [r["file_name"] for r in records] == ["more/one.png", "one.png", "two.png"]
        assert [r["texts"] for r in records] == [["way"], ["hill"], ["street"]]
        drawn = sorted(p.relative_to(output).as_posix() for p in output.rglob("*") if p.is_file())
        assert drawn == ["more/one.png", "one.png", "two.png"]
    assert capsys.readouterr().out == ""
    with Image.open(output / "one.png") as image:
        assert image.size == (80 * 8, 48 * 8)


def test_without_outputs_the_words_are_printed(demo, model, photos, capsys):
    assert demo.main([str(photos / "two.png"), *model]) == 0
    (record,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert record["texts"] == ["street"]


def test_patterns_and_repeats(demo, photos):
    found = demo.collect_inputs(
        [str(photos / "**" / "*.png"), str(photos), str(photos / "one.png")]
    )
    assert [item.path.relative_to(photos).as_posix() for item in found] == [
        "more/one.png",
        "one.png",
        "two.png",
    ]
    assert [item.name.as_posix() for item in found] == ["one.png", "one-2.png", "two.png"]


def test_pictures_of_one_name_do_not_overwrite_each_other(demo, model, photos, tmp_path):
    (photos / "one.bmp").write_bytes((photos / "two.png").read_bytes())
    files = [str(photos / name) for name in ("one.png", "more/one.png", "one.bmp")]
    lines = tmp_path / "words.jsonl"
    assert demo.main([*files, *model, "--output", str(tmp_path / "out"), "--json", str(lines)]) == 0
    assert [r["file_name"] for r in read_lines(lines)] == ["one.png", "one-2.png", "one-3.bmp"]
    assert len(list((tmp_path / "out").iterdir())) == 3


def test_unreadable_files_are_skipped_and_listed(demo, model, photos, tmp_path, capsys):
    (photos / "more" / "bad.jpg").write_bytes(b"\xff\xd8 no picture")
    lines = tmp_path / "words.jsonl"
    argv = [str(photos), str(photos / "notes.txt"), *model, "--json", str(lines)]
    assert demo.main([*argv, "--batch-size", "2"]) == 1
    assert [r["texts"] for r in read_lines(lines)] == [["way"], ["hill"], ["street"]]
    error = capsys.readouterr().err
    assert "3 pictures done" in error
    assert "2 skipped:" in error
    assert str(photos / "more" / "bad.jpg") in error
    assert str(photos / "notes.txt") in error


def test_ctrl_c_keeps_what_is_done(demo, model, photos, tmp_path, monkeypatch, capsys):
    read = demo.read_image

    def interrupted(path):
        if path.name == "two.png":
            raise KeyboardInterrupt
        return read(path)

    monkeypatch.setattr(demo, "read_image", interrupted)
    output, lines = tmp_path / "out", tmp_path / "words.jsonl"
    argv = [str(photos), *model, "--output", str(output), "--json", str(lines)]
    assert demo.main([*argv, "--batch-size", "1"]) == 130
    assert [r["file_name"] for r in read_lines(lines)] == ["more/one.png", "one.png"]
    assert (output / "one.png").is_file()
    assert "interrupted" in capsys.readouterr().err


def test_the_threshold_and_tiles_reach_the_spotter(demo, model, photos, capsys):
    assert demo.main([str(photos / "two.png"), *model, "--threshold", "0.9"]) == 0
    assert json.loads(capsys.readouterr().out)["texts"] == []
    assert demo.main([str(photos / "two.png"), *model, "--tile", "64", "--tile-overlap", "64"]) == 2
    assert "the overlap must be" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["missing.png"], "missing.png: no such file"),
        (["nothing-*.png"], "nothing-*.png: no such file"),
    ],
)
def test_inputs_that_stand_for_nothing_are_refused(demo, model, argv, message, capsys):
    assert demo.main([*argv, *model]) == 2
    assert message in capsys.readouterr().err


def test_inputs_are_never_overwritten(demo, model, photos, capsys):
    before = (photos / "one.png").read_bytes()
    assert demo.main([str(photos), *model, "--output", str(photos)]) == 2
    assert "would be overwritten" in capsys.readouterr().err
    assert demo.main([str(photos), *model, "--json", str(photos / "one.png")]) == 2
    assert (photos / "one.png").read_bytes() == before


def test_a_model_that_fails_to_load_leaves_old_results_alone(demo, model, photos, tmp_path, capsys):
    lines = tmp_path / "words.jsonl"
    lines.write_text("old", encoding="utf-8")
    broken = tmp_path / "broken.pth"
    broken.write_bytes(b"no weights")
    argv = [str(photos), *model[:3], str(broken), "--json", str(lines)]
    assert demo.main(argv) == 2
    assert "broken.pth" in capsys.readouterr().err
    assert lines.read_text(encoding="utf-8") == "old"


@pytest.mark.parametrize(
    "wrong",
    [
        ["--weights", "x.pth"],
        ["--model", "quick", "--config-file", "x", "--weights", "y"],
        ["--model", "unknown"],
        ["--batch-size", "0"],
        ["--words", "a", "--threshold", "0.5"],
    ],
)
def test_wrong_options_are_refused(demo, wrong, capsys):
    with pytest.raises(SystemExit) as error:
        demo.main(["x.png", *wrong])
    assert error.value.code == 2
    assert capsys.readouterr().err


def test_given_words_are_found(demo, anchors, photos, tmp_path):
    words, lines = tmp_path / "words.txt", tmp_path / "found.jsonl"
    words.write_text("hill\n\n  way \n", encoding="utf-8")
    output = ["--output", str(tmp_path / "out"), "--json", str(lines)]
    for given, expected in (([str(words)], ["hill", "way"]), (["Hill", "hill"], ["Hill", "hill"])):
        assert demo.main([str(photos), *anchors, *output, "--words", *given]) == 0
        records = read_lines(lines)
        assert [r["texts"] for r in records] == [expected] * 3
        assert all(len(r["points"]) == len(r["point_scores"]) == 2 for r in records)
    assert len(list((tmp_path / "out").rglob("*.png"))) == 3


def test_a_label_file_gives_each_picture_its_own_words(demo, anchors, photos, tmp_path, capsys):
    size = {"height": 48, "width": 80}
    records = [
        {"file_name": "one.png", "texts": ["hill", "###"], "ignore": [False, True], **size},
        {"file_name": "more/one.png", "texts": ["way"], **size},
    ]
    labels = photos / "labels.jsonl"
    labels.write_text("\n".join(map(json.dumps, records)), encoding="utf-8")
    lines = tmp_path / "found.jsonl"
    argv = [os.path.relpath(photos), *anchors, "--json", str(lines), "--words", str(labels)]
    assert demo.main(argv) == 1
    assert [r["texts"] for r in read_lines(lines)] == [["way"], ["hill"]]
    assert "two.png: the label file of --words does not name it" in capsys.readouterr().err


def test_words_that_cannot_be_read_are_refused(demo, anchors, photos, tmp_path, capsys):
    for name, content in (("words.txt", b"\xff\xfe"), ("labels.jsonl", b"{}")):
        (tmp_path / name).write_bytes(content)
        assert demo.main([str(photos), *anchors, "--words", str(tmp_path / name)]) == 2
        assert name in capsys.readouterr().err
    assert demo.main([str(photos), *anchors, "--words", str(tmp_path / "gone.txt")]) == 2
