"""What the console of a training shows of its config and device."""

import logging

import pytest
import torch
from detectron2.engine import default_setup

from wecromcl_d2.cli import console, train
from wecromcl_d2.config import default_device
from wecromcl_d2.tasks import load_config

QUICK = "configs/quick/anchors.yaml"


def test_the_keys_that_differ_from_the_defaults_are_shown():
    own = console.own_keys(load_config(QUICK, ["SEED", "7", "SOLVER.STEPS", "(30000,)"]))
    assert (own["SEED"], own["MODEL.TEXT_ENCODER.CHARSET"]) == (7, "alnum")
    assert "SOLVER.STEPS" not in own and "MODEL.RPN.IN_FEATURES" not in own
    assert len(own) < 60


@pytest.fixture
def loggers():
    """Removes what a training adds to the loggers."""
    names = ("detectron2", "fvcore", "wecromcl_d2")
    before = {name: list(logging.getLogger(name).handlers) for name in names}
    yield
    for name, handlers in before.items():
        logging.getLogger(name).handlers[:] = handlers


def test_detectron2_writes_its_config_to_the_log_alone(tmp_path, capsys, loggers):
    cfg = load_config(QUICK, ["OUTPUT_DIR", str(tmp_path)])
    with console.brief_console(cfg.OUTPUT_DIR):
        default_setup(cfg, train.parse_args(["--config-file", QUICK]))
        logging.getLogger("detectron2").warning("a warning")
    logging.getLogger("detectron2").info("after")
    shown = capsys.readouterr().out
    assert "a warning" in shown and "after" in shown
    assert "ROI_HEADS" not in shown and shown.count("\n") == 2
    assert "ROI_HEADS" in (tmp_path / "log.txt").read_text(encoding="utf-8")


def test_a_gpu_is_taken_where_there_is_one(monkeypatch):
    for there, device in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        assert default_device() == device
        assert device == load_config(QUICK).MODEL.DEVICE
        assert device == load_config("configs/stage1/icdar2015.yaml").MODEL.DEVICE
        assert device == load_config(QUICK, ["MODEL.DEVICE", "cuda"]).MODEL.DEVICE
        assert load_config(QUICK, ["MODEL.DEVICE", "cpu"]).MODEL.DEVICE == "cpu"


@pytest.mark.parametrize(
    ("there", "reason"), [(True, "as MODEL.DEVICE says"), (False, "since there is no GPU")]
)
def test_the_console_says_why_a_training_runs_on_the_cpu(monkeypatch, there, reason):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    said = console.describe_run(load_config(QUICK, ["MODEL.DEVICE", "cpu", "SEED", "7"]))
    assert said.splitlines()[0].startswith("running on the CPU, " + reason)
    assert "\n  SEED 7" in said
