import math
import random

import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.data import transforms as T
from fvcore.transforms.transform import CropTransform, NoOpTransform
from hypothesis import given, settings
from hypothesis import strategies as st

from wecromcl_d2 import add_wecromcl_config
from wecromcl_d2.data.augmentation import FilledRotationTransform, PlainResizeTransform
from wecromcl_d2.stage2.augmentation import (
    PointCrop,
    PointInput,
    build_point_augmentations,
    distance_outside,
    window_fits,
)

FULL = np.array([100, 200])  # height and width of most images here


def words(points, *, size=(100, 200), located=None, readable=None, lengths=None, image=None):
    count = len(points)
    return PointInput(
        np.zeros((*size, 3), np.uint8) if image is None else image,
        np.array(points, dtype=float).reshape(-1, 2),
        located=np.ones(count, bool) if located is None else np.array(located, bool),
        readable=np.ones(count, bool) if readable is None else np.array(readable, bool),
        lengths=np.full(count, 5) if lengths is None else np.array(lengths),
    )


def config(*opts):
    cfg = get_cfg()
    add_wecromcl_config(cfg)
    cfg.merge_from_list(["INPUT.FORMAT", "RGB", "INPUT.CROP.ENABLED", True, *opts])
    return cfg


def test_a_quarter_turn_by_hand():
    aug_input = words([[10, 20], [0, 0], [200, 100], [200, 0]])
    aug_input.transform(FilledRotationTransform(100, 200, 90.0, (0.0, 0.0, 0.0)))
    assert aug_input.image.shape == (200, 100, 3)
    # Counter-clockwise: the right border becomes the upper one.
    expected = [[20, 190], [0, 200], [100, 0], [0, 0]]
    np.testing.assert_allclose(aug_input.points, expected, atol=1e-9)


def test_a_resize_by_hand_leaves_the_given_points_alone():
    points = np.array([[10.0, 20.0], [200.0, 100.0]])
    aug_input = words(points)
    aug_input.transform(PlainResizeTransform(100, 200, 50, 600))
    assert aug_input.points.tolist() == [[30, 10], [600, 50]]
    assert points.tolist() == [[10, 20], [200, 100]]


def test_points_of_the_border_stay_on_a_canvas_that_is_rounded_down():
    aug_input = words([[0, 0], [200, 0], [200, 100], [0, 100]])
    aug_input.transform(FilledRotationTransform(100, 200, 7.0, (0.0, 0.0, 0.0)))
    height, width = aug_input.image.shape[:2]
    # 100 sin 7 + 200 cos 7 = 210.7 and 100 cos 7 + 200 sin 7 = 123.6, which the corners touch.
    assert (height, width) == (123, 210)
    assert aug_input.points[0, 0] == 0 and aug_input.points[1, 1] == 0
    assert aug_input.points[2, 0] == 210 and aug_input.points[3, 1] == 123


def test_a_crop_keeps_cuts_and_loses_words():
    aug_input = words([[50, 40], [30, 50], [20, 50], [150, 70], [0, 0], [40, 10]])
    aug_input.located[4] = False
    reach = np.array([1, 10, 10, 15, 50, 0])
    applied = aug_input.crop(40, 10, 50, 100, reach)
    assert aug_input.image.shape == (50, 100, 3) and isinstance(applied, CropTransform)
    # Inside; 10 to the left; 20 to the left; 14.1 off a corner; no place; on the corner.
    assert aug_input.cut.tolist() == [False, True, False, True, False, False]
    assert aug_input.gone.tolist() == [False, False, True, False, False, False]
    assert aug_input.points[[0, 1, 3, 5]].tolist() == [[10, 30], [0, 40], [100, 50], [0, 0]]


def test_distances_to_a_window():
    points = np.array([[5, 5], [10, 20], [7, 16], [30, 5], [25, 24]], dtype=float)
    outside = distance_outside(points, np.array((10, 0)), np.array((22, 20)))
    assert outside.tolist() == [5, 0, 3, 8, 5]


@pytest.mark.parametrize(
    ("points", "window", "fits"),
    [
        ([[50, 50]], (44, 44, 100, 80), True),  # 6 inside the nearest border
        ([[50, 50]], (45, 44, 100, 80), False),  # 5 inside
        ([[49.9, 50]], (44, 44, 100, 80), False),
        ([[50, 50]], (0, 0, 55.9, 100), False),
        ([[50, 50]], (44, 45, 100, 80), False),
        ([[50, 50]], (0, 0, 55, 100), False),
        ([[50, 50]], (0, 0, 56, 100), True),
        ([[2, 50]], (0, 0, 60, 100), True),  # the image's own border
        ([[199, 99]], (100, 50, 200, 100), True),
        ([[50, 50], [94, 50]], (0, 0, 88, 100), True),  # 6 outside
        ([[50, 50], [93, 50]], (0, 0, 88, 100), False),  # 5 outside
        ([[50, 50], [92, 94]], (0, 0, 88, 90), False),  # sqrt(4^2 + 4^2) = 5.66 outside
        ([[50, 50], [93, 94]], (0, 0, 88, 90), True),  # sqrt(5^2 + 4^2) = 6.40 outside
        ([[150, 50]], (0, 0, 50, 100), False),  # no word left
        ([], (10, 10, 50, 50), True),
    ],
)
def test_which_windows_fit(points, window, fits):
    assert window_fits(np.array(points, float).reshape(-1, 2), window, FULL, 6.0) is fits


places = st.tuples(st.floats(0, 200), st.floats(0, 100))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(places, st.booleans(), st.integers(1, 12)), max_size=6),
    st.booleans(),
    st.integers(0, 2**31),
)
def test_the_crop_rule_holds(drawn, relative, seed):
    np.random.seed(seed)
    readable = [word[1] for word in drawn]
    before = words([word[0] for word in drawn], readable=readable, lengths=[w[2] for w in drawn])
    points = before.points.copy()
    size = (0.3, 0.4) if relative else (60, 90)
    tfm = PointCrop(size, relative, 0.06)(before)
    if isinstance(tfm, NoOpTransform):
        assert not before.cut.any() and not before.gone.any()
        assert (before.points == points).all() and before.image.shape == (100, 200, 3)
        return
    height, width = before.image.shape[:2]
    assert (tfm.w, tfm.h) == (width, height)
    if relative:
        assert 30 <= height <= 100 and 80 <= width <= 200
    else:
        assert (height, width) == (60, 90)
    margin = 0.06 * min(height, width)
    kept = ~(before.cut | before.gone)
    assert kept[before.readable].any() or not any(readable)
    right, lower = tfm.x0 + width, tfm.y0 + height
    for i, (x, y) in enumerate(points):
        beyond = math.hypot(max(tfm.x0 - x, 0, x - right), max(tfm.y0 - y, 0, y - lower))
        assert kept[i] == (beyond == 0)
        if not kept[i]:
            assert before.cut[i] == (beyond <= margin * before.lengths[i])
            assert beyond >= margin or not readable[i]
        elif readable[i]:
            assert tfm.x0 == 0 or x - tfm.x0 >= margin
            assert tfm.y0 == 0 or y - tfm.y0 >= margin
            assert right == 200 or right - x >= margin
            assert lower == 100 or lower - y >= margin
    moved = points - (tfm.x0, tfm.y0)
    assert (before.points[kept] == moved[kept]).all()
    assert (before.points >= 0).all() and (before.points <= (width, height)).all()


def test_both_ends_of_the_sizes_and_places_are_drawn():
    crops = [PointCrop((0.5, 0.5), True, 0.06)(words([])) for _ in range(300)]
    heights = [crop.h for crop in crops]
    assert min(heights) < 55 and max(heights) > 95
    assert min(crop.x0 for crop in crops) == 0
    assert max(crop.x0 for crop in crops) > 80


def test_a_word_of_unknown_place_keeps_the_image_whole():
    crop = PointCrop((0.5, 0.5), True, 0.06)
    unknown = words([[50, 50], [0, 0]], located=[True, False])
    assert all(isinstance(crop(unknown), NoOpTransform) for _ in range(20))
    assert unknown.image.shape == (100, 200, 3)
    crop(words([[50, 50], [0, 0]], located=[True, False], readable=[True, False]))
    ignored = words([[50, 50], [0, 0]], located=[True, False], readable=[True, False])
    assert isinstance(crop(ignored), CropTransform)


def test_where_no_window_fits_the_image_stays_whole():
    crowd = words([[x, y] for x in range(5, 200, 10) for y in range(5, 100, 10)])
    assert isinstance(PointCrop((60, 90), False, 0.1)(crowd), NoOpTransform)
    assert crowd.image.shape == (100, 200, 3) and not crowd.gone.any()


def test_a_crop_larger_than_the_image_keeps_all_of_it():
    aug_input = words([[1, 1], [199, 99]])
    PointCrop((640, 640), False, 0.06)(aug_input)
    assert aug_input.image.shape == (100, 200, 3)
    assert aug_input.points.tolist() == [[1, 1], [199, 99]] and not aug_input.gone.any()


def test_an_image_of_one_pixel_is_cropped_to_itself():
    aug_input = words([[0.5, 0.5]], size=(1, 1))
    PointCrop((0.1, 0.1), True, 0.06)(aug_input)
    assert aug_input.image.shape == (1, 1, 3)


def blobs(size, points):
    """Black image with a round blob in a channel of its own for each of up to three points."""
    height, width = size
    y, x = np.mgrid[:height, :width] + 0.5
    image = np.zeros((height, width, 3), np.uint8)
    for channel, (px, py) in enumerate(points):
        image[..., channel] = 255 * np.clip(4.5 - np.hypot(x - px, y - py), 0, 1)
    return image


def center(plane):
    """Center of mass (x, y) of one channel."""
    y, x = np.mgrid[: plane.shape[0], : plane.shape[1]] + 0.5
    weight = plane.astype(float)
    return np.array([(x * weight).sum(), (y * weight).sum()]) / weight.sum()


# The margin is wider than a blob, so that no blob is half lost.
OPTIONS = ["INPUT.MIN_SIZE_TRAIN", (80, 130), "INPUT.MAX_SIZE_TRAIN", 400,
           "INPUT.CROP.MARGIN", 0.15]  # fmt: skip
ROTATION = ["INPUT.AUG.ROTATION", 30.0, "INPUT.AUG.ROTATION_BORDER", "black"]


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.floats(5, 145), st.floats(5, 85)), min_size=1, max_size=3),
    st.sampled_from([("relative_range", [0.5, 0.4]), ("absolute", [70, 90])]),
    st.sampled_from(["shortest_edge", "multiple"]),
    st.integers(0, 2**31),
)
def test_points_stay_on_what_they_mark(points, crop, resize, seed):
    cfg = config(*OPTIONS, *ROTATION, "INPUT.RESIZE", resize)
    cfg.INPUT.CROP.TYPE, cfg.INPUT.CROP.SIZE = crop
    np.random.seed(seed)
    aug_input = words(points, image=blobs((90, 150), points))
    T.AugmentationList(build_point_augmentations(cfg, True))(aug_input)
    lost = aug_input.cut | aug_input.gone
    assert not lost.all()
    for channel in np.flatnonzero(~lost):
        followed = center(aug_input.image[..., channel])
        assert np.abs(followed - aug_input.points[channel]).max() < 0.6
    for channel in np.flatnonzero(lost):
        assert aug_input.image[..., channel].max() < 128


def test_the_same_numpy_seed_gives_the_same_words_and_pixels():
    augmentations = T.AugmentationList(
        build_point_augmentations(
            config(*OPTIONS, *ROTATION, "INPUT.AUG.BLUR_PROB", 0.5, "INPUT.AUG.JITTER_PROB", 0.5),
            True,
        )
    )
    image = np.random.randint(0, 256, (90, 150, 3), dtype=np.uint8)
    results = []
    for seed in (1, 1, 2):
        np.random.seed(seed)
        random.seed(len(results))
        torch.manual_seed(len(results))
        aug_input = words([[40, 30], [100, 60]], image=image)
        augmentations(aug_input)
        results.append(aug_input)
    assert np.array_equal(results[0].image, results[1].image)
    assert np.array_equal(results[0].points, results[1].points)
    assert not np.array_equal(results[0].points, results[2].points)


def names(cfg, is_train=True):
    return [type(step).__name__ for step in build_point_augmentations(cfg, is_train)]


def test_a_relative_crop_comes_before_the_resize_and_an_absolute_one_after_it():
    every = [*ROTATION, "INPUT.AUG.BLUR_PROB", 0.1, "INPUT.AUG.JITTER_PROB", 0.5]
    relative, absolute = (
        config(*every, "INPUT.CROP.TYPE", kind, "INPUT.CROP.SIZE", size)
        for kind, size in (("relative_range", [0.5, 0.5]), ("absolute", [640, 640]))
    )
    last = ["RandomBlur", "RandomColor"]
    assert names(relative) == ["RandomRotation", "PointCrop", "ResizeShortestEdge", *last]
    assert names(absolute) == ["RandomRotation", "ResizeShortestEdge", "PointCrop", *last]
    assert names(absolute, is_train=False) == ["ResizeShortestEdge"]
    assert names(config("INPUT.CROP.ENABLED", False)) == ["ResizeShortestEdge"]


def test_rotations_are_as_likely_as_asked_for():
    cfg = config(*ROTATION, "INPUT.AUG.ROTATION_PROB", 0.25)
    rotation = build_point_augmentations(cfg, True)[0]
    turned = sum(isinstance(rotation(words([])), T.RotationTransform) for _ in range(400))
    assert 65 < turned < 135  # 100, give or take four standard deviations
    assert "RandomRotation" not in names(config(*ROTATION, "INPUT.AUG.ROTATION_PROB", 0.0))


@pytest.mark.parametrize(
    ("kind", "size"),
    [
        ("relative", [0.5, 0.5]),
        ("relative_range", [0.5, 1.5]),
        ("relative_range", [0.0, 0.5]),
        ("absolute", [0.5, 640]),
        ("absolute", [640]),
    ],
)
def test_bad_crops_are_refused_by_name(kind, size):
    with pytest.raises(ValueError, match=r"INPUT\.CROP\.(TYPE|SIZE) is .*(relative|640|0\.5)"):
        build_point_augmentations(config("INPUT.CROP.TYPE", kind, "INPUT.CROP.SIZE", size), True)
