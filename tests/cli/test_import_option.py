"""`--import MODULE`: own registrations, in the command and in the processes that it starts."""

import os
import subprocess
import sys

import pytest

from wecromcl_d2.cli.visualize import main
from wecromcl_d2.own_modules import VARIABLE

MODULE = """
from wecromcl_d2 import register_labels

register_labels("imported_words", "{folder}/labels.jsonl")
"""


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    """A module in the working directory that registers a dataset without a label file."""
    (tmp_path / "own_words.py").write_text(MODULE.format(folder=tmp_path), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(VARIABLE, "")
    return "own_words"


def run(code, folder):
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr


def test_the_module_is_imported_and_its_dataset_known(own_module, tmp_path):
    code = (
        "from wecromcl_d2.cli.visualize import main\n"
        f"main(['labels', '--dataset', 'imported_words', '--import', '{own_module}', "
        "'--output', 'drawn'])\n"
    )
    assert "labels.jsonl: cannot be read" in run(code, tmp_path)


def test_processes_that_a_command_starts_import_it_too(own_module, tmp_path):
    code = (
        "from wecromcl_d2.own_modules import add_own_module\n"
        "import subprocess, sys\n"
        f"add_own_module('{own_module}')\n"
        "subprocess.run([sys.executable, '-c', 'import wecromcl_d2; from detectron2.data import "
        'DatasetCatalog; print("imported_words" in DatasetCatalog.list())\'])\n'
    )
    assert run(code, tmp_path) == "True\n"


def test_a_module_that_is_not_there_is_one_sentence(capsys, monkeypatch):
    monkeypatch.setenv(VARIABLE, "")
    with pytest.raises(SystemExit) as end:
        main(["labels", "--dataset", "x", "--import", "nowhere.at_all", "--output", "drawn"])
    assert end.value.code == 2
    assert "--import nowhere.at_all: No module named 'nowhere'" in capsys.readouterr().err
    assert not os.environ[VARIABLE]


def test_an_unknown_dataset_is_one_sentence(tmp_path, capsys):
    assert main(["labels", "--dataset", "nowhere", "--output", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("wecromcl visualize: there is no dataset 'nowhere'")
    assert error.count("\n") == 1
