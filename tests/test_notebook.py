"""The notebook runs from its first cell to its last, with a small model and a few steps."""

import ast
import json
from pathlib import Path

import pytest
import torch
from detectron2.modeling import build_model

from wecromcl_d2.files import find_file
from wecromcl_d2.predictor import register_model, registry
from wecromcl_d2.tasks import load_config

NOTEBOOK = Path(__file__).resolve().parent.parent / "docs" / "find_your_words.ipynb"
MODEL = "notebook-anchors"
SMALLER = {
    'MODEL = "street-anchors"': f'MODEL = "{MODEL}"',
    "SCENES = 12": "SCENES = 4",
    "STEPS = 20": "STEPS = 2",
}


def cells():
    content = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in content if cell["cell_type"] == "code"]


def run_cell(source, names):
    """What a notebook would show below the cell, as PNG or text."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, str(NOTEBOOK), "exec"), names)
    if last is None:
        return None
    value = eval(compile(ast.Expression(last.value), str(NOTEBOOK), "eval"), names)
    return value._repr_png_() if hasattr(value, "_repr_png_") else value


@pytest.mark.trains
def test_every_cell_runs(tmp_path, monkeypatch, capsys):
    config = find_file("configs/quick/anchors.yaml")
    torch.manual_seed(0)
    torch.save({"model": build_model(load_config(config)).state_dict()}, tmp_path / "model.pth")
    monkeypatch.setattr(registry, "_MODELS", dict(registry._MODELS))
    register_model(MODEL, config.resolve(), tmp_path / "model.pth")
    monkeypatch.chdir(tmp_path)
    source = cells()
    for old, new in SMALLER.items():
        assert old in source[0]
        source[0] = source[0].replace(old, new)
    names = {}
    shown = [run_cell(cell, names) for cell in source]
    assert shown[1][:4] == shown[2][:4] == shown[-1][:4] == b"\x89PNG"
    assert "anchors on their word" in shown[5]
    said = capsys.readouterr().out
    assert "not there" in said and "sum 1.000" in said
    assert names["trained"].model is not names["finder"].model


def test_the_notebook_is_committed_without_results():
    for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]:
        assert not cell.get("outputs")
