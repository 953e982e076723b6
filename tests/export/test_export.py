"""Exported models give the answers of the models that they were made of.

Without onnxruntime, PyTorch runs their graphs on fewer scenes, so that the rest is tested anywhere.
"""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model

from wecromcl_d2.cli import export_model as command
from wecromcl_d2.data.synthetic import SceneRecipe, render
from wecromcl_d2.export.graphs import graphs_of
from wecromcl_d2.export.runtime import OnnxAnchorFinder, OnnxSpotter, model, spotter
from wecromcl_d2.export.writer import export_model, settings_of
from wecromcl_d2.layers.image_batch import scale_image
from wecromcl_d2.predictor import AnchorFinder, Spotter
from wecromcl_d2.stage2.suppression import line_nms
from wecromcl_d2.tasks import load_config

ANCHORS, SPOTTER = "configs/quick/anchors.yaml", "configs/quick/srsts_a.yaml"
# An untrained spotter is unsure of everything.
UNSURE = [
    *("MODEL.SRSTS_A.TEST.CONFIDENCE", "0.0", "MODEL.SRSTS_A.TEST.SCORE", "0.0"),
    *("MODEL.SRSTS_A.TEST.MAX_ANCHORS", "40", "TEST.SPOTTING_THRESHOLD", "0.0"),
]
HAS_ONNX = all(importlib.util.find_spec(name) for name in ("onnx", "onnxruntime"))
SCENES = 20 if HAS_ONNX else 6
needs_onnx = pytest.mark.skipif(not HAS_ONNX, reason="onnx and onnxruntime are not installed")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Random weights of both models, with words read that differ from place to place."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(3)
    for config in (ANCHORS, SPOTTER):
        network = build_model(load_config(config))
        if config == SPOTTER:
            torch.nn.init.normal_(network.sampler.offset.weight, std=0.2)
            torch.nn.init.normal_(network.recognizer.classifier.weight)
            torch.nn.init.normal_(network.anchor_head.logit.weight)
        torch.save({"model": network.state_dict()}, folder / f"{Path(config).stem}.pth")
    return folder


@pytest.fixture(scope="module")
def scenes():
    sizes = [(90 + 7 * i, 130 + 11 * (i % 5)) for i in range(SCENES)]
    return [render(SceneRecipe(size=size, num_words=(2, 4)), i) for i, size in enumerate(sizes)]


class TorchSession:
    """What onnxruntime does with a graph, by PyTorch."""

    def __init__(self, graph):
        self.graph = graph

    def run(self, _, inputs):
        with torch.no_grad():
            tensors = {name: torch.from_numpy(value) for name, value in inputs.items()}
            outputs = self.graph.module(**tensors)
        return [x.numpy() for x in (outputs if isinstance(outputs, tuple) else (outputs,))]


@pytest.fixture(params=["pytorch", pytest.param("onnx", marks=needs_onnx)])
def exported(request, tmp_path, monkeypatch):
    """Exports a predictor's model; `request.param` runs its graphs."""

    def export(predictor, weights, kind):
        if request.param == "onnx":
            export_model(predictor.cfg, str(weights), tmp_path, "onnx")
            return kind(tmp_path, threads=1)
        graphs = graphs_of(predictor.model)
        settings = {"graphs": list(graphs), **settings_of(predictor.cfg, predictor.model)}
        (tmp_path / "model.json").write_text(json.dumps(settings), encoding="utf-8")
        monkeypatch.setattr(model, "open_graph", lambda path, _: TorchSession(graphs[path.stem]))
        return kind(tmp_path)

    return export


@pytest.mark.parametrize(
    ("anchor", "scales", "candidates"),
    [
        ("mean", (1.0,), 1),
        ("peak", (1.0, 0.7, 1.3), 1),
        ("mean", (1.0,), 3),
        ("peak", (1.0, 0.7), 2),
    ],
)
def test_an_exported_detector_finds_the_same_points(
    trained, scenes, exported, anchor, scales, candidates
):
    weights = trained / "anchors.pth"
    options = ["MODEL.WECROMCL.ANCHOR", anchor, "MODEL.WECROMCL.PYRAMID", repr(list(scales))]
    options += ["MODEL.WECROMCL.PEAK_CANDIDATES", str(candidates)]
    finder = AnchorFinder(ANCHORS, weights, options, device="cpu")
    other = exported(finder, weights, OnnxAnchorFinder)
    for scene in scenes:
        words = [*scene.texts, scene.texts[0].upper(), "ÄÖ", "Straße"]
        ours, theirs = finder(scene.image, words), other(scene.image, words)
        assert theirs["words"] == ours.words == [w for w in words if w != "ÄÖ"]
        for name in ("points", "scores", "similarity", "maps"):
            np.testing.assert_allclose(theirs[name], getattr(ours, name), atol=1e-4)
    nothing = other(scenes[0].image, ["ÄÖ"])
    assert nothing["words"] == [] and nothing["points"].shape == (0, 2)


def scale_by_pytorch(image, factor):
    scaled = scale_image(torch.from_numpy(image.transpose(2, 0, 1).copy()), factor)
    return scaled.numpy().transpose(1, 2, 0)


@pytest.mark.parametrize("factor", [0.35, 0.6, 0.7, 1.3])
def test_images_are_scaled_as_in_the_package(factor):
    image = np.random.default_rng(1).integers(0, 256, (90, 131, 3)).astype(np.uint8)
    ours, theirs = scale_by_pytorch(image, factor), model.scale_image(image, factor)
    different = ours.astype(int) - theirs
    assert ours.shape == theirs.shape
    assert abs(different).max() <= 1 and (different != 0).mean() < 0.01  # halves, rounded


def test_maps_are_resized_as_in_the_package():
    maps = np.random.default_rng(2).random((2, 7, 9)).astype(np.float32)
    for grid in ((7, 20), (14, 11), (5, 9)):
        ours = torch.nn.functional.interpolate(torch.from_numpy(maps)[None], grid, mode="bilinear")
        np.testing.assert_allclose(model.resize_maps(maps, grid), ours[0], atol=1e-6)


@pytest.mark.parametrize(
    "options",
    [(), ("MODEL.SRSTS_A.TEST.POINT", "line", "MODEL.SRSTS_A.TEST.PYRAMID", "[1.0, 0.6]")],
)
def test_an_exported_spotter_reads_the_same_words(trained, scenes, exported, options, monkeypatch):
    # An untrained spotter reads other words where one pixel of a scaled image is rounded otherwise.
    monkeypatch.setattr(spotter, "scale_image", scale_by_pytorch)
    weights = trained / "srsts_a.pth"
    reader = Spotter(SPOTTER, weights, [*UNSURE, *options], device="cpu")
    other = exported(reader, weights, OnnxSpotter)
    count = 0
    for scene in scenes:
        ours, theirs = reader(scene.image), other(scene.image)
        assert theirs["texts"] == ours.words
        for name in ("points", "polylines", "scores", "det_scores", "rec_scores"):
            np.testing.assert_allclose(theirs[name], getattr(ours, name), atol=1e-4)
        count += len(ours)
    assert count > 5 * SCENES
    assert len(other(scenes[0].image, threshold=1.0)["texts"]) == 0


def test_large_images_shrink_as_in_the_package(trained, scenes, exported):
    weights = trained / "anchors.pth"
    finder = AnchorFinder(ANCHORS, weights, ["INPUT.MAX_SIZE_TEST", "100"])
    other = exported(finder, weights, OnnxAnchorFinder)
    ours, theirs = (f(scenes[0].image, scenes[0].texts) for f in (finder, other))
    assert ours.maps.shape == theirs["maps"].shape
    np.testing.assert_allclose(theirs["points"], ours.points, atol=1e-4)


def test_an_empty_image_has_no_words(trained, exported):
    weights = trained / "srsts_a.pth"
    sure = ["MODEL.SRSTS_A.TEST.CONFIDENCE", "0.9999"]
    other = exported(Spotter(SPOTTER, weights, sure), weights, OnnxSpotter)
    found = other(np.zeros((64, 80, 3), np.uint8))
    assert found["texts"] == [] and found["points"].shape == (0, 2)
    with pytest.raises(ValueError, match=r"is an \(H, W, 3\) uint8 RGB array, not float64"):
        other(np.zeros((64, 80, 3)))


@pytest.mark.parametrize("config", [ANCHORS, SPOTTER])
def test_torchscript_graphs_run_on_other_sizes(trained, tmp_path, config):
    weights = trained / f"{Path(config).stem}.pth"
    argv = ["--config-file", config, "--weights", str(weights), "--output", str(tmp_path)]
    assert command.main([*argv, "--format", "torchscript"]) == 0
    image = torch.rand(1, 3, 96, 160) * 255
    graphs = graphs_of(build_model(load_config(config, ["MODEL.DEVICE", "cpu"])).eval())
    for name, graph in graphs.items():
        loaded = torch.jit.load(tmp_path / f"{name}.pt")
        inputs = dict(graph.inputs)
        if "image" in inputs:
            inputs["image"] = image
        if "valid" in inputs:
            inputs["valid"] = torch.ones(1, 12, 20, dtype=torch.bool)
        if "cells" in inputs:
            inputs |= {"feature": torch.rand(1, 96, 24, 40), "cells": torch.tensor([[39, 23]])}
        graph.module.load_state_dict(loaded.state_dict(), strict=True)
        with torch.no_grad():
            ours, theirs = graph.module(*inputs.values()), loaded(*inputs.values())
        for a, b in zip(ours, theirs, strict=True):
            torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


@needs_onnx
def test_an_exported_model_runs_without_pytorch(trained, scenes, tmp_path):
    export_model(load_config(ANCHORS), str(trained / "anchors.pth"), tmp_path, "onnx")
    np.save(tmp_path / "image.npy", scenes[0].image)
    code = (
        "import sys\n"
        "for name in ('torch', 'detectron2', 'wecromcl_d2', 'cv2', 'PIL'):\n"
        "    sys.modules[name] = None\n"
        "import numpy as np\n"
        "from wecromcl_onnx import OnnxAnchorFinder\n"
        "found = OnnxAnchorFinder('.')(np.load('image.npy'), ['hill', 'way'])\n"
        "print(len(found['points']))\n"
    )
    run = [sys.executable, "-c", code]
    done = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "2\n"


def test_duplicates_are_those_of_the_package():
    rng, dropped = np.random.default_rng(0), 0
    for _ in range(20):
        starts = rng.uniform(0, 5, (12, 1, 2))
        steps = rng.uniform(0, 1, (12, 1, 2)) * np.arange(6)[:, None] / 2
        lines = (starts + steps).astype(np.float32)
        texts = ["".join(rng.choice(list("ab"), rng.integers(1, 6))) for _ in range(12)]
        scores, sure = rng.random((2, 12)).astype(np.float32)
        level = rng.integers(0, 2, 12)
        tensors = [torch.from_numpy(x) for x in (level, lines, scores, sure)]
        zeros = torch.zeros(12, dtype=torch.int64)
        kept = line_nms(zeros, *tensors[:2], texts, *tensors[2:]).tolist()
        words = {"polylines": lines, "scores": scores, "det_scores": sure}
        assert sorted(spotter._without_duplicates(words, texts, level)) == kept
        dropped += 12 - len(kept)
    assert 20 < dropped < 200


@pytest.mark.parametrize(
    ("config", "opts", "reason"),
    [
        (ANCHORS, ["MODEL.IMAGE_ENCODER.LAYERS", "1"], "deformable layers cannot be exported"),
        ("configs/quick/spts.yaml", [], "a SPTS cannot be exported"),
    ],
)
def test_what_cannot_be_exported_is_said(config, opts, reason):
    with pytest.raises(ValueError, match=reason):
        graphs_of(build_model(load_config(config, ["MODEL.DEVICE", "cpu", *opts])).eval())


def test_another_resize_rule_is_refused(trained, tmp_path, capsys):
    files = ["--config-file", ANCHORS, "--weights", str(trained / "anchors.pth")]
    argv = [*files, "--output", str(tmp_path), "--format", "torchscript"]
    assert command.main([*argv, "INPUT.RESIZE", "multiple"]) == 2
    assert "INPUT.RESIZE is 'multiple'" in capsys.readouterr().err


@pytest.mark.parametrize("wrong", [[], ["--model", "quick", "--weights", "x"], ["--weights", "x"]])
def test_wrong_options_are_refused(wrong, tmp_path):
    with pytest.raises(SystemExit) as error:
        command.main(["--output", str(tmp_path), *wrong])
    assert error.value.code == 2


def test_the_other_kind_of_model_is_refused(tmp_path):
    (tmp_path / "model.json").write_text('{"task": "anchors"}', encoding="utf-8")
    with pytest.raises(ValueError, match="a model for 'anchors', but OnnxSpotter needs one"):
        OnnxSpotter(tmp_path)
