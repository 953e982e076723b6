import numpy as np
import pytest
from detectron2.config import get_cfg
from detectron2.data import transforms as T
from PIL import Image

from wecromcl_d2 import add_wecromcl_config
from wecromcl_d2.data.augmentation import (
    BLUR_KINDS,
    FilledRotationTransform,
    InferenceResize,
    LimitedResize,
    PlainResizeTransform,
    RandomBlur,
    RandomColor,
    RandomRotation,
    TrainResize,
    blur,
    build_augmentations,
    inference_size,
    shift_hue,
    train_size,
)


def config(*opts, base="configs/stage1/icdar2015.yaml"):
    cfg = get_cfg()
    add_wecromcl_config(cfg)
    cfg.merge_from_file(base)
    cfg.merge_from_list(list(opts))
    return cfg


def noise(height, width):
    return np.random.randint(0, 256, (height, width, 3), dtype=np.uint8)


def augmented(augmentation, image):
    aug_input = T.AugInput(image)
    T.AugmentationList([augmentation])(aug_input)
    return aug_input.image


# (size, side, longest) -> size, worked out by hand.
@pytest.mark.parametrize(
    ("size", "side", "longest", "expected"),
    [
        ((200, 536), 640, 1280, (480, 1312)),  # 478 x 1281 rounded up
        ((536, 200), 640, 1280, (1312, 480)),
        ((720, 1280), 640, 640, (384, 640)),  # 360 x 640
        ((720, 1280), 896, 1280, (720, 1280)),  # lowered to 720, which the image has
        ((500, 500), 640, 640, (640, 640)),
        ((300, 400), 640, 1280, (640, 864)),  # 640 x 853
        ((640, 701), 640, 1280, (640, 701)),  # right from the start
        ((1, 8000), 640, 1280, (1, 8000)),
        ((2, 8000), 640, 1280, (32, 4000)),
    ],
)
def test_training_sizes(size, side, longest, expected):
    assert train_size(size, side, longest, 32) == expected


@pytest.mark.parametrize(
    ("size", "side", "longest", "expected"),
    [
        ((720, 1280), 0, 1696, (960, 1696)),
        ((1280, 720), 0, 1696, (1696, 960)),
        ((500, 500), 0, 1152, (1152, 1152)),
        ((720, 1280), 896, 8192, (896, 1600)),  # 1592
        ((1280, 720), 896, 8192, (1600, 896)),
        ((720, 1280), 650, 8192, (672, 1216)),  # 672 x 1194
        ((100, 2000), 896, 8192, (416, 8192)),  # 17920 exceeds 8192; 409
        ((1, 8000), 0, 1696, (32, 1696)),
        ((1, 1), 0, 1152, (1152, 1152)),
    ],
)
def test_inference_sizes(size, side, longest, expected):
    assert inference_size(size, side, longest, 32) == expected


def test_the_resize_moves_points_with_the_pixels():
    transform = PlainResizeTransform(4, 8, 8, 8)
    assert transform.apply_image(noise(4, 8)).shape == (8, 8, 3)
    assert transform.apply_coords(np.array([[2.0, 3.0]])).tolist() == [[2.0, 6.0]]


def test_the_resize_does_not_antialias():
    image = np.zeros((8, 8, 3), np.uint8)
    image[3:5, 3:5] = 255
    # A quarter of the size: the center of a new pixel lies between four old ones, 1, 2, 5 and 6.
    small = PlainResizeTransform(8, 8, 2, 2).apply_image(image)
    assert not small.any()
    assert T.ResizeTransform(8, 8, 2, 2).apply_image(image).all()


def test_each_training_side_is_drawn():
    augmentation = TrainResize((32, 64), 640, 32)
    heights = {augmented(augmentation, noise(50, 60)).shape[0] for _ in range(30)}
    assert heights == {32, 64}


def test_rotation_opens_the_canvas_and_fills_its_corners():
    image = np.full((50, 100, 3), 200, np.uint8)
    transform = FilledRotationTransform(50, 100, 10.0, (1.0, 2.0, 3.0))
    rotated = transform.apply_image(image)
    # 50 sin 10 + 100 cos 10 = 107.16, 50 cos 10 + 100 sin 10 = 66.61
    assert rotated.shape == (66, 107, 3)
    for corner in (rotated[0, 0], rotated[0, -1], rotated[-1, 0], rotated[-1, -1]):
        assert corner.tolist() == [1, 2, 3]
    assert rotated[33, 53].tolist() == [200, 200, 200]
    np.testing.assert_allclose(transform.apply_coords(np.array([[50.0, 25.0]])), [[53.5, 33.0]])


def test_rotation_angles_stay_within_the_reach():
    augmentation = RandomRotation(10.0, (0.0, 0.0, 0.0))
    angles = [augmentation.get_transform(noise(4, 4)).angle for _ in range(200)]
    assert -10 <= min(angles) < -8 and 8 < max(angles) <= 10


@pytest.mark.parametrize("kind", BLUR_KINDS)
@pytest.mark.parametrize("strength", [3, 4, 9])
def test_blurs_keep_even_images_and_calm_noise(kind, strength):
    even = np.full((20, 20, 3), 77, np.uint8)
    assert (blur(even, kind, strength) == 77).all()
    image = noise(20, 20)
    assert blur(image, kind, strength).std() < 0.8 * image.std()


def test_motion_blur_is_vertical():
    image = np.zeros((11, 11, 3), np.uint8)
    image[5, 5] = 250
    blurred = blur(image, "motion", 4)  # five pixels
    assert blurred[:, 5, 0].tolist() == [0, 0, 0, 50, 50, 50, 50, 50, 0, 0, 0]
    assert not np.delete(blurred, 5, axis=1).any()


def test_no_gaussian_blur_of_width_zero():
    image = noise(5, 5)
    assert (blur(image, "gaussian", 0.0) == image).all()


def test_every_blur_is_drawn():
    transforms = [RandomBlur(1.0).get_transform(noise(4, 4)) for _ in range(100)]
    assert {transform.op.keywords["kind"] for transform in transforms} == set(BLUR_KINDS)
    strengths = {t.op.keywords["strength"] for t in transforms if t.op.keywords["kind"] == "median"}
    assert strengths <= set(range(3, 10))


@pytest.mark.parametrize(
    ("turns", "colour"), [(1 / 3, [0, 255, 0]), (-1 / 3, [0, 0, 255]), (0.0, [255, 0, 0])]
)
def test_hue_turns_red_into_the_other_primaries(turns, colour):
    red = Image.fromarray(np.full((2, 2, 3), [255, 0, 0], np.uint8))
    # A step of 8-bit hue is 6 of red, green or blue.
    assert np.abs(np.asarray(shift_hue(red, turns))[0, 0].astype(int) - colour).max() <= 6


def test_no_jitter_changes_nothing_but_rounding():
    image = noise(8, 8)
    changed = augmented(RandomColor(1.0, 0.0, 0.0, 0.0, 0.0), image)
    assert np.abs(changed.astype(int) - image).max() <= 1


def test_brightness_spans_its_range():
    image = np.full((2, 2, 3), 100, np.uint8)
    seen = [augmented(RandomColor(1.0, 0.5, 0.0, 0.0, 0.0), image)[0, 0, 0] for _ in range(100)]
    assert 48 <= min(seen) < 60 and 140 < max(seen) <= 152


def test_the_published_order():
    names = [type(a).__name__ for a in build_augmentations(config(), True)]
    assert names == ["RandomRotation", "TrainResize", "RandomBlur", "RandomColor"]
    assert [type(a) for a in build_augmentations(config(), False)] == [InferenceResize]


def test_probabilities_are_those_of_the_config():
    cfg = config("INPUT.AUG.BLUR_PROB", 0.25)
    augmentations = build_augmentations(cfg, True)
    assert [augmentations[2].prob, augmentations[3].prob] == [0.25, 0.5]


def test_probabilities_are_kept():
    image = noise(16, 16)
    for augmentation in (RandomBlur(0.25), RandomColor(0.25, 0.5, 0.5, 0.5, 0.5)):
        changed = sum((augmented(augmentation, image) != image).any() for _ in range(400))
        assert 65 < changed < 135  # 100, give or take four standard deviations


def test_without_keys_nothing_but_detectron2s_resize():
    cfg = config(base="configs/quick/anchors.yaml")
    for is_train in (True, False):
        assert [type(a) for a in build_augmentations(cfg, is_train)] == [LimitedResize]
    cfg = config("INPUT.MIN_SIZE_TRAIN", (96,), base="configs/quick/anchors.yaml")
    assert [type(a) for a in build_augmentations(cfg, True)] == [T.ResizeShortestEdge]


@pytest.mark.parametrize("is_train", [True, False])
@pytest.mark.parametrize(
    ("size", "longest", "expected"),
    [
        ((30, 40), 40, (30, 40)),
        ((30, 41), 20, (15, 20)),
        ((400, 10), 100, (100, 2)),
        ((900, 2), 100, (100, 1)),
        ((30, 41), 0, (30, 41)),
    ],
)
def test_a_config_that_keeps_sizes_shrinks_what_exceeds_its_limit(
    size, longest, expected, is_train
):
    limits = ("INPUT.MAX_SIZE_TRAIN", longest, "INPUT.MAX_SIZE_TEST", longest)
    (resize,) = build_augmentations(config(*limits, base="configs/quick/anchors.yaml"), is_train)
    assert augmented(resize, noise(*size)).shape == (*expected, 3)


def test_a_drawn_size_of_0_is_limited_and_others_follow_detectron2():
    resize = LimitedResize((0, 20), 50, "choice")
    shapes = {augmented(resize, noise(40, 80)).shape[:2] for _ in range(40)}
    assert shapes == {(25, 50), (20, 40)}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("INPUT.RESIZE", "stretch"),
        ("INPUT.AUG.ROTATION_BORDER", "white"),
        ("INPUT.FORMAT", "BGR"),
        ("INPUT.MIN_SIZE_TRAIN_SAMPLING", "range"),
    ],
)
def test_wrong_choices_are_refused_by_name(key, value):
    with pytest.raises(ValueError, match=f"{key} is '{value}'"):
        build_augmentations(config(key, value), True)
