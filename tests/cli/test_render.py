"""`wecromcl render`, from the command line to files."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.data.street_assets import write_font, write_photo
from wecromcl_d2.cli import render as command
from wecromcl_d2.cli.render import main
from wecromcl_d2.data.datasets import read_labels
from wecromcl_d2.data.synthetic import Scene, SceneRecipe, StreetRecipe, render


def test_it_renders_a_folder_and_a_preview(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sheet, folder = tmp_path / "sheet.png", tmp_path / "set"
    options = "--count 3 --family words --size 32 96 --difficulty hard --seed 4 --columns 3"
    arguments = ["--output", str(folder), "--preview", str(sheet), "--no-truth"]
    assert main([*arguments, *options.split()]) == 0
    assert capsys.readouterr().out.splitlines() == [str(folder / "labels.jsonl"), str(sheet)]
    assert cv2.imread(str(sheet)).shape == (32 + 2 * 4, 3 * 96 + 4 * 4, 3)
    recipe = SceneRecipe(family="words", size=(32, 96), difficulty=0.75, seed=4)
    assert read_labels(folder / "labels.jsonl")[2]["texts"] == render(recipe, 2).texts


def test_it_renders_street_scenes_and_names_what_it_leaves_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fonts, photos, words = tmp_path / "fonts", tmp_path / "photos", tmp_path / "words.txt"
    fonts.mkdir()
    photos.mkdir()
    write_font(fonts / "whole.ttf", "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", "Whole")
    (fonts / "broken.ttf").write_bytes(b"broken")
    write_photo(photos / "small.png", (48, 48), 0)
    words.write_text("alpha\t2\nbeta\t1\nga\u2014mma\n", encoding="utf-8")
    folder = tmp_path / "set"
    sources = ["--fonts", str(fonts), "--backgrounds", str(photos), "--words", str(words)]
    options = ["--street", "--family", "words", "--size", "64", "128", "--count", "4"]
    assert main(["--output", str(folder), *sources, *options]) == 1
    lines = capsys.readouterr().err.splitlines()
    said = [line for line in lines if line.startswith("wecromcl render:")]
    assert len(said) == 3
    assert "broken.ttf is no font that can be opened" in said[0]
    assert "words.txt: 1 words have characters that no font shows" in said[1]
    assert "1 of 1 background images are smaller than the scenes of 128 x 64" in said[2]
    recipe = StreetRecipe(
        family="words", size=(64, 128), fonts=(str(fonts),), backgrounds=(str(photos),),
        words=str(words),
    )  # fmt: skip
    records = read_labels(folder / "labels.jsonl")
    assert [record["texts"] for record in records] == [render(recipe, i).texts for i in range(4)]


def test_preview_shows_outlines_and_words() -> None:
    image = np.full((20, 60, 3), 200, np.uint8)
    square = np.array([[5.0, 5.0], [25.0, 5.0], [25.0, 15.0], [5.0, 15.0]])
    scene = Scene(image, ["word"], [square], np.zeros((20, 60), np.uint8), 95)
    plain = command._tile(scene, 2, False)
    assert plain.shape == (40, 120, 3)
    assert (plain > 190).all()
    drawn = command._tile(scene, 2, True)
    assert drawn.shape[0] > 40
    green = drawn[..., 1].astype(int) - drawn[..., 0] > 60
    assert green[10:30, 48:52].any()
    assert not green[14:26, 20:40].any()
    assert drawn[40:].max() > 150


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        ("--output set --difficulty awful", 2, "difficulty 'awful' is unknown"),
        ("--output set --street --fonts missing", 2, "missing is no folder: name one that exists"),
        ("--output set --street --words missing.txt", 2, "missing.txt"),
        ("", None, "nothing to write"),
        ("--output set --fonts fonts", None, "--fonts is for street scenes only"),
        ("--output set --street --max-size 9 9", None, "--max-size is for plain scenes only"),
        ("--preview a.png --count 0", None, "--count is 0"),
    ],
)
def test_it_explains_bad_input(
    options: str,
    status: int | None,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    if status is None:
        with pytest.raises(SystemExit):
            main(options.split())
    else:
        assert main(options.split()) == status
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_preview_checks_its_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "imencode", lambda *args: (False, None))
    with pytest.raises(AssertionError):
        main(["--preview", str(tmp_path / "x.png"), "--count", "1"])
    assert not (tmp_path / "x.png").exists()
