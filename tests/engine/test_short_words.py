"""INPUT.MIN_TEXT_LENGTH: the word filter of the release, in training, labelling and evaluation."""

from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.structures import Instances
from PIL import Image

from wecromcl_d2.data.datasets import write_labels
from wecromcl_d2.data.text import TextList
from wecromcl_d2.stage1.anchor_job import AnchorJob
from wecromcl_d2.tasks import load_config, trainer_class

WORDS = {"a.png": ["at", "Inn"], "b.png": ["Hotel", "of"], "c.png": ["Bar", "12"]}


@pytest.fixture
def dataset(tmp_path):
    records = []
    for name, texts in WORDS.items():
        Image.fromarray(np.zeros((32, 48, 3), np.uint8)).save(tmp_path / name)
        points = [[10.0, 10.0], [30.0, 20.0]]
        records.append({"file_name": name, "height": 32, "width": 48, "texts": texts}
                       | {"points": points})  # fmt: skip
    write_labels(tmp_path / "labels.jsonl", records)
    return str(tmp_path / "labels.jsonl")


def configure(stage, dataset, length):
    config = {1: "configs/quick/anchors.yaml", 2: "configs/quick/srsts_a.yaml"}[stage]
    data = ["DATASETS.TRAIN", f"('{dataset}',)", "DATASETS.TEST", f"('{dataset}',)"]
    data += ["OUTPUT_DIR", str(Path(dataset).parent), "TEST.RETRIEVAL.NUM_NEGATIVES", "0"]
    small = ["SOLVER.IMS_PER_BATCH", "2", "DATALOADER.SAMPLING.NUM_NEGATIVES", "1"]
    return load_config(config, [*data, *small, "INPUT.MIN_TEXT_LENGTH", str(length)])


@pytest.mark.parametrize(("length", "expected"), [(1, 6), (3, 3)])
def test_stage_1_learns_no_short_word(dataset, length, expected):
    cfg = configure(1, dataset, length)
    cls = trainer_class(cfg)
    sampler = cls.build_sampler(cfg, cls.load_records(cfg, cfg.DATASETS.TRAIN), 2)
    assert len(sampler.words) == expected


@pytest.mark.parametrize(("length", "expected"), [(1, 0), (3, 3)])
def test_stage_2_ignores_short_words(dataset, length, expected):
    cfg = configure(2, dataset, length)
    cls = trainer_class(cfg)
    mapper = cls.build_mapper(cfg, True)
    inputs = [mapper(record) for record in cls.load_records(cfg, cfg.DATASETS.TRAIN)]
    assert sum(int(item["instances"].gt_ignore.sum()) for item in inputs) == expected


@pytest.mark.parametrize(("length", "expected"), [(1, 6), (3, 3)])
@pytest.mark.parametrize("stage", [1, 2])
def test_short_words_do_not_count(dataset, tmp_path, stage, length, expected):
    cfg = configure(stage, dataset, length)
    cls = trainer_class(cfg)
    evaluator = cls.build_evaluator(cfg, dataset)
    for batch in cls.build_test_loader(cfg, dataset):
        evaluator.process(batch, [{"instances": found(record)} for record in batch])
    metrics = evaluator.evaluate()["anchors" if stage == 1 else "spotting"]
    assert (metrics["words"], metrics["hmean"]) == (expected, 1.0)


def found(record):
    """Every word of an image, at its place."""
    instances = Instances((32, 48))
    instances.pred_points = torch.tensor(record["points"], dtype=torch.float64)
    instances.pred_texts = TextList(record["texts"])
    instances.scores = torch.ones(len(record["texts"]))
    return instances


def test_short_words_get_no_anchor(dataset, tmp_path):
    cfg = configure(1, dataset, 3)
    records = AnchorJob(cfg, dataset, 1, tmp_path).records()
    assert [record["ignore"] for record in records] == [[True, False], [False, True], [False, True]]
