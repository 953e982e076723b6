import logging
import pickle

import numpy as np
import pytest
import torch
from detectron2.checkpoint import DetectionCheckpointer, PeriodicCheckpointer
from detectron2.config import get_cfg
from detectron2.modeling import build_backbone
from torch import nn

from . import DATA, FLAVOURS
from .toy import Toy


class Wrapped(nn.Module):
    """A model whose backbone's weights have a prefix that checkpoints lack."""

    def __init__(self, backbone=None):
        super().__init__()
        self.backbone = backbone or nn.ModuleDict({"conv": nn.Conv2d(1, 2, 1)})
        self.register_buffer("pixel_mean", torch.zeros(1), persistent=True)


@pytest.fixture
def logs(caplog):
    loggers = [logging.getLogger(name) for name in ("detectron2", "fvcore")]
    for logger in loggers:
        logger.addHandler(caplog.handler)
    caplog.set_level(logging.INFO)
    yield caplog
    for logger in loggers:
        logger.removeHandler(caplog.handler)


def checkpointer(toy, folder=""):
    state = {"optimizer": toy.optimizer, "scheduler": toy.scheduler}
    return DetectionCheckpointer(toy.model, str(folder), **state)


@pytest.mark.trains
@pytest.mark.parametrize("flavour", FLAVOURS)
def test_a_training_continues_from_either_packages_checkpoint(flavour):
    straight, resumed = Toy(), Toy()
    losses = straight.train(8)
    rest = checkpointer(resumed).load(str(DATA / f"checkpoint_{flavour}.pth"))
    assert rest["iteration"] == 4
    assert resumed.scheduler.last_epoch == 5
    assert resumed.train(3) == pytest.approx(losses[5:], rel=1e-5)
    assert resumed.scheduler.get_last_lr() == pytest.approx(straight.scheduler.get_last_lr())
    for actual, expected in zip(
        resumed.optimizer.state.values(), straight.optimizer.state.values(), strict=True
    ):
        torch.testing.assert_close(actual["momentum_buffer"], expected["momentum_buffer"])


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_checkpoint_structure(flavour):
    stored = torch.load(DATA / f"checkpoint_{flavour}.pth", weights_only=True)
    assert set(stored) == {"model", "optimizer", "scheduler", "iteration"}
    assert list(stored["model"]) == list(Toy().model.state_dict())
    assert set(stored["scheduler"]) == {"base_lrs", "last_epoch"}
    groups = stored["optimizer"]["param_groups"]
    assert [group["params"] for group in groups] == [[0, 1, 2], [3, 4]]


def test_save_marks_the_last_checkpoint_and_resume_finds_it(tmp_path):
    toy = Toy()
    saver = checkpointer(toy, tmp_path)
    assert not saver.has_checkpoint()
    periodic = PeriodicCheckpointer(saver, period=2, max_iter=5)
    for iteration in range(5):
        toy.train(1)
        periodic.step(iteration)
    names = sorted(path.name for path in tmp_path.glob("*.pth"))
    assert names == ["model_0000001.pth", "model_0000003.pth", "model_final.pth"]
    assert (tmp_path / "last_checkpoint").read_text(encoding="utf-8") == "model_final.pth"
    other = Toy()
    assert checkpointer(other, tmp_path).resume_or_load("", resume=True)["iteration"] == 4
    assert other.scheduler.last_epoch == 5
    torch.testing.assert_close(other.model.state_dict(), toy.model.state_dict())


def test_without_resume_only_the_weights_load(tmp_path):
    fresh = Toy()
    checkpointer(fresh).resume_or_load(str(DATA / "checkpoint_real.pth"), resume=False)
    assert fresh.scheduler.last_epoch == 0
    assert not fresh.optimizer.state
    stored = torch.load(DATA / "checkpoint_real.pth", weights_only=True)["model"]
    torch.testing.assert_close(fresh.model.state_dict(), stored)


def test_no_path_and_missing_file():
    model = nn.Linear(1, 1)
    before = model.weight.clone()
    assert DetectionCheckpointer(model).load("") == {}
    assert torch.equal(model.weight, before)
    with pytest.raises(AssertionError, match="nowhere"):
        DetectionCheckpointer(model).load("nowhere.pth")


def test_nothing_is_saved_without_permission(tmp_path):
    DetectionCheckpointer(nn.Linear(1, 1), str(tmp_path), save_to_disk=False).save("model")
    DetectionCheckpointer(nn.Linear(1, 1)).save("model")
    assert not list(tmp_path.iterdir())


def save(path, content):
    torch.save(content, path)
    return str(path)


WEIGHTS = {"conv.weight": torch.full((2, 1, 1, 1), 7.0), "conv.bias": torch.ones(2)}


def test_a_bare_state_dict_and_the_query(tmp_path, logs):
    path = save(tmp_path / "weights.pth", WEIGHTS)
    model = Wrapped()
    DetectionCheckpointer(model).load(path)
    assert (model.backbone["conv"].weight != 7).all()
    assert "backbone.conv" in logs.text
    logs.clear()
    DetectionCheckpointer(model).load(path + "?matching_heuristics=True")
    assert (model.backbone["conv"].weight == 7).all()
    assert "pixel_mean" not in logs.text
    with pytest.raises(ValueError, match="surprise"):
        DetectionCheckpointer(model).load(path + "?surprise=1")


def test_matching_takes_the_longest_suffix_and_skips_other_shapes(tmp_path):
    extra = {"weight": torch.zeros(2, 1, 1, 1), "conv.bias": torch.ones(3)}
    path = save(tmp_path / "weights.pth", {"model": {**WEIGHTS, **extra}})
    model = Wrapped()
    bias = model.backbone["conv"].bias.clone()
    DetectionCheckpointer(model).load(path + "?matching_heuristics=True")
    assert (model.backbone["conv"].weight == 7).all()
    assert torch.equal(model.backbone["conv"].bias, bias)


def test_matching_compares_whole_parts_of_names(tmp_path):
    path = save(tmp_path / "weights.pth", {"v.weight": torch.zeros(2, 1, 1, 1)})
    model = Wrapped()
    before = model.backbone["conv"].weight.clone()
    DetectionCheckpointer(model).load(path + "?matching_heuristics=True")
    assert torch.equal(model.backbone["conv"].weight, before)


def test_ambiguous_names_are_refused(tmp_path):
    path = save(tmp_path / "weights.pth", WEIGHTS)
    model = nn.ModuleDict({"a": Wrapped(), "b": Wrapped()})
    with pytest.raises(ValueError, match=r"(?i)cannot match|fits both"):
        DetectionCheckpointer(model).load(path + "?matching_heuristics=True")


def test_weights_of_another_shape_are_skipped(tmp_path, logs):
    path = save(tmp_path / "a.pth", {"weight": torch.ones(3, 3), "bias": torch.full((1,), 5.0)})
    model = nn.Linear(1, 1)
    DetectionCheckpointer(model).load(path)
    assert model.bias.item() == 5
    assert "weight" in logs.text


def test_batch_norm_weights_load_into_frozen_batch_norm(tmp_path):
    cfg = get_cfg()
    cfg.MODEL.RESNETS.DEPTH = 18
    cfg.MODEL.RESNETS.RES2_OUT_CHANNELS = 64
    cfg.MODEL.RESNETS.OUT_FEATURES = ["res2"]
    frozen = build_backbone(cfg)
    cfg.MODEL.RESNETS.NORM = "BN"
    path = save(tmp_path / "bn.pth", {"model": build_backbone(cfg).state_dict()})
    loader = DetectionCheckpointer(frozen)
    reports = []
    loader._log_incompatible_keys = reports.append
    loader.load(path)
    assert reports[0].missing_keys == []
    assert reports[0].incorrect_shapes == []
    assert len(reports[0].unexpected_keys) == 5
    assert all(name.endswith("num_batches_tracked") for name in reports[0].unexpected_keys)


def small_resnet():
    cfg = get_cfg()
    cfg.MODEL.RESNETS.OUT_FEATURES = ["res2"]
    return build_backbone(cfg)


def caffe2_name(name):
    """Name that a weight of our ResNet has in Caffe2's files."""
    caffe2 = name.replace("stem.conv1.norm", "res_conv1_bn").replace("stem.conv1", "conv1")
    for ours, theirs in {
        "shortcut": "branch1",
        "conv1": "branch2a",
        "conv2": "branch2b",
        "conv3": "branch2c",
    }.items():
        if name.startswith("res"):
            caffe2 = caffe2.replace(ours, theirs)
    endings = {".norm.weight": "_bn_s", ".norm.bias": "_bn_b", ".weight": "_w", ".bias": "_b"}
    endings |= {"_bn.weight": "_bn_s", "_bn.bias": "_bn_b"}
    for ours, theirs in endings.items():
        if caffe2.endswith(ours):
            caffe2 = caffe2.removesuffix(ours) + theirs
    return caffe2.replace(".", "_")


@pytest.mark.parametrize("blobs", [True, False])
def test_caffe2_names(tmp_path, blobs):
    model = small_resnet()
    names = [name for name in model.state_dict() if "running" not in name]
    assert caffe2_name("res2.0.conv1.norm.weight") == "res2_0_branch2a_bn_s"
    assert caffe2_name("stem.conv1.weight") == "conv1_w"
    weights = {
        caffe2_name(name): np.full(model.state_dict()[name].shape, i, np.float32)
        for i, name in enumerate(names)
    }
    assert "res_conv1_bn_b" in weights
    weights["conv1_w_momentum"] = np.zeros((1,), np.float32)
    path = tmp_path / "caffe2.pkl"
    path.write_bytes(pickle.dumps({"blobs": weights} if blobs else weights))
    DetectionCheckpointer(model).load(str(path))
    state = model.state_dict()
    assert [state[name].unique().tolist() for name in names] == [[i] for i in range(len(names))]


def test_detectron2_pickles_need_no_conversion(tmp_path):
    weights = {"weight": np.full((1, 1), 3, np.float32), "bias": np.ones(1, np.float32)}
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps({"model": weights, "__author__": "us"}))
    model = nn.Linear(1, 1)
    DetectionCheckpointer(model).load(str(path))
    assert (model.weight.item(), model.bias.item()) == (3, 1)
