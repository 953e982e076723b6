"""Operations of a whole training, and of inference, by hand and against the parts."""

import json

import pytest
import torch
import torch.nn.functional as F

from tests.engine import toy
from wecromcl_d2.cli import benchmark, work
from wecromcl_d2.cli.profiler import WorkCounter


def flop_of_attention(*, backward):
    """FLOP of 2 x 4 heads, 5 queries, 7 keys, 8 channels on the CPU."""
    q, k, v = (torch.ones(2, 4, length, 8, requires_grad=backward) for length in (5, 7, 7))
    counter = WorkCounter()
    with counter:
        found = F.scaled_dot_product_attention(q, k, v)
        if backward:
            found.sum().backward()
    return counter.flop


def test_fused_attention_is_counted_on_a_cpu():
    one = 2 * 2 * 4 * 5 * 7 * 8  # one of its products
    assert flop_of_attention(backward=False) == 2 * one
    # Backward four products, and the weights again.
    assert flop_of_attention(backward=True) == 7 * one


@pytest.fixture
def cfg(tmp_path):
    toy.render(tmp_path)
    return toy.toy_config(tmp_path)


def test_a_training_is_counted_by_phase(cfg):
    found = work.work_of_training(cfg)
    words, scenes = found["phases"]
    assert (words["datasets"], words["images"], words["iterations"]) == (["toy_words"], 16, 4)
    assert (scenes["datasets"], scenes["images"], scenes["iterations"]) == (["toy_scenes"], 12, 6)
    total = 4 * words["step_gflop"] + 6 * scenes["step_gflop"]
    assert found["tflop"] == pytest.approx(total / 1e3)
    # Six images of 32 x 64 and four of 64 x 64.
    assert 0 < words["step_gflop"] < scenes["step_gflop"] < 2 * words["step_gflop"]
    assert 100 < found["memory_mb"] < 20000


def test_inference_is_counted_by_image(cfg, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(work, "load_config", lambda file, opts: cfg)
    output = tmp_path / "work.json"
    argv = ["work", "inference", "--config-file", "x.yaml", "--images", "3", "--output"]
    assert benchmark.main([*argv, str(output)]) == 0
    found = json.loads(output.read_text(encoding="utf-8"))
    assert found["images"] == 3
    training = work.work_of_training(cfg)["phases"][1]["step_gflop"]
    # A step of four images goes forward, and backward with about two forward passes.
    assert 0.5 < training / (4 * 3 * found["image_gflop"]) < 2
    assert "an image: 0." in capsys.readouterr().out
