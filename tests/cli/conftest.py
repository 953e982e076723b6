"""What the tests of `wecromcl read` and `wecromcl find` share: models and images."""

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from PIL import Image

from tests.fake_spotter import paint, write_model
from wecromcl_d2.tasks import load_config

ANCHORS = "configs/quick/anchors.yaml"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    config, weights = write_model(tmp_path_factory.mktemp("model"))
    return ["--config-file", str(config), "--weights", str(weights)]


@pytest.fixture(scope="module")
def anchors(tmp_path_factory):
    weights = tmp_path_factory.mktemp("anchors") / "model.pth"
    torch.manual_seed(1)
    torch.save({"model": build_model(load_config(ANCHORS)).state_dict()}, weights)
    return ["--config-file", ANCHORS, "--weights", str(weights)]


@pytest.fixture
def photos(tmp_path):
    """Three images in a folder with a subfolder, each of one word."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for name, word in (("one.png", "hill"), ("two.png", "street"), ("more/one.png", "way")):
        image = np.zeros((48, 80, 3), np.uint8)
        paint(image, word, 8, 16)
        Image.fromarray(image).save(folder / name)
    (folder / "notes.txt").write_text("no image", encoding="utf-8")
    return folder
