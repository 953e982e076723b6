import copy
import re

import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.data import transforms as T
from PIL import Image

from wecromcl_d2 import add_wecromcl_config
from wecromcl_d2.data.datasets import LabelError
from wecromcl_d2.data.images import ImageError
from wecromcl_d2.stage2.mapper import PointMapper

FIELDS = {
    "gt_points",
    "gt_texts",
    "gt_point_weights",
    "gt_ignore",
    "gt_located",
    "gt_ignore_radii",
}


@pytest.fixture
def record(tmp_path):
    pixels = np.random.randint(0, 256, (60, 80, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    return {
        "file_name": str(tmp_path / "a.png"),
        "image_id": "a",
        "height": 60,
        "width": 80,
        "texts": ["Hill", "Street", "###", " ", "Bar"],
        "points": [[20, 30.5], None, [70.0, 10.0], [40.0, 5.0], [80, 60]],
        "point_weights": [0.25, 1.0, 1.0, 1.0, None],
        "ignore": [False, False, True, False, False],
        "polygons": [None] * 5,
    }


def mapper(*, is_train=True, augmentations=(), **changes):
    options = {"image_format": "RGB", "require_points": True, "ignore_radius": 7.0}
    return PointMapper(is_train, augmentations=augmentations, **(options | changes))


class FixedCrop(T.Augmentation):
    """A window of 40 x 40 pixels in the upper left, and words of 15 pixels."""

    def __call__(self, aug_input):
        """Crop in place."""
        return aug_input.crop(0, 0, 40, 40, np.full(len(aug_input.points), 15))


def test_every_field_of_a_training_input(record):
    before = copy.deepcopy(record)
    result = mapper()(record)
    assert record == before
    assert set(result) == {"file_name", "image_id", "height", "width", "image", "instances"}
    assert result["image"].shape == (3, 60, 80) and result["image"].dtype == torch.uint8
    words = result["instances"]
    assert words.image_size == (60, 80) and set(words.get_fields()) == FIELDS
    assert words.gt_points.tolist() == [[20, 30.5], [0, 0], [70, 10], [40, 5], [80, 60]]
    assert list(words.gt_texts) == ["Hill", "Street", "###", " ", "Bar"]
    assert words.gt_point_weights.tolist() == [0.25, 0, 0, 0, 0]
    assert words.gt_ignore.tolist() == [False, False, True, True, False]
    assert words.gt_located.tolist() == [True, False, True, True, True]
    assert words.gt_ignore_radii.tolist() == [0] * 5
    assert words.gt_points.dtype == words.gt_point_weights.dtype == torch.float32
    assert words.gt_ignore.dtype == words.gt_located.dtype == torch.bool


def test_words_can_be_selected_by_a_mask(record):
    words = mapper()(record)["instances"]
    learned = words[words.gt_located & ~words.gt_ignore]
    assert list(learned.gt_texts) == ["Hill", "Bar"]


def test_a_cut_word_marks_the_border_and_a_lost_one_leaves_no_row(record):
    record["points"] = [[20.0, 30.0], [52.0, 25.0], [45.0, 43.0], [80.0, 5.0], [30.0, 60.0]]
    words = mapper(augmentations=[FixedCrop()])(record)["instances"]
    # 12 right of the window; 5 right and 3 below; 40 right; 20 below.
    assert words.gt_points.tolist() == [[20, 30], [40, 25], [40, 40]]
    assert list(words.gt_texts) == ["Hill", "", ""]
    assert words.gt_ignore.tolist() == [False, True, True]
    assert words.gt_located.tolist() == [True, True, True]
    assert words.gt_point_weights.tolist() == [0.25, 0, 0]
    assert words.gt_ignore_radii.tolist() == [0, 7, 7]


def test_human_points_count_in_full_and_mix_with_weighted_ones(record):
    human = {key: value for key, value in record.items() if key != "point_weights"}
    weights = [mapper()(each)["instances"].gt_point_weights.tolist() for each in (record, human)]
    assert weights == [[0.25, 0, 0, 0, 0], [1, 0, 0, 0, 1]]


def test_a_test_input_is_the_image_and_the_whole_record(record):
    del record["points"]
    result = mapper(is_train=False)(record)
    assert {key: value for key, value in result.items() if key != "image"} == record
    assert result["texts"] is not record["texts"]
    assert result["image"].shape == (3, 60, 80)


def test_a_record_without_points_is_refused_with_the_remedy(record):
    del record["points"]
    with pytest.raises(LabelError, match=r"a\.png has no 'points'.*`wecromcl anchors`"):
        mapper()(record)


def test_an_image_without_any_located_word_is_left_out(record):
    # Of the two words with points one is ignored and one blank.
    record["points"][0] = record["points"][4] = None
    with pytest.raises(ImageError, match=r"a\.png: none of its words has a point"):
        mapper()(record)


@pytest.mark.parametrize("points", [None, [None] * 5])
def test_texts_alone_are_enough_where_no_points_are_required(record, points):
    record["points"] = points
    if points is None:
        del record["points"]
    words = mapper(require_points=False)(record)["instances"]
    assert not words.gt_located.any() and not words.gt_point_weights.any()
    assert len(words.gt_texts) == 5 and not words.gt_points.any()


@pytest.mark.parametrize("changes", [{"texts": []}, {"texts": ["###"], "ignore": [True]}])
def test_an_image_without_readable_words_needs_no_points(record, changes):
    for key in ("points", "point_weights", "polygons", "ignore"):
        del record[key]
    words = mapper(augmentations=[FixedCrop()])(record | changes)["instances"]
    assert len(words) == len(changes["texts"]) and words.gt_points.shape == (len(words), 2)
    assert words.gt_ignore.all()


@pytest.mark.parametrize("point", [[80.01, 30.0], [-0.5, 3.0], [20.0, 61.0], [20.0, -1.0]])
def test_a_point_outside_the_image_is_named(record, point):
    record["points"][4] = point
    message = rf"a\.png: points\[4\] is {re.escape(str(point))}, outside of its 80 x 60 .*'Bar'"
    with pytest.raises(ImageError, match=message):
        mapper()(record)


def test_an_ignored_word_half_outside_is_marked_at_the_border(record):
    record["points"][2], record["points"][3] = [90.0, -3.0], [40.0, 60.5]
    words = mapper()(record)["instances"]
    assert words.gt_points[2:4].tolist() == [[80, 0], [40, 60]]


def test_a_missing_image_and_a_wrong_size_are_named(record):
    with pytest.raises(ImageError, match=r"a\.png"):
        mapper()(record | {"width": 81})
    with pytest.raises(ImageError, match=r"b\.png"):
        mapper()(record | {"file_name": "b.png"})


def test_the_config_decides(record):
    cfg = get_cfg()
    add_wecromcl_config(cfg)
    cfg.merge_from_list(
        ["INPUT.MIN_SIZE_TRAIN", (120,), "INPUT.MIN_SIZE_TEST", 30, "INPUT.FORMAT", "RGB"]
    )
    result = PointMapper(cfg, True)(record)
    assert result["image"].shape == (3, 120, 160) and result["height"] == 60
    assert result["instances"].gt_points[0].tolist() == [40, 61]
    assert PointMapper(cfg, False)(record)["image"].shape == (3, 30, 40)
    made = PointMapper(cfg, True)
    assert (made.require_points, made.ignore_radius, made.image_format) == (True, 32.0, "RGB")
