"""What TensorBoard shows of a spotter in training."""

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog
from detectron2.structures import Instances
from PIL import Image

from wecromcl_d2.data.datasets import write_labels
from wecromcl_d2.data.text import TextList
from wecromcl_d2.stage2.reading_images import ReadingImages, draw_reading
from wecromcl_d2.stage2.trainer import SpottingTrainer
from wecromcl_d2.tasks import load_config
from wecromcl_d2.visualizer import ANCHOR


@pytest.fixture
def photo(tmp_path):
    Image.new("RGB", (96, 64)).save(tmp_path / "a.png")
    return str(tmp_path / "a.png")


def words(scores, **fields):
    found = Instances((64, 96))
    found.scores = torch.tensor(scores)
    found.pred_texts = TextList(f"word{i}" for i in range(len(scores)))
    for name, value in fields.items():
        found.set(name, value)
    return found


def test_sure_words_are_drawn_at_their_points(photo):
    points = torch.tensor([[20.0, 20.0], [70.0, 50.0]], dtype=torch.float64)
    drawn = draw_reading(photo, words([0.9, 0.1], pred_points=points), 0.5)
    assert drawn.shape == (64, 96, 3)
    marked = (drawn == np.array(ANCHOR)).all(axis=2)
    assert marked[15:26, 15:26].any() and not marked[45:56, 65:76].any()
    empty = draw_reading(photo, words([0.1, 0.1], pred_points=points), 0.5)
    assert not empty.any()


def test_words_without_points_stand_below(photo):
    drawn = draw_reading(photo, words([0.9]), 0.5)
    assert drawn.shape[0] > 64 and drawn.shape[1] == 96
    assert drawn[64:].max() > 200


def test_a_training_shows_what_it_reads_every_period(photo, tmp_path, monkeypatch):
    before = set(DatasetCatalog.list())
    labels = str(tmp_path / "l.jsonl")
    record = {"file_name": "a.png", "height": 64, "width": 96, "texts": ["hill"]}
    write_labels(labels, [record | {"points": [[48, 32]]}])
    opts = ["VIS_PERIOD", "2", "DATASETS.TRAIN", (labels,), "DATASETS.TEST", (labels,)]
    opts += ["SOLVER.MAX_ITER", 3, "SOLVER.IMS_PER_BATCH", 1, "TEST.EVAL_PERIOD", 0]
    opts += ["OUTPUT_DIR", str(tmp_path), "SOLVER.AMP.ENABLED", False, "MODEL.DEVICE", "cpu"]
    for key in ("DATASETS", "ITERS", "IMS_PER_BATCH"):
        opts += [f"SOLVER.CURRICULUM.{key}", []]
    trainer = SpottingTrainer(load_config("configs/quick/srsts_a.yaml", opts))
    drawn = []

    def spy(file_name, found, threshold):
        drawn.append((trainer.iter, file_name, threshold, trainer.model.training))
        return np.zeros((4, 4, 3), np.uint8)

    monkeypatch.setattr("wecromcl_d2.stage2.reading_images.draw_reading", spy)
    trainer.train()
    assert [(step, name) for step, name, *_ in drawn] == [(0, photo), (2, photo)]
    assert trainer.model.training
    hooks = [type(hook) for hook in trainer._hooks]
    assert hooks.index(ReadingImages) == len(hooks) - 2  # right before the writers
    for name in set(DatasetCatalog.list()) - before:
        DatasetCatalog.remove(name)
