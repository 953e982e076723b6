"""Writes a trained model as graphs, their settings and a copy of the runtime."""

import os
import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode

from ..engine.loading import load_model
from ..evaluation.report import write_json
from .graphs import Graph, graphs_of

# Version of ONNX's operators; onnxruntime reads it from 1.15 on.
OPSET = 17
RUNTIME = Path(__file__).parent / "runtime"


def export_model(cfg: CfgNode, weights: str, folder: Path, format: str) -> list[Path]:
    """Write a model as `model.json`, one file a graph and, for ONNX, the runtime.

    Args:
        cfg: config of either stage.
        weights: checkpoint.
        folder: target.
        format: "onnx" or "torchscript".

    Returns:
        The files of the graphs.

    Raises:
        ValueError: for a model or a config that cannot be exported.
        WeightsError: if the weights cannot be used.
    """
    if cfg.INPUT.RESIZE != "shortest_edge":
        raise ValueError(
            f"INPUT.RESIZE is {cfg.INPUT.RESIZE!r}; exported models resize by 'shortest_edge' alone"
        )
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.DEVICE = "cpu"
    write, suffix = WRITERS[format]
    model = load_model(cfg, weights)
    folder.mkdir(parents=True, exist_ok=True)
    with _plain_operations(), torch.no_grad():
        graphs = graphs_of(model)
        paths = {name: folder / f"{name}{suffix}" for name in graphs}
        for name, graph in graphs.items():
            write(graph, paths[name])
    write_json(folder / "model.json", {"graphs": list(graphs), **settings_of(cfg, model)})
    if format == "onnx":
        target = folder / "wecromcl_onnx"
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(RUNTIME, target, ignore=ignored, dirs_exist_ok=True)
    return list(paths.values())


def settings_of(cfg: CfgNode, model: Any) -> dict[str, Any]:
    """What the runtime needs to know beside the graphs."""
    keys, charset = cfg.MODEL.WECROMCL, model.charset
    shared = {
        "task": cfg.TASK,
        "characters": charset.characters,
        "stride": model.stride,
        "scales": list(model.pyramid),
        "divisibility": model.size_divisibility,
        "pixel_mean": list(cfg.MODEL.PIXEL_MEAN),
        "bgr": cfg.INPUT.FORMAT == "BGR",
        "resize": {"shortest": cfg.INPUT.MIN_SIZE_TEST, "longest": cfg.INPUT.MAX_SIZE_TEST},
    }
    if cfg.TASK == "anchors":
        return shared | {
            "case_fold": charset.case_fold,
            "max_length": model.max_length,
            "peak_window": keys.PEAK_WINDOW,
            "peak_ties": keys.PEAK_TIES,
            "peak_candidates": model.peak_candidates,
            "anchor": keys.ANCHOR,
            "anchor_distance": keys.ANCHOR_DISTANCE,
        }
    return shared | {
        "min_confidence": model.min_confidence,
        "max_anchors": model.max_anchors,
        "min_score": model.min_score,
        "point": model.point,
        "num_points": model.num_points,
        "threshold": cfg.TEST.SPOTTING_THRESHOLD,
    }


def write_onnx(graph: Graph, path: Path) -> None:
    """Write a graph as ONNX, its sizes left open."""
    torch.onnx.export(
        graph.module.eval(),
        tuple(graph.inputs.values()),
        os.fspath(path),
        input_names=list(graph.inputs),
        output_names=list(graph.outputs),
        dynamic_axes=graph.axes,
        opset_version=OPSET,
        dynamo=False,
    )


def write_torchscript(graph: Graph, path: Path) -> None:
    """Write a graph as TorchScript, traced."""
    example = tuple(graph.inputs.values())
    torch.jit.trace(graph.module.eval(), example, check_trace=False).save(os.fspath(path))


WRITERS: dict[str, tuple[Callable[[Graph, Path], None], str]] = {
    "onnx": (write_onnx, ".onnx"),
    "torchscript": (write_torchscript, ".pt"),
}


@contextmanager
def _plain_operations() -> Iterator[None]:
    """Trace transformers layer by layer, not as one fused operation, and without its warnings."""
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
