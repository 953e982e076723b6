"""`wecromcl read --bulk` over folders and tar files, interrupted and continued."""

import json
import re
import tarfile

import numpy as np
import pytest
from PIL import Image

from tests.fake_spotter import paint
from wecromcl_d2.cli import benchmark, bulk, read, reading_speed
from wecromcl_d2.cli.status import DONE, INTERRUPTED, LOSSES, WRONG_COMMAND

WORDS = ["hill", "street", "way", "river", "lane", "park", "gate"]


@pytest.fixture
def folder(tmp_path):
    """Seven images of a word each, in the order of `WORDS`, and one that is damaged."""
    folder = tmp_path / "images"
    (folder / "b").mkdir(parents=True)
    for number, word in enumerate(WORDS):
        image = np.zeros((48, 80, 3), np.uint8)
        paint(image, word, 8, 16)
        place = "b" if number == 3 else "."
        Image.fromarray(image).save(folder / place / f"{'abcdefg'[number]}{number}.png")
    (folder / "c.jpg").write_bytes(b"no image")
    (folder / "notes.txt").write_text("no image", encoding="utf-8")
    return folder


NAMES = ["a0.png", "b/d3.png", "b1.png", "c.jpg", "c2.png", "e4.png", "f5.png", "g6.png"]
TEXTS = [["hill"], ["river"], ["street"], [], ["way"], ["lane"], ["park"], ["gate"]]


def lines_of(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_lines_come_in_order_and_damage_has_a_line(model, folder, tmp_path, capsys):
    lines = tmp_path / "words.jsonl"
    argv = [str(folder), *model, "--bulk", "--json", str(lines), "--batch-size", "3"]
    assert read.main(argv) == LOSSES
    assert [r["file_name"] for r in lines_of(lines)] == NAMES
    assert [r["texts"] for r in lines_of(lines)] == TEXTS
    assert "c.jpg" in lines_of(lines)[3]["problem"]
    assert "7 images done, 1 skipped" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "words.jsonl"]


@pytest.mark.parametrize("rest", [b"", b"{}\n", b'{"file_name": "b/d3.p'])
def test_it_continues_where_it_was_interrupted(model, folder, tmp_path, monkeypatch, capsys, rest):
    """Of what stands behind the last whole batch of three nothing is kept."""
    whole, lines = tmp_path / "whole.jsonl", tmp_path / "words.jsonl"
    options = [str(folder), *model, "--bulk", "--batch-size", "3", "--json"]
    read.main([*options, str(whole)])
    decode, decoded = bulk._decode, []

    def interrupted(path):
        decoded.append(path)
        if path.endswith("e4.png"):
            raise KeyboardInterrupt
        return decode(path)

    monkeypatch.setattr(bulk, "_decode", interrupted)
    assert read.main([*options, str(lines)]) == INTERRUPTED
    assert "continues after 3 images" in capsys.readouterr().err
    assert not lines.exists()
    part = tmp_path / "words.jsonl.part"
    part.write_bytes(part.read_bytes() + rest)
    decoded.clear()
    monkeypatch.setattr(bulk, "_decode", lambda path: (decoded.append(path), decode(path))[1])
    assert read.main([*options, str(lines)]) == LOSSES
    assert sorted(path.removeprefix(f"{folder}/") for path in decoded) == sorted(NAMES[3:])
    assert lines.read_bytes() == whole.read_bytes()


def test_other_settings_or_images_are_refused(model, folder, tmp_path, monkeypatch, capsys):
    lines = tmp_path / "words.jsonl"
    argv = [str(folder), *model, "--bulk", "--json", str(lines), "--batch-size", "2"]
    decode = bulk._decode

    def interrupted(path):
        if path.endswith("e4.png"):
            raise KeyboardInterrupt
        return decode(path)

    monkeypatch.setattr(bulk, "_decode", interrupted)
    assert read.main(argv) == INTERRUPTED
    monkeypatch.undo()
    assert read.main([*argv, "--threshold", "0.9"]) == WRONG_COMMAND
    assert "is of a run with another threshold" in capsys.readouterr().err
    (folder / "a0.png").rename(folder / "a1.png")
    assert read.main(argv) == WRONG_COMMAND
    assert "line 1 is of 'a0.png', in whose place is 'a1.png' now" in capsys.readouterr().err


def test_tar_files_are_read_in_their_order(model, folder, tmp_path):
    names = ["g6.png", "a0.png", "b/d3.png"]
    for number, few in enumerate((names[:2], names[2:])):
        with tarfile.open(tmp_path / f"{number}.tar", "w") as shard:
            for name in (*few, "notes.txt"):
                shard.add(folder / name, name if name in names else f"{number}.txt")
    lines = tmp_path / "words.jsonl"
    shards = str(tmp_path / "{0..1}.tar")
    assert read.main([shards, *model, "--bulk", "--json", str(lines)]) == DONE
    assert [r["file_name"] for r in lines_of(lines)] == names
    assert [r["texts"] for r in lines_of(lines)] == [["gate"], ["hill"], ["river"]]


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--bulk", "images"], "--bulk writes the lines of --json"),
        (["--bulk", "film.mp4", "--json", "x.jsonl", "--every", "5"], "--every 5 is for films"),
        (["--bulk", "film.MP4", "--json", "x.jsonl"], "film.MP4 is a film, which --bulk"),
        (["--bulk", "missing", "--json", "x.jsonl"], "missing: no such file or folder"),
        (["--bulk", "{0..3}.tar", "--json", "x.jsonl"], "0.tar does not exist"),
        (["--bulk", "empty", "--json", "x.jsonl"], "there is no image in empty"),
    ],
)
def test_wrong_commands_are_explained(model, tmp_path, monkeypatch, capsys, argv, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    try:
        status = read.main([*argv, *model])
    except SystemExit as stop:
        status = stop.code
    assert status == WRONG_COMMAND
    assert said in capsys.readouterr().err


def test_the_speed_is_compared_with_the_bare_model(model, folder, capsys):
    assert benchmark.main(["read", str(folder / "b"), *model]) == DONE
    shown = capsys.readouterr().out
    assert shown.count("1 images: bare model") == reading_speed.TURNS
    assert float(re.search(r"median ratio (\S+), by CPU time", shown)[1]) > 0
