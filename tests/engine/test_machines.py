"""Two machines, which are two programs here, train like one process, also after one has died."""

import os
import socket
import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from wecromcl_d2.cli.train import run
from wecromcl_d2.data import write_labels
from wecromcl_d2.engine.processes import name_lost_process, start_processes
from wecromcl_d2.tasks import load_config

ROOT = Path(__file__).resolve().parents[2]
CONFIG = str(ROOT / "configs/quick/anchors.yaml")
IMAGES, ITERATIONS = 12, 6
# Machine 1 dies at the second iteration after the checkpoint.
SAVED, DEATH = 3, 4
# Images of a batch meet only in the loss: batch statistics and dropout are switched off.
OPTIONS = [
    *("MODEL.RESNETS.NORM", "FrozenBN"),
    *("MODEL.BIFPN.NORM", "GN"),
    *("MODEL.IMAGE_ENCODER.NORM", "GN"),
    *("MODEL.IMAGE_ENCODER.DROPOUT", "0.0"),
    *("MODEL.TEXT_ENCODER.LAYERS", "1"),
    *("MODEL.DEVICE", "cpu"),
    *("SOLVER.CURRICULUM.DATASETS", "[]"),
    *("SOLVER.CURRICULUM.ITERS", "[]"),
    *("SOLVER.CURRICULUM.IMS_PER_BATCH", "[]"),
    *("SOLVER.REFERENCE_WORLD_SIZE", "0"),
    *("SOLVER.OPTIMIZER", "SGD"),
    *("SOLVER.BASE_LR", "0.02"),
    *("SOLVER.AMP.ENABLED", "False"),
    *("SOLVER.IMS_PER_BATCH", "4"),
    *("SOLVER.MAX_ITER", str(ITERATIONS)),
    *("SOLVER.CHECKPOINT_PERIOD", str(SAVED)),
    *("SOLVER.WARMUP_ITERS", "0"),
    *("DATALOADER.NUM_WORKERS", "0"),
    *("DATALOADER.SAMPLING.NUM_NEGATIVES", "2"),
    *("DATASETS.TEST", "()"),
    *("TEST.EVAL_PERIOD", "0"),
    *("VIS_PERIOD", "0"),
]
DEADLY = f"""
import os, signal
from wecromcl_d2.engine.hooks import SeedEachIteration
before = SeedEachIteration.before_step
def die(hook):
    if hook.trainer.iter == {DEATH}:
        os.kill(os.getpid(), signal.SIGKILL)
    before(hook)
SeedEachIteration.before_step = die
"""

pytestmark = [
    pytest.mark.trains,
    pytest.mark.skipif(torch.cuda.is_available(), reason="trains on GPUs where there are any"),
]


def options(root, output):
    names = ["DATASETS.TRAIN", f"('{root / 'labels.jsonl'}',)", "OUTPUT_DIR", str(root / output)]
    return [*OPTIONS, *names]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("machines")
    generator = np.random.default_rng(0)
    records = []
    for i in range(IMAGES):
        cv2.imwrite(str(root / f"{i}.png"), generator.integers(0, 256, (32, 64, 3), np.uint8))
        texts = [f"word{i}", f"sign{i}"]
        records.append({"file_name": f"{i}.png", "height": 32, "width": 64, "texts": texts})
    write_labels(root / "labels.jsonl", records)
    (root / "deadly.py").write_text(DEADLY, encoding="utf-8")
    return root


def start(root, *command, own_module=""):
    paths = [str(root), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    environment |= {"WECROMCL_IMPORT": own_module, "OMP_NUM_THREADS": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen([sys.executable, *command], env=environment, cwd=ROOT, **pipes)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_one_dies_the_other_says_so_and_both_continue_like_one_process(root):
    arguments = ["train_net.py", "--config-file", CONFIG]
    together = ["--num-machines", "2", "--dist-url", f"tcp://127.0.0.1:{free_port()}"]
    changes = options(root, "two")
    left, right = (
        start(root, *arguments, *together, "--machine-rank", str(rank), *changes, own_module=module)
        for rank, module in enumerate(("", "deadly"))
    )
    assert "SIGKILL" in right.communicate(timeout=240)[0] and right.returncode == 2
    died = time.monotonic()
    said = left.communicate(timeout=60)[0]
    assert left.returncode == 2, said
    assert time.monotonic() - died < 60
    assert "another process of this run has died" in said and "--resume" in said
    assert (root / "two/last_checkpoint").read_text() == f"model_{SAVED - 1:07d}.pth"

    torchrun = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port"]
    again = start(root, *torchrun, str(free_port()), *arguments, "--resume", *changes)
    alone = Namespace(eval_only=False, resume=False, forecast=False, config_file=CONFIG, opts=[])
    run(alone, load_config(CONFIG, options(root, "one")))
    said = again.communicate(timeout=240)[0]
    assert again.returncode == 0, said
    assert f"Starting training from iteration {SAVED}" in said
    saved, one, two = (
        torch.load(root / name, weights_only=True)["model"]
        for name in (f"one/model_{SAVED - 1:07d}.pth", "one/model_final.pth", "two/model_final.pth")
    )
    assert one.keys() == two.keys()
    # Sums in another order move some weights by a thousandth of what the iterations move them.
    assert distance(one, two) < 0.02 * distance(one, saved)


def distance(weights, others):
    return sum((weights[name] - others[name]).double().square().sum() for name in weights).sqrt()


def test_options_of_launch_are_refused_under_torchrun(monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    with pytest.raises(ValueError, match="leave out --num-gpus"):
        start_processes(run, Namespace(num_gpus=2, num_machines=1), ())


def test_other_errors_are_left_alone():
    with pytest.raises(RuntimeError, match="closed by peer"), name_lost_process():
        raise RuntimeError("Connection closed by peer")  # of one process alone: not ours
