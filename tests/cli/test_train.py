"""The training command with --eval-only: whole weights or an error."""

import pytest
import torch
from detectron2.modeling import build_model

from wecromcl_d2.cli import train
from wecromcl_d2.tasks import load_config
from wecromcl_d2.weights_file import WeightsError

ANCHORS, SPOTTER = "configs/quick/anchors.yaml", "configs/quick/srsts_a.yaml"


def evaluate(tmp_path, config, weights, *opts):
    output = ["OUTPUT_DIR", str(tmp_path / "output"), "DATASETS.TEST", "()"]
    arguments = ["--config-file", config, "--eval-only", "--weights", str(weights)]
    return train.run(train.parse_args([*arguments, *output, *opts]))


@pytest.fixture
def anchors(tmp_path):
    path = tmp_path / "anchors.pth"
    torch.save({"model": build_model(load_config(ANCHORS)).state_dict()}, path)
    return path


def test_own_weights_are_taken(tmp_path, anchors):
    assert evaluate(tmp_path, ANCHORS, anchors) == {}


def test_weights_of_another_model_are_refused(tmp_path, anchors):
    with pytest.raises(WeightsError, match=r"anchors\.pth does not fit the model.*config"):
        evaluate(tmp_path, SPOTTER, anchors)


def test_weights_of_another_alphabet_are_refused_by_name(tmp_path, anchors):
    characters = tmp_path / "charset.txt"
    characters.write_text("\n".join("0123456789abcdefghijklmnopqrstuvwxy-"), encoding="utf-8")
    with pytest.raises(WeightsError, match=r"anchors\.pth.*another alphabet.*'z'.*'-'"):
        evaluate(tmp_path, ANCHORS, anchors, "MODEL.TEXT_ENCODER.CHARSET", str(characters))


def test_nothing_to_evaluate_is_said(tmp_path):
    with pytest.raises(ValueError, match=r"name a checkpoint by --weights"):
        evaluate(tmp_path, ANCHORS, "")
