"""The training command with --eval-only: whole weights or an error."""

import pytest
import torch
from detectron2.modeling import build_model

from wecromcl_d2.cli import train
from wecromcl_d2.cli.status import WRONG_COMMAND
from wecromcl_d2.stage1.trainer import AnchorTrainer
from wecromcl_d2.tasks import load_config
from wecromcl_d2.weights_file import WeightsError

ANCHORS, SPOTTER = "configs/quick/anchors.yaml", "configs/quick/srsts_a.yaml"


def evaluate(tmp_path, config, weights, *opts):
    output = ["OUTPUT_DIR", str(tmp_path / "output"), "DATASETS.TEST", "()"]
    arguments = ["--config-file", config, "--eval-only", "--weights", str(weights)]
    args = train.parse_args([*arguments, *output, *opts])
    return train.run(args, train.read_config(args))


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


@pytest.mark.parametrize(
    ("opts", "reason"),
    [
        (["SOLVER.MAX_ITERR", "3"], "Non-existent key: SOLVER.MAX_ITERR"),
        (["SOLVER.MAX_ITER", "many"], "SOLVER.MAX_ITER"),
        (["SOLVER.MAX_ITER"], "odd length"),
        (["MODEL", "3"], "MODEL"),
        (["MODEL.WEIGHTS", "gone.pth"], "there is no file 'gone.pth'; correct MODEL.WEIGHTS"),
        (["MODEL.BACKBONE.WEIGHTS", "x.pkl"], "no file 'x.pkl'; correct MODEL.BACKBONE.WEIGHTS"),
        (["TASK", "reading"], "TASK"),
        (["MODEL.DEVICE", "abacus"], "MODEL.DEVICE 'abacus'"),
        (["DATASETS.TEST", "('synth_scene_test',)"], "registered one (synth_scenes_test"),
        (["SOLVER.CURRICULUM.DATASETS", "[['absent']]"], "there is no dataset 'absent'"),
    ],
)
def test_a_wrong_override_ends_in_one_line(tmp_path, capsys, opts, reason):
    own = ["OUTPUT_DIR", str(tmp_path / "output"), *opts]
    assert train.main(["--config-file", ANCHORS, "--num-gpus", "2", *own]) == WRONG_COMMAND
    assert_one_line(capsys, reason)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("MODEL: [1\n", "line 1"),
        ("MODEL: 3\n", "own.yaml"),
        ("MODEL:\n  WEGHTS: a\n", "MODEL.WEGHTS"),
        ("only words\n", "own.yaml is no config: it has no keys"),
        ("_BASE_: absent.yaml\n", "absent.yaml"),
    ],
)
def test_a_wrong_config_file_ends_in_one_line(tmp_path, capsys, text, reason):
    path = tmp_path / "own.yaml"
    path.write_text(text, encoding="utf-8")
    assert train.main(["--config-file", str(path)]) == WRONG_COMMAND
    assert_one_line(capsys, reason)


def assert_one_line(capsys, reason):
    message = capsys.readouterr().err
    assert message.startswith("wecromcl train: ") and message.count("\n") == 1
    assert reason in message and len(message) < 1000


def test_an_error_of_the_evaluation_shows_its_trace(tmp_path, monkeypatch, caplog, anchors):
    def broken(cfg, model):
        raise ValueError("a defect")

    monkeypatch.setattr(AnchorTrainer, "test", broken)
    with pytest.raises(ValueError, match="a defect"):
        evaluate(tmp_path, ANCHORS, anchors)
    assert "in broken" in caplog.text
