"""The benchmark runs each case in a process of its own and writes what it measured."""

import json
from argparse import Namespace
from multiprocessing import get_context

import pytest
import torch
from torch import nn

from wecromcl_d2.cli import benchmark
from wecromcl_d2.cli.profiler import PartProfiler

SMALL = ("--config-file", "configs/quick/anchors.yaml", "--warmup", "0", "--repeat", "2")


@pytest.fixture
def measure(tmp_path, capsys):
    """Runs the command and returns what it wrote and what it printed."""

    def run(what, *options):
        output = tmp_path / "measured.json"
        assert benchmark.main([what, *SMALL, *options, "--output", str(output)]) == 0
        return json.loads(output.read_text(encoding="utf-8")), capsys.readouterr().out

    return run


@pytest.fixture
def forked_cases(monkeypatch):
    """Fork the processes of the cases, which have all imports then; elsewhere they are spawned."""
    monkeypatch.setattr(benchmark, "get_context", lambda method: get_context("fork"))


def assert_sound(case):
    assert 50 < case["peak_memory_mb"] < 5000
    for part in case["parts"].values():
        assert 0 < part["fastest_s"] <= part["median_s"] <= part["slowest_s"]
        # Speeds are written with one decimal.
        assert part["least_s"] * case["product_gflop_per_s"] == pytest.approx(part["gflop"], 0.05)
        assert part["moving_s"] * case["copy_gb_per_s"] == pytest.approx(part["gb"], 0.05)
        assert part["gb"] > 0


@pytest.mark.usefixtures("forked_cases")
def test_training_by_part_and_batch(measure):
    found, printed = measure(
        *("train", "--batch", "1", "2", "--size", "32", "48", "--negatives", "2"),
    )
    assert [case["batch"] for case in found["cases"]] == [1, 2]
    for case in found["cases"]:
        assert_sound(case)
        parts = case["parts"]
        assert {"step", "step: forward", "step: backward", "step: update"} <= parts.keys()
        inner = ("step: backbone", "step: image_encoder", "step: text_encoder")
        assert sum(parts[name]["fastest_s"] for name in inner) < parts["step"]["slowest_s"]
        forward, backward = (parts[f"step: {name}"] for name in ("forward", "backward"))
        # For the gradients twice as much again, but for the image, which needs none.
        assert 1 * forward["gflop"] < backward["gflop"] < 2.1 * forward["gflop"]
        assert parts["step: update"]["gflop"] == 0
        for unit in ("gflop", "gb"):
            assert sum(parts[name][unit] for name in inner) < forward[unit]
            assert forward[unit] + backward[unit] <= parts["step"][unit]
    one, two = (case["parts"]["step"]["gflop"] for case in found["cases"])
    assert 1.8 * one < two < 2.3 * one
    assert found["machine"]["threads"] == 1 and found["options"]["negatives"] == 2
    assert "batch 2: peak of memory" in printed


def test_images_share_their_negatives_where_told():
    def texts(shared):
        args = Namespace(size=[8, 8], negatives=3, shared=shared)
        batch = benchmark.training_batch(args, 4)
        return {text for x in batch for text in (*x["queries"], *x["negatives"])}

    assert (len(texts(False)), len(texts(True))) == (4 + 4 * 3, 4 + 3)


@pytest.mark.usefixtures("forked_cases")
def test_inference_with_new_and_known_words(measure):
    found, printed = measure(
        *("inference", "--size", "64", "96", "--words", "3", "MODEL.TEXT_ENCODER.LAYERS", "1"),
    )
    assert found["options"]["opts"] == ["MODEL.TEXT_ENCODER.LAYERS", "1"]
    (case,) = found["cases"]
    assert_sound(case)
    assert case["parts"]["new words: text_encoder"]["gflop"] > 0
    assert "known words: text_encoder" not in case["parts"]
    medians = [case["parts"][name]["median_s"] for name in ("512 words more", "known words")]
    expected = (medians[0] - medians[1]) / 512 * 1e3
    assert case["further_word_ms"] == pytest.approx(expected)
    assert "each further word of an image" in printed


def test_inference_of_a_spotter(measure):
    found, _ = measure(
        *("spotting", "--batch", "2", "--size", "32", "64", "--words", "3"),
        *("--config-file", "configs/quick/srsts_a.yaml"),
    )
    (case,) = found["cases"]
    assert_sound(case)
    parts = case["parts"]
    inner = [f"spotting: {x}" for x in ("backbone", "image_encoder", "anchor_head", "recognizer")]
    assert set(inner) | {"spotting"} == parts.keys()
    for unit in ("gflop", "gb"):
        assert all(parts[name][unit] > 0 for name in inner)
        assert sum(parts[name][unit] for name in inner) < parts["spotting"][unit]


def work_of(run):
    """FLOP and bytes, counted by the tool."""
    profiler = PartProfiler("cpu")
    profiler.count(run, "run", compiled=False)
    return profiler.work["run"]


@pytest.mark.parametrize("mode", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_work_of_a_linear_layer(mode):
    layer, x = nn.Linear(3, 5), torch.ones(4, 3)
    with mode():
        # 4 x 5 sums of 3 products; 12 + 15 + 5 numbers are read, 20 are written.
        assert work_of(lambda: layer(x)) == (2 * 4 * 5 * 3, 4 * (12 + 15 + 5 + 20))


def test_work_of_gradients():
    layer, x, grad = nn.Linear(3, 5, bias=False), torch.ones(4, 3), torch.ones(4, 5)
    y = layer(x)
    # 15 sums of 4 products for the weights, none for the input.
    assert work_of(lambda: y.backward(grad)) == (2 * 15 * 4, 4 * (12 + 20 + 15))


@pytest.mark.parametrize(
    ("numbers", "run"),
    [
        (30, lambda a, b: a + b),
        (20, lambda a, b: a * a),
        (30, lambda a, b: a.add_(b)),
        (20, lambda a, b: a.copy_(b)),
        (10, lambda a, b: a.zero_()),
        (30, lambda a, b: torch.minimum(a, b, out=a)),
        (21, lambda a, b: a[:1].expand(10) + b),
        (40, lambda a, b: torch.cat([a, b])),
        (0, lambda a, b: a.view(2, 5).t()),
        (0, lambda a, b: torch.empty_like(a)),
    ],
)
def test_bytes_that_operations_move(numbers, run):
    a, b = torch.ones(10), torch.ones(10)
    assert work_of(lambda: run(a, b)) == (0, 4 * numbers)


@pytest.mark.filterwarnings("ignore:Sparse:UserWarning")
def test_bytes_of_a_sparse_product():
    starts, columns = torch.tensor([0, 2, 3]), torch.tensor([0, 2, 1])
    pattern = torch.sparse_csr_tensor(starts, columns, torch.zeros(3), size=(2, 3))
    left, right = torch.ones(2, 4), torch.ones(4, 3)
    flop, moved = work_of(lambda: torch.sparse.sampled_addmm(pattern, left, right))
    # Three starts and three columns of 8 bytes and three values, read and written.
    assert (flop, moved) == (0, 2 * (3 * 8 + 3 * 8 + 3 * 4) + 4 * (8 + 12))


def test_label_files_by_part(tmp_path, capsys):
    output = tmp_path / "labels.json"
    argv = ["labels", "--records", "250", "--vocabulary", "40", "--output", str(output)]
    assert benchmark.main(argv) == 0
    parts = json.loads(output.read_text(encoding="utf-8"))["parts"]
    assert list(parts) == ["prepare", "first read", "later read"]
    assert parts["first read"]["result"] == "250 records"
    assert 30 < int(parts["later read"]["result"].split()[0]) <= 40
    for part in parts.values():
        assert 0 < part["imports_mb"] <= part["memory_mb"] < 1000
        assert part["cpu_seconds"] >= 0 and part["seconds"] >= 0  # rounded
    assert "prepare" in capsys.readouterr().out
