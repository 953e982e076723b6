"""The tool that draws README's first image."""

from dataclasses import replace

import numpy as np
import pytest

from tests.scripts import load_script
from wecromcl_d2.data.synthetic.scenes import Scene
from wecromcl_d2.predictor import Anchors
from wecromcl_d2.predictor.images import ImageSource


@pytest.fixture(scope="module")
def tool():
    return load_script("tools/hero_image.py")


@pytest.fixture
def scene():
    image = np.zeros((320, 320, 3), np.uint8)
    boxes = [np.array([[x, 40], [x + 80, 40], [x + 80, 80], [x, 80]], float) for x in (20, 180)]
    return Scene(image, ["hill", "street"], boxes, image[..., 0], 90)


@pytest.fixture
def found(scene):
    maps = np.zeros((2, 40, 40), np.float32)
    maps[0, 7, 7] = maps[1, 7, 27] = 0.5
    points = np.array([[60.0, 60.0], [220.0, 60.0]])
    scores = np.array([0.5, 0.5])
    source = ImageSource(scene.image)
    return Anchors(scene.texts, points, scores, scores, maps, (8, 8), [], 320, 320, source)


def test_a_scene_without_misses_is_drawn(tool, scene, found):
    assert tool.missed(scene, found) == []
    drawn = tool.drawing(scene.image, found)
    assert drawn.shape[1] == tool.WIDTH and drawn.dtype == np.uint8
    right = drawn[:, tool.WIDTH // 2 :]
    assert (right[..., 0] > right[..., 2] + 60).any()  # the glow of a map


lower = np.zeros((2, 40, 40), np.float32)
lower[0, 7, 7] = lower[1, 30, 27] = 0.5
lower[1, 7, 27] = 0.2


@pytest.mark.parametrize(
    "change",
    [
        {"points": np.array([[60.0, 60.0], [60.0, 60.0]])},
        {"maps": lower},
    ],
    ids=["beside its word", "on a lower peak"],
)
def test_an_anchor_beside_its_word_or_on_a_lower_peak_is_a_miss(tool, scene, found, change):
    assert tool.missed(scene, replace(found, **change)) == ["street"]
