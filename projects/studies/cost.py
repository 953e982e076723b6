"""What the result of a run costs: time, operations and memory.

Operations and memory are measured once for each variant, with the weights of its first seed.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wecromcl_d2.cli.steps import Step, best_weights

# Work of a stage by "training" and "inference", see `wecromcl benchmark work`.
Work = Mapping[str, Mapping[str, Any]]
KINDS = ("training", "inference")
# The metric `cost/...` that needs no such measurement; the others are those of `describe_work`.
MINUTES = "cost/minutes"


def asks_for_work(metrics: Sequence[str]) -> bool:
    """Whether one of the metrics is of operations or memory."""
    return any(path.startswith("cost/") and path != MINUTES for path in metrics)


def work_step(kind: str, config: str, opts: Sequence[str], trained: Path, output: Path) -> Step:
    """Step that measures a training or inference of a stage.

    Args:
        kind: one of `KINDS`.
        config: of the stage.
        opts: KEY VALUE pairs that override it.
        trained: folder of the finished training.
        output: file of the result.
    """
    weights = ("--weights", best_weights(trained)) if kind == "inference" else ()
    files = ("--config-file", config, *weights, "--output", str(output))
    arguments = ("work", kind, "--import", __package__, *files, *opts)
    return Step(output.stem, "benchmark", arguments, quiet=True)


def describe_work(
    works: Mapping[str, Work], before: Sequence[Work], finder: Work | None
) -> dict[str, float]:
    """Metrics of operations and memory.

    Args:
        works: of the stages that the run trains, the last one last.
        before: of trainings that others share with it.
        finder: of the detector that labels the training images of the spotter; None without.

    Returns:
        `training_tflop` of all trainings and of finding points; `step_gflop` of a step at the end
        of the last training; `training_mb`, the most that one of them takes; `image_gflop`,
        `image_ms` and `inference_mb` of the model that is measured, one image at a time.
    """
    last = list(works.values())[-1]
    trainings = [work["training"] for work in (*before, *works.values())]
    flop = sum(training["tflop"] for training in trainings)
    if finder is not None:
        images = sum(phase["images"] for phase in last["training"]["phases"])
        flop += images * finder["inference"]["image_gflop"] / 1e3
    return {
        "training_tflop": flop,
        "step_gflop": last["training"]["phases"][-1]["step_gflop"],
        "training_mb": max(training["memory_mb"] for training in trainings),
        "image_gflop": last["inference"]["image_gflop"],
        "image_ms": 1e3 * last["inference"]["image_seconds"],
        "inference_mb": last["inference"]["memory_mb"],
    }
