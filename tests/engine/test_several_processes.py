"""A config tuned for one process runs on eight: same samples, same schedule in images."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.engine import launch
from detectron2.utils import comm
from PIL import Image
from torch import nn

from wecromcl_d2.data.datasets import write_labels
from wecromcl_d2.engine.processes import check_batches, scale_to_processes, synchronize_norms
from wecromcl_d2.stage2.trainer import SpottingTrainer
from wecromcl_d2.tasks import load_config

QUICK = "configs/quick/srsts_a.yaml"
IMAGES = 8
# For one process: 8 batches of one image, then 16.
ITERATIONS = 24
ALONE = {
    "SOLVER.REFERENCE_WORLD_SIZE": 1,
    "SOLVER.CURRICULUM.ITERS": [8],
    "SOLVER.CURRICULUM.IMS_PER_BATCH": [1],
    "SOLVER.IMS_PER_BATCH": 1,
    "SOLVER.MAX_ITER": ITERATIONS,
    "SOLVER.BASE_LR": 0.001,
    "SOLVER.BASE_LR_END": 0.0001,
    "SOLVER.LR_SCHEDULER_NAME": "WarmupPolyLR",
    "SOLVER.WARMUP_ITERS": 8,
    "SOLVER.CHECKPOINT_PERIOD": 80,
    "TEST.EVAL_PERIOD": 16,
}


def configure(root, **changes):
    opts = {
        **ALONE,
        "SOLVER.CURRICULUM.DATASETS": [[str(root / "labels.jsonl")]],
        "DATASETS.TRAIN": (str(root / "labels.jsonl"),),
        "DATASETS.TEST": (),
        "OUTPUT_DIR": str(root / "output"),
        **changes,
    }
    return load_config(QUICK, [str(part) for item in opts.items() for part in item])


@pytest.fixture
def root(tmp_path):
    records = []
    for i in range(IMAGES):
        Image.fromarray(np.full((32, 48, 3), i, np.uint8)).save(tmp_path / f"{i}.png")
        record = {"file_name": f"{i}.png", "height": 32, "width": 48, "texts": [f"word{i}"]}
        records.append(record | {"points": [[24.0, 16.0]]})
    write_labels(tmp_path / "labels.jsonl", records)
    return tmp_path


class Recording(SpottingTrainer):
    """Notes the image and the rate of every iteration."""

    def __init__(self, cfg):
        self.rates = []
        super().__init__(cfg)

    @classmethod
    def build_mapper(cls, cfg, is_train):
        mapper = super().build_mapper(cfg, is_train)
        cls.seen = []

        def note(record):
            cls.seen.append(Path(record["file_name"]).stem)
            return mapper(record)

        return note

    def run_step(self):
        self.rates.append(self._trainer.optimizer.param_groups[0]["lr"])
        super().run_step()


def in_each_process(root):
    torch.set_num_threads(1)
    trainer = Recording(configure(Path(root)))
    trainer.train()
    result = {"seen": Recording.seen, "rates": trainer.rates, "end": trainer.max_iter}
    (Path(root) / f"{comm.get_rank()}.json").write_text(json.dumps(result), encoding="utf-8")
    comm.synchronize()


@pytest.mark.usefixtures("forked")
@pytest.mark.trains
@pytest.mark.skipif(torch.cuda.is_available(), reason="launches on GPUs where there are any")
def test_eight_processes_see_what_one_sees(root):
    alone = SpottingTrainer.build_train_loader(configure(root)).batches
    expected = []
    for iteration in range(ITERATIONS):
        phase = next(phase for phase in alone.phases if iteration < phase.end)
        (entry,) = phase.sampler.sample(iteration)
        expected.append(Path(phase.records[entry.index]["file_name"]).stem)
    launch(in_each_process, 8, dist_url="auto", args=(str(root),))
    results = [json.loads((root / f"{rank}.json").read_text()) for rank in range(8)]
    assert {result["end"] for result in results} == {ITERATIONS // 8}
    # In step t the processes have the images of the eight steps 8 t to 8 t + 7, one each.
    together = [result["seen"][step] for step in range(3) for result in results]
    assert together == expected
    # Each epoch has every image once.
    for epoch in range(3):
        assert len(set(together[8 * epoch : 8 * epoch + 8])) == IMAGES
    # Eight times the rate; the warm-up of 8 images is over after one step.
    (rates,) = {tuple(result["rates"]) for result in results}
    assert rates[1:] == pytest.approx([0.008 * (1 - 1 / 3) ** 0.9, 0.008 * (1 - 2 / 3) ** 0.9])


def test_every_count_of_iterations_and_images_is_scaled(root):
    cfg = scale_to_processes(configure(root), 8)
    keys = cfg.SOLVER
    assert (keys.CURRICULUM.ITERS, keys.CURRICULUM.IMS_PER_BATCH) == ([1], [8])
    assert (keys.MAX_ITER, keys.IMS_PER_BATCH, keys.WARMUP_ITERS) == (3, 8, 1)
    assert (keys.CHECKPOINT_PERIOD, cfg.TEST.EVAL_PERIOD) == (10, 2)
    assert pytest.approx((0.008, 0.0008)) == (keys.BASE_LR, keys.BASE_LR_END)
    assert cfg.is_frozen() and scale_to_processes(cfg, 8) is cfg


def test_without_a_reference_batches_are_shared(root):
    changes = {"SOLVER.REFERENCE_WORLD_SIZE": 0, "SOLVER.IMS_PER_BATCH": 16}
    cfg = configure(root, **changes)
    assert scale_to_processes(cfg, 8) is cfg
    check_batches(configure(root, **changes, **{"SOLVER.CURRICULUM.IMS_PER_BATCH": [8]}), 8)
    with pytest.raises(ValueError, match=r"batch of 1 images.*8 processes.*REFERENCE_WORLD_SIZE"):
        check_batches(cfg, 8)


def test_a_reference_that_does_not_divide_is_refused(root):
    cfg = configure(root, **{"SOLVER.REFERENCE_WORLD_SIZE": 2, "SOLVER.IMS_PER_BATCH": 3})
    with pytest.raises(ValueError, match="does not divide a batch of 3"):
        scale_to_processes(cfg, 8)


FULL_SIZE = sorted(
    path
    for stage in ("stage1", "stage2/spts", "stage2/srsts_a")
    for path in Path("configs", stage).glob("*.yaml")
)


@pytest.mark.parametrize("path", FULL_SIZE, ids=str)
def test_every_full_size_config_runs_on_eight(path):
    check_batches(scale_to_processes(load_config(path), 8), 8)


def test_batch_norm_is_synchronised_on_gpus_alone(monkeypatch, caplog):
    def norms(device, world_size, on):
        monkeypatch.setattr(comm, "get_world_size", lambda: world_size)
        cfg = load_config(QUICK, ["MODEL.SYNC_BN", str(on)]).clone()
        cfg.defrost()
        cfg.MODEL.DEVICE = device
        model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
        other = synchronize_norms(cfg, model)
        assert model.state_dict().keys() == other.state_dict().keys()
        return type(other[1])

    assert norms("cuda", 8, True) is nn.SyncBatchNorm
    assert norms("cuda", 8, False) is norms("cuda", 1, True) is nn.BatchNorm2d
    assert norms("cpu", 8, True) is nn.BatchNorm2d
    assert "only GPUs synchronise" in caplog.text
