"""The benchmark runs each case in a process of its own and writes what it measured."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TOOL = ROOT / "tools" / "benchmark.py"
SMALL = ("--config-file", "configs/quick/anchors.yaml", "--warmup", "0", "--repeat", "2")


def measure(output, *arguments):
    command = [sys.executable, str(TOOL), *arguments, *SMALL, "--output", str(output)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=600, cwd=ROOT, env=environment
    )
    assert done.returncode == 0, done.stderr
    return json.loads(output.read_text(encoding="utf-8")), done.stdout


def assert_sound(case):
    assert 50 < case["peak_memory_mb"] < 5000
    for part in case["parts"].values():
        assert 0 < part["fastest_s"] <= part["median_s"] <= part["slowest_s"]


def test_training_by_part_and_batch(tmp_path):
    found, printed = measure(
        tmp_path / "train.json",
        *("train", "--batch", "1", "2", "--size", "32", "48", "--false-texts", "2"),
    )
    assert [case["batch"] for case in found["cases"]] == [1, 2]
    for case in found["cases"]:
        assert_sound(case)
        parts = case["parts"]
        assert {"step", "step: forward", "step: backward", "step: update"} <= parts.keys()
        inner = ("step: backbone", "step: image_encoder", "step: text_encoder")
        assert sum(parts[name]["fastest_s"] for name in inner) < parts["step"]["slowest_s"]
        forward = parts["step: forward"]["gflop"]
        # Twice as much again for the gradients, but for the image, which needs none.
        assert 2 * forward < parts["step"]["gflop"] < 3.1 * forward
    one, two = (case["parts"]["step"]["gflop"] for case in found["cases"])
    assert 1.8 * one < two < 2.3 * one
    assert found["machine"]["threads"] == 1 and found["options"]["false_texts"] == 2
    assert "batch 2: peak of memory" in printed


def test_inference_with_new_and_known_words(tmp_path):
    found, printed = measure(
        tmp_path / "inference.json", *("inference", "--size", "64", "96", "--words", "3")
    )
    (case,) = found["cases"]
    assert_sound(case)
    assert case["parts"]["new words: text_encoder"]["gflop"] > 0
    assert "known words: text_encoder" not in case["parts"]
    medians = [case["parts"][name]["median_s"] for name in ("64 words more", "known words")]
    expected = (medians[0] - medians[1]) / 64 * 1e3
    assert case["further_word_ms"] == pytest.approx(expected)
    assert "each further word of an image" in printed
