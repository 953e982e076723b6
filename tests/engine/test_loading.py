"""Checkpoints that do not fit are refused by name, never loaded in part without a word."""

import pickle

import numpy as np
import pytest
import torch
from torch import nn

from wecromcl_d2.data.text import Charset
from wecromcl_d2.engine.loading import CheckedCheckpointer
from wecromcl_d2.layers.charset_state import CharsetState
from wecromcl_d2.tasks import load_config
from wecromcl_d2.weights_file import WeightsError


class Reader(nn.Module):
    """A model of two parts and an alphabet."""

    def __init__(self, characters="abc", width=4):
        super().__init__()
        self.backbone = nn.Linear(3, width)
        self.embedding = nn.Embedding(1 + len(characters), width)
        self.charset_state = CharsetState(Charset(characters))
        self.register_buffer("pixel_mean", torch.zeros(3), persistent=False)


def saved(path, model=None, **changes):
    """A checkpoint file; weights that are changed to None are left out."""
    state = (model or Reader()).state_dict() | changes
    torch.save({"model": {k: v for k, v in state.items() if v is not None}}, path)
    return str(path)


def load(path, model=None, *, partial=False, checkpointables=None):
    return CheckedCheckpointer(model or Reader(), partial=partial).load(
        path, checkpointables=checkpointables
    )


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.pth"


@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_whole_checkpoint_loads(path, prefix):
    source, target = Reader(), Reader()
    state = {prefix + name: value for name, value in source.state_dict().items()}
    torch.save({"model": state, "iteration": 7, "pixel_mean": torch.zeros(3)}, path)
    assert load(str(path), target)["iteration"] == 7
    assert torch.equal(target.backbone.weight, source.backbone.weight)


def test_files_from_before_alphabets_were_kept_load(path):
    load(saved(path, **{"charset_state.code_points": None, "pixel_mean": torch.ones(3)}))


MISFITS = {
    "another model": (
        dict.fromkeys(Reader().state_dict()) | {"encoder.weight": torch.zeros(2)},
        r"model\.pth does not fit the model: it holds no weight of the model",
    ),
    "a part": ({"backbone.weight": None}, r"1 of the model's are not in it, such as backbone\.w"),
    "more": ({"head.bias": torch.zeros(2)}, r"1 are not the model's, such as head\.bias; use"),
    "another width": (
        {"backbone.weight": torch.zeros(5, 3)},
        r"such as backbone\.weight, \(5, 3\) in the file and \(4, 3\) in the model",
    ),
    "not finite": (
        {"backbone.bias": torch.tensor([0, 0, float("nan"), 0])},
        r"model\.pth: backbone\.bias holds values that are not finite",
    ),
    "no tensor": ({"backbone.bias": "high"}, r"model\.pth holds other things.*'backbone\.bias'"),
}


@pytest.mark.parametrize(("changes", "said"), MISFITS.values(), ids=MISFITS)
def test_what_does_not_fit_is_said(path, changes, said):
    with pytest.raises(WeightsError, match=said):
        load(saved(path, **changes))


@pytest.mark.parametrize("may_be_part", [True, False])
@pytest.mark.parametrize("characters", ["abd", "abcd"])
def test_another_alphabet_is_refused_with_its_characters(path, characters, may_be_part):
    file = saved(path, Reader(characters))
    with pytest.raises(WeightsError, match=r"model\.pth does not fit.*only the checkpoint has 'd'"):
        load(file, partial=may_be_part, checkpointables=[])


def test_a_start_may_be_a_part_but_a_resume_is_whole(path):
    file = saved(path, **{"embedding.weight": None, "fc.bias": torch.zeros(2)})
    target = Reader()
    load(file, target, partial=True, checkpointables=[])
    found = torch.load(path, weights_only=True)["model"]["backbone.weight"]
    assert torch.equal(target.backbone.weight, found)
    with pytest.raises(WeightsError, match="such as embedding"):
        load(file, partial=True)


@pytest.mark.parametrize("name", ["another model", "another width", "not finite"])
def test_a_start_must_be_a_part_that_fits(path, name):
    changes, said = MISFITS[name]
    with pytest.raises(WeightsError, match=said):
        load(saved(path, **changes), partial=True, checkpointables=[])


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_file_that_was_cut_off_is_said_to_be_damaged(path, share):
    saved(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(WeightsError, match=r"model\.pth (is damaged|holds other things)"):
        load(str(path))


@pytest.mark.parametrize("content", [[torch.zeros(2)], {"model": [1.0]}, {"model": {}}])
def test_a_file_without_weights_is_said_to_be_one(path, content):
    torch.save(content, path)
    with pytest.raises(WeightsError, match=r"model\.pth holds"):
        load(str(path))


class Malice:
    def __reduce__(self):
        return (print, ("this was run",))


def test_code_is_never_run(tmp_path, capsys):
    for name in ("model.pkl", "model.pth"):
        path = tmp_path / name
        path.write_bytes(pickle.dumps({"model": {"weight": Malice()}}, protocol=2))
        with pytest.raises(WeightsError, match="perhaps code"):
            load(str(path))
    torch.save({"model": {"weight": Malice()}}, tmp_path / "model.pth")
    with pytest.raises(WeightsError, match="perhaps code"):
        load(str(tmp_path / "model.pth"))
    assert "this was run" not in capsys.readouterr().out


def test_detectron2s_pickles_of_arrays_load(tmp_path):
    path = tmp_path / "R-50.pkl"
    weight = np.arange(12, dtype=np.float32).reshape(4, 3)
    content = {
        "model": {"backbone.weight": weight, "stem.fc.weight": np.zeros(2, np.float32)},
        "__author__": "torchvision",
        "matching_heuristics": True,
    }
    path.write_bytes(pickle.dumps(content))
    target = Reader()
    load(str(path), target, partial=True, checkpointables=[])
    assert torch.equal(target.backbone.weight, torch.from_numpy(weight))


def test_a_base_that_is_not_there_names_its_file_and_where_it_is(tmp_path):
    own = tmp_path / "own.yaml"
    own.write_text('_BASE_: "configs/quick/anchors.yaml"\n', encoding="utf-8")
    with pytest.raises(FileNotFoundError) as error:
        load_config(own)
    said = str(error.value)
    assert said.startswith(f"{own}: its _BASE_ ")
    found = said.rpartition(", or as ")[2]
    own.write_text(f'_BASE_: "{found}"\n', encoding="utf-8")
    assert load_config(own).TASK == "anchors"
    own.write_text('_BASE_: "nowhere.yaml"\n', encoding="utf-8")
    with pytest.raises(FileNotFoundError, match=r"as it is reached from the file$"):
        load_config(own)
