"""Images of extreme sizes: right answers in bounded time and memory."""

import resource
import time

import cv2
import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.modeling import build_model

from wecromcl_d2 import add_wecromcl_config
from wecromcl_d2.stage1.mapper import AnchorMapper

SIDE = 8000
# A colour image of 8000 x 8000 is 192 MB, and reading it makes a second one.
MOST_MEGABYTES = 1000
MOST_SECONDS = 30  # of processor time; 3 on an idle machine


def read_config(name):
    cfg = get_cfg()
    add_wecromcl_config(cfg)
    cfg.merge_from_file(f"configs/{name}.yaml")
    return cfg


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return build_model(read_config("quick/anchors")).eval()


def megabytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def test_a_huge_image_takes_bounded_time_and_memory(model, tmp_path):
    image = np.full((SIDE, SIDE), 230, np.uint8)
    image[3000:5000, 1000:7000] = 40
    assert cv2.imwrite(str(tmp_path / "huge.png"), image)
    del image
    record = {"file_name": str(tmp_path / "huge.png"), "height": SIDE, "width": SIDE}
    memory, start = megabytes(), time.process_time()
    entry = AnchorMapper(read_config("stage1/icdar2015"), False)({**record, "texts": ["word"]})
    instances = model([entry])[0]["instances"]
    assert time.process_time() - start < MOST_SECONDS
    assert megabytes() - memory < MOST_MEGABYTES
    assert entry["image"].shape == (3, 1696, 1696)
    x, y = instances.pred_points[0].tolist()
    assert 0 <= x <= SIDE and 0 <= y <= SIDE


@pytest.mark.parametrize("size", [(1, 1), (1, 9000), (9000, 1), (3, 700)])
def test_slivers_are_read_and_resized(model, tmp_path, size):
    path = tmp_path / "sliver.png"
    assert cv2.imwrite(str(path), np.full((*size, 3), 128, np.uint8))
    record = {"file_name": str(path), "height": size[0], "width": size[1], "texts": ["word"]}
    cfg = read_config("stage1/icdar2015")
    entry = AnchorMapper(cfg, False)(record)
    assert max(entry["image"].shape) == 1696 and min(entry["image"].shape[1:]) >= 32
    queries = {"queries": ["word"], "negatives": []}
    assert min(AnchorMapper(cfg, True)({**record, **queries})["image"].shape[1:]) >= 1


def test_a_training_batch_of_mixed_sizes(model):
    """Also of single pixels and slivers; every image takes part in both losses."""
    sizes = [(1, 1), (1, 200), (90, 1), (64, 64), (33, 97)]
    batch = [
        {
            "image": torch.full((3, *size), 10 * i, dtype=torch.uint8),
            "queries": [f"word{i}"],
            "negatives": ["one", "two"],
        }
        for i, size in enumerate(sizes)
    ]
    model.train().zero_grad()
    losses = model(batch)
    sum(losses.values()).backward()
    model.eval()
    assert all(torch.isfinite(loss) for loss in losses.values())
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert all(torch.isfinite(gradient).all() for gradient in gradients)
