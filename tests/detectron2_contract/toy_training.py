"""A training run small enough for a test; as a script it writes the resume fixtures.

Usage: python tests/detectron2_contract/toy_training.py tests/data/detectron2/training_real
(with real Detectron2 installed; `training_slim` with the slim package).
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.data import (
    DatasetCatalog,
    build_detection_test_loader,
    build_detection_train_loader,
)
from detectron2.engine import DefaultTrainer, HookBase, default_setup
from detectron2.evaluation import DatasetEvaluator
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.utils import comm
from detectron2.utils.events import get_event_storage
from torch import nn

NAME = "contract_toy"
FIXTURE_STEPS, RESUMED_STEPS = 4, 8
FIXTURE_FILES = ("config.yaml", "metrics.json", "last_checkpoint", "model_final.pth")


@META_ARCH_REGISTRY.register()
class ContractToyModel(nn.Module):
    """Guesses the brightness of a picture; has a norm layer, a buffer and two losses."""

    def __init__(self, cfg: CfgNode):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Linear(4, 1)

    def forward(self, batch: list[dict[str, Any]]) -> Any:
        images = torch.stack([record["image"] for record in batch]).float() / 255
        guess = self.head(self.norm(self.conv(images)).relu().mean(dim=(2, 3)))[:, 0]
        if not self.training:
            return [{"guess": value} for value in guess]
        error = guess - images.mean(dim=(1, 2, 3))
        get_event_storage().put_scalar("largest_error", error.abs().max().item())
        return {"loss_square": error.square().mean(), "loss_absolute": error.abs().mean()}


class MeanGuess(DatasetEvaluator):
    """Reports the mean guess and how many images it saw, over all processes."""

    def reset(self) -> None:
        self.guesses: list[float] = []
        self.ids: list[int] = []

    def process(self, inputs: list, outputs: list) -> None:
        self.guesses += [float(output["guess"]) for output in outputs]
        self.ids += [record["image_id"] for record in inputs]

    def evaluate(self) -> dict | None:
        gathered = comm.gather((self.guesses, self.ids))
        if not comm.is_main_process():
            return None
        guesses = [guess for share, _ in gathered for guess in share]
        ids = [image_id for _, share in gathered for image_id in share]
        return {"toy": {"mean": float(np.mean(guesses)), "images": len(set(ids))}}


def records() -> list[dict[str, Any]]:
    """Ten records without files."""
    return [{"image_id": i, "height": 8, "width": 8 + i % 2} for i in range(10)]


def render(record: dict[str, Any]) -> dict[str, Any]:
    """The picture of a record: noise that depends on its id alone."""
    generator = np.random.default_rng(record["image_id"])
    pixels = generator.integers(0, 20 * (record["image_id"] + 2), (3, 8, 8)).astype(np.uint8)
    return {**record, "image": torch.from_numpy(pixels)}


if NAME not in DatasetCatalog.list():
    DatasetCatalog.register(NAME, records)


def toy_config(output_dir: str, max_iter: int) -> CfgNode:
    """A config of the toy run on the CPU."""
    cfg = get_cfg()
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.META_ARCHITECTURE = "ContractToyModel"
    cfg.DATASETS.TRAIN = (NAME,)
    cfg.DATASETS.TEST = (NAME,)
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.DATALOADER.ASPECT_RATIO_GROUPING = False
    cfg.SOLVER.IMS_PER_BATCH = 4
    cfg.SOLVER.BASE_LR = 0.02
    cfg.SOLVER.MAX_ITER = max_iter
    cfg.SOLVER.STEPS = (6,)
    cfg.SOLVER.WARMUP_ITERS = 3
    cfg.SOLVER.CHECKPOINT_PERIOD = 20
    cfg.TEST.EVAL_PERIOD = 20
    cfg.OUTPUT_DIR = output_dir
    cfg.SEED = 11
    return cfg


class ToyTrainer(DefaultTrainer):
    """The default trainer on pictures that are rendered instead of read."""

    @classmethod
    def build_train_loader(cls, cfg: CfgNode) -> Any:
        return build_detection_train_loader(cfg, mapper=render)

    @classmethod
    def build_test_loader(cls, cfg: CfgNode, dataset_name: str) -> Any:
        return build_detection_test_loader(cfg, dataset_name, mapper=render)

    @classmethod
    def build_evaluator(cls, cfg: CfgNode, dataset_name: str) -> DatasetEvaluator:
        return MeanGuess()


class Recorder(HookBase):
    """Keeps the losses and learning rates of every step."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.rates: list[float] = []

    def after_step(self) -> None:
        latest = self.trainer.storage.latest()
        self.losses.append(float(latest["total_loss"][0]))
        self.rates.append(float(latest["lr"][0]))


def start(cfg: CfgNode, resume: bool = False) -> ToyTrainer:
    """Set a run up as a training script does."""
    default_setup(cfg, argparse.Namespace(config_file="", eval_only=False))
    trainer = ToyTrainer(cfg)
    trainer.resume_or_load(resume=resume)
    return trainer


def momentum(trainer: ToyTrainer) -> list[float]:
    """The absolute sums of the optimizer's momentum buffers, in the order of its state."""
    state = trainer.optimizer.state_dict()["state"]
    return [float(state[key]["momentum_buffer"].double().abs().sum()) for key in sorted(state)]


def resume_and_record(folder: Path) -> dict[str, Any]:
    """Resume the run in `folder` and tell what can be observed of it."""
    trainer = start(toy_config(str(folder), RESUMED_STEPS), resume=True)
    recorder = Recorder()
    trainer.register_hooks([recorder])
    seen = {"start_iter": trainer.start_iter, "momentum": momentum(trainer)}
    trainer.train()
    return {**seen, "losses": recorder.losses, "rates": recorder.rates}


def write_fixture(target: Path) -> None:
    """Train a few steps, keep the files of the run and what its resumption looks like."""
    target.mkdir(parents=True, exist_ok=True)
    home = os.getcwd()
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)
        try:
            start(toy_config("output", FIXTURE_STEPS)).train()
            kept = {name: (Path("output") / name).read_bytes() for name in FIXTURE_FILES}
            seen = resume_and_record(Path("output"))
        finally:
            os.chdir(home)
    for name, content in kept.items():
        (target / name).write_bytes(content)
    (target / "resumed.json").write_text(json.dumps(seen, indent=1) + "\n", encoding="utf-8")


def copy_fixture(source: Path, target: Path) -> Path:
    """A copy of a fixture that a test may resume."""
    shutil.copytree(source, target)
    return target


if __name__ == "__main__":
    write_fixture(Path(sys.argv[1]).resolve())
