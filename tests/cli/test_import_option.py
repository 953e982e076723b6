"""`--import MODULE`: own registrations, in the command and in the processes that it starts."""

import os
import subprocess
import sys

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from wecromcl_d2.cli.visualize import main
from wecromcl_d2.own_modules import VARIABLE, add_own_module

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
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield "own_words"
    DatasetCatalog.remove("imported_words")
    MetadataCatalog.remove("imported_words")
    del sys.modules["own_words"]


def test_the_module_is_imported_and_its_dataset_known(own_module, capsys):
    command = ["labels", "--dataset", "imported_words", "--import", own_module, "--output", "drawn"]
    assert main(command) == 2
    assert "labels.jsonl: cannot be read" in capsys.readouterr().err


def test_processes_that_a_command_starts_import_it_too(own_module):
    add_own_module(own_module)
    code = (
        "import wecromcl_d2; from detectron2.data import DatasetCatalog\n"
        "print('imported_words' in DatasetCatalog.list())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


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
