"""Inputs of `wecromcl read` that are no image files: films and the standard input; and scales."""

import io
import json
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from tests.fake_spotter import paint
from wecromcl_d2.cli import find, inputs, read
from wecromcl_d2.data.images import ImageError
from wecromcl_d2.predictor import AnchorFinder, Spotter

WORDS = ("hill", "street", "way", "hill", "way")


@pytest.fixture
def film(tmp_path):
    """A film of a word a frame, stored without loss."""
    path = tmp_path / "film.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"FFV1"), 5, (80, 48))
    if not writer.isOpened():
        pytest.skip("this OpenCV has no FFV1 encoder")
    for word in WORDS:
        image = np.zeros((48, 80, 3), np.uint8)
        paint(image, word, 8, 16)
        writer.write(image[..., ::-1])
    writer.release()
    return path


def test_every_nth_frame_of_a_film_is_read(model, film, tmp_path):
    lines, drawn = tmp_path / "words.jsonl", tmp_path / "drawn"
    argv = [str(film), *model, "--every", "2", "--json", str(lines), "--output", str(drawn)]
    assert read.main([*argv, "--batch-size", "2"]) == 0
    records = [json.loads(line) for line in lines.read_text(encoding="utf-8").splitlines()]
    assert [r["file_name"] for r in records] == [f"film/{n:06}.png" for n in (0, 2, 4)]
    assert [r["texts"] for r in records] == [[WORDS[n]] for n in (0, 2, 4)]
    assert (drawn / "film" / "000004.png").is_file()


def test_frames_may_be_read_again_and_missing_ones_are_named(film):
    _, second, *_, last = inputs.collect_inputs([str(film)])
    for item in (last, second, last):
        assert item.read().shape == (48, 80, 3)
    beyond = inputs.Input(film, film, second.film, 99)
    with pytest.raises(ImageError, match="frame 99 cannot be decoded"):
        beyond.read()
    assert beyond.label == f"{film}, frame 99"


def test_a_film_that_is_none_ends_in_a_sentence(model, tmp_path, capsys):
    (tmp_path / "film.mp4").write_bytes(b"no film")
    assert read.main([str(tmp_path / "film.mp4"), *model]) == 2
    assert "OpenCV finds no frame in it" in capsys.readouterr().err


def test_an_image_on_the_standard_input_is_read(model, photos, monkeypatch, capsys):
    content = io.BytesIO((photos / "two.png").read_bytes())
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=content))
    assert read.main(["-", *model]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["file_name"], record["texts"]) == ("stdin", ["street"])


@pytest.mark.parametrize("wrong", [["--every", "0"], ["--scales"], ["--scales", "big"]])
def test_wrong_options_are_refused(wrong, capsys):
    with pytest.raises(SystemExit) as error:
        read.main(["x.png", *wrong])
    assert error.value.code == 2
    assert wrong[0] in capsys.readouterr().err


def test_scales_that_cannot_be_are_one_sentence(model, photos, capsys):
    for scales, message in (
        (["0", "1"], "scales is [0.0, 1.0]"),
        (["1", "2"], "reads at one scale"),
    ):
        assert read.main([str(photos / "one.png"), *model, "--scales", *scales]) == 2
        *_, line = capsys.readouterr().err.splitlines()
        assert line.startswith("wecromcl read: ") and message in line


def test_scales_reach_the_detector(anchors, photos, capsys):
    finder = AnchorFinder(anchors[1], anchors[3], scales=(0.5, 1))
    assert finder.model.pyramid == (0.5, 1.0)
    assert AnchorFinder(anchors[1], anchors[3]).model.pyramid == (1.0,)
    words = ["--words", "hill"]
    assert find.main([str(photos / "one.png"), *anchors, *words, "--scales", "0.5", "1"]) == 0
    assert json.loads(capsys.readouterr().out)["texts"] == ["hill"]


def test_the_spotter_has_a_key_of_its_own_for_scales():
    assert Spotter.pyramid_key == "MODEL.SRSTS_A.TEST.PYRAMID"
