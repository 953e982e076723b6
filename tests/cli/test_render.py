"""`wecromcl render`, from the command line to files."""

from pathlib import Path

import cv2
import pytest

from wecromcl_d2.cli.render import main
from wecromcl_d2.data.datasets import read_labels
from wecromcl_d2.data.synthetic import SceneRecipe, render


def test_it_renders_a_folder_and_a_contact_sheet(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sheet, folder = tmp_path / "sheet.png", tmp_path / "set"
    options = (
        "--count 3 --family words --size 32 96 --difficulty hard --seed 4 --columns 3 --zoom 1"
    )
    arguments = ["--output", str(folder), "--contact-sheet", str(sheet), "--no-truth"]
    assert main([*arguments, *options.split()]) == 0
    assert capsys.readouterr().out.splitlines() == [str(folder / "labels.jsonl"), str(sheet)]
    assert cv2.imread(str(sheet)).shape == (36, 300, 3)
    recipe = SceneRecipe(family="words", size=(32, 96), difficulty=0.75, seed=4)
    assert read_labels(folder / "labels.jsonl")[2]["texts"] == render(recipe, 2).texts


def test_it_explains_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--output", str(tmp_path / "set"), "--difficulty", "awful"]) == 2
    assert "difficulty 'awful' is unknown" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([])
    assert "nothing to write" in capsys.readouterr().err
