"""Forecast of a training: what each phase sees, and its time and memory from a few timed steps."""

import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog
from detectron2.utils import comm
from detectron2.utils.events import EventStorage
from torch import nn

from ..data.datasets import ensure_registered
from ..data.records import MappedRecords
from .precision import check_precision
from .processes import scale_to_processes

# Steps of each phase and images of each evaluation; the first one of each is not timed.
STEPS = 4
IMAGES = 8


@dataclass(frozen=True)
class PhasePlan:
    """A phase of a training.

    Attributes:
        datasets: names.
        iterations: that SOLVER.MAX_ITER leaves for it.
        batch: images per batch, all processes together.
    """

    datasets: tuple[str, ...]
    iterations: int
    batch: int


def plan_phases(cfg: CfgNode) -> list[PhasePlan]:
    """The phases of SOLVER.CURRICULUM, then that of DATASETS.TRAIN.

    Raises:
        ValueError: if the keys of SOLVER.CURRICULUM do not fit each other.
    """
    keys, left = cfg.SOLVER.CURRICULUM, cfg.SOLVER.MAX_ITER
    if not len(keys.DATASETS) == len(keys.ITERS) == len(keys.IMS_PER_BATCH):
        raise ValueError(
            "SOLVER.CURRICULUM needs as many ITERS and IMS_PER_BATCH as DATASETS, not "
            f"{len(keys.ITERS)}, {len(keys.IMS_PER_BATCH)} and {len(keys.DATASETS)}"
        )
    plans = []
    for names, iterations, batch in zip(keys.DATASETS, keys.ITERS, keys.IMS_PER_BATCH, strict=True):
        plans.append(PhasePlan(tuple(names), min(iterations, left), batch))
        left -= plans[-1].iterations
    return [*plans, PhasePlan(tuple(cfg.DATASETS.TRAIN), left, cfg.SOLVER.IMS_PER_BATCH)]


def unseen_datasets(cfg: CfgNode) -> str:
    """A sentence on the phases that SOLVER.MAX_ITER leaves no iteration for; "" if all have some.

    Raises:
        ValueError: see `plan_phases`.
    """
    unseen = [name for plan in plan_phases(cfg) if not plan.iterations for name in plan.datasets]
    if not unseen:
        return ""
    return (
        f"SOLVER.MAX_ITER is {cfg.SOLVER.MAX_ITER}, and the phases of SOLVER.CURRICULUM take "
        f"{sum(cfg.SOLVER.CURRICULUM.ITERS)} iterations: nothing is learned from "
        f"{', '.join(unseen)}; raise MAX_ITER, or shorten SOLVER.CURRICULUM.ITERS"
    )


def measure_training(trainer_type: Any, cfg: CfgNode) -> dict[str, Any]:
    """Time a few steps of each phase and a few images of each evaluation, in all processes.

    Args:
        trainer_type: subclass of `Trainer`, see `tasks.trainer_class`.
        cfg: config of the training; nothing is written to its OUTPUT_DIR.

    Returns:
        `phases`, each with `datasets`, `images`, `iterations`, `drawn` (images, repeats included)
        and `seconds`; `evaluations` and their `evaluation_seconds`; `seconds` of the whole
        training; `seconds_per_image` of a process in inference; `processes`, `device`,
        `memory_gb` of all processes, `gpu_memory_gb` of each GPU (0 without); and `warning`, see
        `unseen_datasets`.
    """
    cfg = check_precision(scale_to_processes(cfg, comm.get_world_size()))
    on_gpu = cfg.MODEL.DEVICE.startswith("cuda")
    phases = []
    trainer = None
    with tempfile.TemporaryDirectory() as folder:
        for plan in plan_phases(cfg):
            trainer = None  # frees the memory of the last phase
            trainer = trainer_type(phase_config(cfg, plan, folder))
            phases.append(_measure_phase(trainer, cfg, plan))
        evaluated, per_image = _measure_inference(trainer, cfg)
    seconds = sum(phase["seconds"] for phase in phases)
    return {
        "device": cfg.MODEL.DEVICE,
        "processes": comm.get_world_size(),
        "phases": phases,
        "evaluations": _evaluations(cfg) if evaluated else 0,
        "evaluation_seconds": evaluated * _evaluations(cfg),
        "seconds": seconds + evaluated * _evaluations(cfg),
        "seconds_per_image": per_image,
        "memory_gb": sum(comm.all_gather(_peak_memory())) / 1e9,
        "gpu_memory_gb": torch.cuda.max_memory_reserved() / 1e9 if on_gpu else 0.0,
        "warning": unseen_datasets(cfg),
    }


def phase_config(cfg: CfgNode, plan: PhasePlan, folder: str) -> CfgNode:
    """The config of a training of one phase alone."""
    cfg = cfg.clone()
    cfg.defrost()
    if plan.datasets != tuple(cfg.DATASETS.TRAIN):
        cfg.DATASETS.PROPORTIONS = ()
    located = cfg.TASK == "spotting" and cfg.INPUT.POINT_SOURCE == "points"
    cfg.DATASETS.TRAIN = tuple(map(_with_points, plan.datasets)) if located else plan.datasets
    cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.REFERENCE_WORLD_SIZE = plan.batch, 0
    for key in ("DATASETS", "ITERS", "IMS_PER_BATCH"):
        cfg.SOLVER.CURRICULUM[key] = []
    cfg.OUTPUT_DIR, cfg.VIS_PERIOD = folder, 0
    cfg.freeze()
    return cfg


def _with_points(name: str) -> str:
    """A dataset whose words have points, made up where stage 1 has not found them yet."""
    ensure_registered(name)
    own = f"{name} with points"
    if own not in DatasetCatalog.list():
        DatasetCatalog.register(own, lambda: MappedRecords(DatasetCatalog.get(name), _locate))
    return own


def _locate(record: dict[str, Any]) -> dict[str, Any]:
    """A record with a row of points if it has none."""
    if "points" in record:
        return record
    count, width, height = len(record["texts"]), record["width"], record["height"]
    return record | {"points": [[width * (i + 0.5) / count, height / 2] for i in range(count)]}


def _measure_phase(trainer: Any, cfg: CfgNode, plan: PhasePlan) -> dict[str, Any]:
    seconds = 0.0
    if plan.iterations:
        with EventStorage():
            seconds = _time(trainer._trainer.run_step, STEPS, cfg.MODEL.DEVICE)
    drawn = plan.iterations * plan.batch * cfg.SOLVER.ACCUMULATION
    return {
        "datasets": list(plan.datasets),
        "images": len(trainer.train_loader.batches.phases[0].records),
        "iterations": plan.iterations,
        "drawn": drawn // cfg.DATALOADER.COPIES,
        "seconds": seconds * plan.iterations,
    }


def _measure_inference(trainer: Any, cfg: CfgNode) -> tuple[float, float]:
    """Seconds of an evaluation on all of DATASETS.TEST, and of one image in one process."""
    model = trainer._trainer.model.eval()
    total, per_image = 0.0, 0.0
    for name in cfg.DATASETS.TEST:
        loader = trainer.build_test_loader(cfg, name)
        count = min(IMAGES, len(loader))
        with torch.no_grad():
            per_image = _time(partial(_infer, model, iter(loader)), count, cfg.MODEL.DEVICE)
        total += per_image * len(loader)
    return total, per_image


def _infer(model: nn.Module, batches: Iterator[list[dict]]) -> None:
    model(next(batches))


def _time(run: Callable[[], object], count: int, device: str) -> float:
    """Mean seconds of a run of the slowest process; the first one counts only if it is alone."""
    on_gpu = device.startswith("cuda")
    times = []
    for _ in range(count):
        start = time.perf_counter()
        run()
        if on_gpu:
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return max(comm.all_gather(float(np.mean(times[1:] or times or [0.0]))))


def _evaluations(cfg: CfgNode) -> int:
    """Evaluations during a training and at its end, as Detectron2's `EvalHook` does them."""
    period = cfg.TEST.EVAL_PERIOD
    return 1 + ((cfg.SOLVER.MAX_ITER - 1) // period if period > 0 else 0)


def _peak_memory() -> float:
    """Largest memory of this process so far, in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
