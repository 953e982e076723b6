"""A training of seconds for the tests of the engine; its `main` runs in processes to be killed."""

import argparse
import io
import json
import os
import signal
from pathlib import Path

import torch
from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog
from detectron2.engine import HookBase

from wecromcl_d2 import add_wecromcl_config, register_labels
from wecromcl_d2.data.synthetic import SceneRecipe, build_cache
from wecromcl_d2.stage1.trainer import AnchorTrainer

CONFIG = Path(__file__).resolve().parents[2] / "configs/quick/anchors.yaml"


def render(root):
    """Two small datasets: single words and scenes."""
    for family, size, count in (("words", (32, 64), 16), ("scenes", (64, 64), 12)):
        recipe = SceneRecipe(family=family, size=size, num_words=None if count == 16 else (1, 2))
        build_cache(recipe, count, root / family, workers=1, progress=False)


def toy_config(root, *opts):
    for family in ("words", "scenes"):
        if f"toy_{family}" in DatasetCatalog.list():
            DatasetCatalog.remove(f"toy_{family}")
        register_labels(f"toy_{family}", root / family / "labels.jsonl")
    cfg = get_cfg()
    add_wecromcl_config(cfg)
    cfg.merge_from_file(str(CONFIG))
    toy = {
        "DATASETS.TRAIN": ("toy_scenes",),
        "DATASETS.TEST": ("toy_scenes",),
        "SOLVER.CURRICULUM.DATASETS": [["toy_words"]],
        "SOLVER.CURRICULUM.ITERS": [4],
        "SOLVER.CURRICULUM.IMS_PER_BATCH": [6],
        "SOLVER.IMS_PER_BATCH": 4,
        "SOLVER.MAX_ITER": 10,
        "SOLVER.WARMUP_ITERS": 2,
        "SOLVER.CHECKPOINT_PERIOD": 3,
        "DATALOADER.NUM_WORKERS": 0,
        "DATALOADER.SAMPLING.NUM_NEGATIVES": 4,
        "MODEL.IMAGE_ENCODER.LAYERS": 1,  # its dropout draws random numbers
        "TEST.EVAL_PERIOD": 5,
        "VIS_PERIOD": 0,
        "OUTPUT_DIR": str(root / "output"),
    }
    cfg.merge_from_list([part for item in toy.items() for part in item])
    cfg.merge_from_list(list(opts))
    os.makedirs(cfg.OUTPUT_DIR, exist_ok=True)
    return cfg


class Recorder(HookBase):
    """Keeps the exact losses of every iteration; kills the process where told."""

    def __init__(self, kill_at=None):
        self.losses, self.kill_at = {}, kill_at

    def before_step(self):
        if self.trainer.iter == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def after_step(self):
        latest = self.trainer.storage.latest()
        self.losses[self.trainer.iter] = [latest[k][0] for k in ("loss_i2t", "loss_t2i")]


def train(cfg, resume=False, kill_at=None):
    """Losses by iteration and the final weights."""
    torch.manual_seed(cfg.SEED)
    trainer = AnchorTrainer(cfg)
    trainer.resume_or_load(resume)
    recorder = Recorder(kill_at)
    trainer.register_hooks([recorder])
    trainer.train()
    return recorder.losses, trainer._trainer.model.state_dict()


def kill_while_saving(number):
    """Let the process die with half of its n-th checkpoint on the disk."""
    save, saved = torch.save, []

    def half(data, file):
        saved.append(1)
        if len(saved) < number:
            return save(data, file)
        whole = io.BytesIO()
        save(data, whole)
        file.write(whole.getvalue()[: whole.tell() // 2])
        file.flush()
        os.kill(os.getpid(), signal.SIGKILL)

    torch.save = half


def main(argv):
    """Train: ROOT [--kill-at N | --kill-while-saving N] [--resume] [KEY VALUE ...].

    Writes the losses of each iteration it ran to ROOT/losses-<first iteration>.json at the end.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("root", type=Path)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--kill-at", type=int)
    parser.add_argument("--kill-while-saving", type=int)
    parser.add_argument("opts", nargs="*")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    if args.kill_while_saving:
        kill_while_saving(args.kill_while_saving)
    losses, weights = train(toy_config(args.root, *args.opts), args.resume, args.kill_at)
    (args.root / f"losses-{min(losses)}.json").write_text(json.dumps(losses), encoding="utf-8")
    torch.save(weights, args.root / "weights.pth")
