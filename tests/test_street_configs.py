"""The models for photographs: their size, their alphabet, and that they run."""

from functools import cache

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model

from wecromcl_d2.tasks import load_config

LONG_WORD = "incomprehensibility1"  # of 20 characters


@cache
def street(name):
    cfg = load_config(f"configs/street/{name}.yaml", ["MODEL.DEVICE", "cpu"])
    return cfg, build_model(cfg).eval()


def answer(name, **extra):
    """Instances of the model, without learning, on noise of 64 x 128 pixels."""
    noise = np.random.default_rng(0).integers(0, 256, (3, 64, 128), dtype=np.uint8)
    inputs = {"image": torch.from_numpy(noise), "height": 64, "width": 128, **extra}
    with torch.no_grad():
        return street(name)[1]([inputs])[0]["instances"]


@pytest.mark.parametrize("name", ["anchors", "srsts_a"])
def test_each_has_two_to_six_million_parameters(name):
    count = sum(parameter.numel() for parameter in street(name)[1].parameters())
    assert 2e6 <= count <= 6e6


@pytest.mark.parametrize("name", ["anchors", "srsts_a"])
def test_each_knows_the_published_alphabet_without_case(name):
    charset = street(name)[1].charset
    assert len(charset.characters) == 69
    assert charset.normalize("£12.50!") == "12.50!"
    assert charset.normalize("HOTEL") == "hotel"


def test_the_detector_tells_words_of_twenty_characters_apart():
    model = street("anchors")[1]
    features, rows = model.encode_texts([LONG_WORD, f"{LONG_WORD[:-1]}2"])
    assert rows.tolist() == [0, 1]
    assert not torch.allclose(features[0], features[1])


def test_the_detector_places_each_word_in_the_image():
    found = answer("anchors", texts=["Hill", LONG_WORD, "12.50"])
    assert found.pred_texts == ["Hill", LONG_WORD, "12.50"]
    assert (found.pred_points >= 0).all()
    assert (found.pred_points <= torch.tensor([128, 64])).all()


def test_the_spotter_reads_lines_long_enough_for_twenty_characters():
    cfg, _ = street("srsts_a")
    # CTC needs a blank between two equal letters, of which a word has few.
    assert 1.5 * len(LONG_WORD) <= cfg.MODEL.SRSTS_A.NUM_POINTS
    found = answer("srsts_a")
    assert len(found.pred_texts) == len(found.scores) == len(found.pred_points)


def test_both_see_images_at_several_scales():
    detector, spotter = street("anchors")[0], street("srsts_a")[0]
    for scales in (detector.MODEL.WECROMCL.PYRAMID, spotter.MODEL.SRSTS_A.TEST.PYRAMID):
        assert len(scales) > 1 and max(scales) >= 1 > min(scales)


def test_the_phases_leave_room_for_scenes():
    solver = street("anchors")[0].SOLVER
    assert sum(solver.CURRICULUM.ITERS) <= solver.MAX_ITER / 2
