"""The driver of a labelling run holds a few numbers of each image, however much the shards say."""

import json
import tracemalloc

import numpy as np
import pytest
from detectron2.config import get_cfg

from wecromcl_d2 import add_wecromcl_config
from wecromcl_d2.data.records import Records
from wecromcl_d2.stage1.anchor_job import AnchorJob, plan_shards
from wecromcl_d2.stage1.merge import Answers, label_images
from wecromcl_d2.stage1.report import LabelReport

WORDS = ["alpha", "beta", "gamma", "delta"]


@pytest.fixture(scope="module")
def cfg():
    cfg = get_cfg()
    add_wecromcl_config(cfg)
    cfg.merge_from_file("configs/quick/anchors.yaml")
    return cfg


class Generated(Records):
    """Records that exist while they are looked at."""

    def _read(self, index):
        size = {"height": 32 + index % 7, "width": 64}
        return {"file_name": f"{index}.png", "image_id": index, "texts": WORDS} | size


def merge(cfg, folder, count):
    """Peak of the memory, in bytes, of a merge of generated shards, and what it gave."""
    job = AnchorJob(cfg, "generated", 4, folder)
    folder.mkdir()
    records = Generated(count)
    for number, indices in enumerate(plan_shards(records, 4)):
        with open(job.shard(number), "w", encoding="utf-8") as stream:
            for index in indices:
                values = [round((index * 4 + row) / (4 * count), 6) for row in range(len(WORDS))]
                points = [[float(index % 60), 8.0 * row] for row in range(len(WORDS))]
                columns = {"points": points, "scores": values, "similarity": values}
                stream.write(json.dumps({"index": index, **columns}) + "\n")
    tracemalloc.start()
    answers = Answers(job, plan_shards(records, 4))
    report = LabelReport((0.1, 0.2))
    for image in label_images(cfg, records, answers, (0.1, 0.2)):
        report.add(image)
    content = report.content()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak, content, answers


def test_answers_come_in_the_order_of_the_records_whatever_that_of_the_shards(cfg, tmp_path):
    """Score and similarity rise with the image, so both ranks do: p (1 + 2 p) / 3."""
    _, content, answers = merge(cfg, tmp_path / "a", 30)
    p = (np.arange(120) + 0.5) / 120
    found = np.concatenate([answers.read(index)["confidence"] for index in range(30)])
    np.testing.assert_allclose(found, p * (1 + 2 * p) / 3)
    assert answers.read(29)["points"][3] == [29.0, 24.0]
    assert content["images"]["labelled"] == 30
    assert sum(content["words"].values()) == 120


def test_memory_grows_by_a_few_numbers_an_image(cfg, tmp_path):
    """A labelled image as Python objects takes some 3,000 bytes."""
    small, large = (merge(cfg, tmp_path / str(count), count)[0] for count in (400, 1600))
    assert (large - small) / 1200 < 500
