"""Contract of transforms, augmentations and image reading (items 17-22)."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from detectron2.data import detection_utils as utils
from detectron2.data import transforms as T
from PIL import Image


def ramp(height: int, width: int) -> np.ndarray:
    """An RGB image in which every pixel of a row and every row differ."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 3 % 256, y * 4 % 256, (x + y) % 256], axis=-1).astype(np.uint8)


# Item 17
@pytest.mark.parametrize(
    ("size", "short", "longest", "expected"),
    [
        ((60, 80), 40, 100, (40, 53)),
        ((60, 80), 50, 60, (45, 60)),
        ((60, 80), 33, 1000, (33, 44)),
        ((375, 1242), 800, 1333, (402, 1333)),
        ((80, 60), 40, 100, (53, 40)),
    ],
)
def test_output_shape(size: tuple, short: int, longest: int, expected: tuple) -> None:
    assert T.ResizeShortestEdge.get_output_shape(*size, short, longest) == expected


# Item 18
def test_the_draws_of_a_pipeline_are_those_of_detectron2() -> None:
    np.random.seed(2)
    augs = [
        T.ResizeShortestEdge((40, 50, 64), 1000, "choice"),
        T.RandomFlip(),
        T.RandomApply(T.RandomFlip(0.8, horizontal=False, vertical=True)),
        T.ResizeShortestEdge((20, 40)),
    ]
    boxes = np.array([[10.0, 10.0, 30.0, 40.0]])
    aug_input = T.AugInput(ramp(60, 80), boxes=boxes)
    transforms = T.AugmentationList(augs)(aug_input)
    kinds = [type(t).__name__ for t in transforms.transforms]
    assert kinds == ["ResizeTransform", "HFlipTransform", "NoOpTransform", "ResizeTransform"]
    assert aug_input.image.shape[:2] == (31, 41)
    expected = [[25.625, 5.1667, 35.875, 20.6667]]
    np.testing.assert_allclose(aug_input.boxes, expected, atol=1e-3)


def test_resize_draws_by_style() -> None:
    np.random.seed(5)
    drawn = [np.random.randint(20, 41), np.random.choice((20, 30))]
    np.random.seed(5)
    image = ramp(30, 60)
    heights = [
        T.ResizeShortestEdge((20, 40), 1000).get_transform(image).new_h,
        T.ResizeShortestEdge((20, 30), 1000, "choice").get_transform(image).new_h,
    ]
    assert heights == drawn


# Item 19
def test_rotation_of_points() -> None:
    rotation = T.RotationTransform(60, 80, 30)
    assert (rotation.bound_h, rotation.bound_w) == (92, 99)
    points = rotation.apply_coords(np.array([[0.0, 0.0], [40.0, 30.0]]))
    np.testing.assert_allclose(points, [[-0.141, 40.019], [49.5, 46.0]], atol=1e-3)
    assert rotation.apply_image(ramp(60, 80)).shape == (92, 99, 3)
    assert rotation.apply_coords(np.zeros((0, 2))).shape == (0, 2)


def test_rotation_moves_pixels_where_it_moves_points() -> None:
    image = np.zeros((41, 61, 1), np.uint8)
    image[8:11, 40:43] = 255  # centred on the point (41.5, 9.5)
    rotation = T.RotationTransform(41, 61, -25)
    y, x = np.nonzero(rotation.apply_image(image) > 60)
    point = rotation.apply_coords(np.array([[41.5, 9.5]]))[0]
    np.testing.assert_allclose([x.mean() + 0.5, y.mean() + 0.5], point, atol=0.35)
    fixed = T.RotationTransform(41, 61, -25, expand=False, center=(41.5, 9.5))
    np.testing.assert_allclose(fixed.apply_coords(np.array([[41.5, 9.5]])), [[41.5, 9.5]])


# Item 20
def test_resize_of_bytes_is_pillows() -> None:
    image = ramp(60, 80)
    resized = T.ResizeTransform(60, 80, 23, 31).apply_image(image)
    expected = Image.fromarray(image).resize((31, 23), Image.BILINEAR)
    np.testing.assert_array_equal(resized, np.asarray(expected))
    grey = T.ResizeTransform(60, 80, 23, 31, Image.NEAREST).apply_image(image[:, :, :1])
    assert grey.shape == (23, 31, 1) and set(np.unique(grey)) <= set(np.unique(image))


def test_resize_of_floats_is_torchs() -> None:
    image = ramp(60, 80).astype(np.float32)[:, ::-1]
    resized = T.ResizeTransform(60, 80, 23, 31).apply_image(image)
    nchw = torch.from_numpy(image.copy()).permute(2, 0, 1)[None]
    expected = F.interpolate(nchw, (23, 31), mode="bilinear", align_corners=False)
    np.testing.assert_array_equal(resized, expected[0].permute(1, 2, 0).numpy())
    assert T.ResizeTransform(60, 80, 23, 31).apply_image(image[:, :, 0]).shape == (23, 31)
    labels = T.ResizeTransform(60, 80, 23, 31).apply_segmentation(image[:, :, 0])
    assert set(np.unique(labels)) <= set(np.unique(image[:, :, 0]))


# Item 21
def test_points_change_in_place() -> None:
    resize, flip = T.ResizeTransform(10, 20, 20, 60), T.HFlipTransform(20)
    points = np.array([[2.0, 3.0]])
    assert resize.apply_coords(points) is points
    np.testing.assert_array_equal(points, [[6, 6]])
    whole = np.array([[2, 3]])
    assert flip.apply_coords(whole) is whole and whole.dtype.kind == "i"
    np.testing.assert_array_equal(whole, [[18, 3]])


def test_boxes_are_not_clipped_and_follow_their_corners() -> None:
    box = np.array([[-5.0, 2.0, 30.0, 8.0]])
    np.testing.assert_array_equal(T.HFlipTransform(20).apply_box(box), [[-10, 2, 25, 8]])
    corners = np.array([[-5.0, 2.0], [30, 2], [30, 8], [-5, 8]])
    (polygon,) = T.HFlipTransform(20).apply_polygons([corners])
    np.testing.assert_array_equal([*polygon.min(axis=0), *polygon.max(axis=0)], [-10, 2, 25, 8])


def test_augmentations_get_what_their_parameters_name() -> None:
    class Probe(T.Augmentation):
        def get_transform(self, sem_seg: Any, image: Any) -> T.Transform:
            self.seen = sem_seg.shape, image.shape
            return T.VFlipTransform(image.shape[0])

    class Single(T.Augmentation):
        def get_transform(self, anything: Any) -> T.Transform:
            self.seen = anything.shape
            return T.NoOpTransform()

    aug_input, probe, single = (
        T.AugInput(ramp(4, 6), sem_seg=np.eye(4, 6, dtype=np.uint8)),
        Probe(),
        Single(),
    )
    chosen = T.AugmentationList([probe, single, T.HFlipTransform(6)])(aug_input)
    assert (probe.seen, single.seen) == (((4, 6), (4, 6, 3)), (4, 6, 3))
    np.testing.assert_array_equal(aug_input.image, ramp(4, 6)[::-1, ::-1])
    np.testing.assert_array_equal(aug_input.sem_seg, np.eye(4, 6)[::-1, ::-1])
    assert [type(t) for t in chosen.transforms] == [
        T.VFlipTransform,
        T.NoOpTransform,
        T.HFlipTransform,
    ]
    with pytest.raises(AttributeError, match="boxes"):
        Probe.input_args = ("image", "no_boxes")
        Probe()(aug_input)


def test_colour_transforms() -> None:
    image = ramp(4, 6)
    invert = T.ColorTransform(lambda pixels: 255 - pixels)
    np.testing.assert_array_equal(invert.apply_image(image), 255 - image)
    assert invert.apply_coords(points := np.ones((1, 2))) is points
    assert invert.apply_segmentation(image) is image
    assert isinstance(invert.inverse(), T.NoOpTransform)
    with pytest.raises(ValueError, match="op"):
        T.ColorTransform("blur")


@pytest.mark.parametrize(("prob", "applied"), [(0.0, False), (1.0, True)])
def test_random_apply(prob: float, applied: bool) -> None:
    for chosen in (T.HFlipTransform(6), T.RandomFlip(prob=1.0)):
        aug_input, aug = T.AugInput(ramp(4, 6)), T.RandomApply(chosen, prob)
        assert isinstance(aug(aug_input), T.HFlipTransform if applied else T.NoOpTransform)
        expected = ramp(4, 6)[:, ::-1] if applied else ramp(4, 6)
        np.testing.assert_array_equal(aug_input.image, expected)
        assert aug.prob == prob


def test_flips() -> None:
    image = ramp(4, 6)
    flip = T.RandomFlip(1.0, horizontal=False, vertical=True).get_transform(image)
    assert isinstance(flip, T.VFlipTransform) and flip.height == 4
    for axes in ({"vertical": True}, {"horizontal": False}):
        with pytest.raises(ValueError):
            T.RandomFlip(0.5, **axes)


# Item 22
def test_images_are_read_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    path = str(tmp_path / "turned.png")
    Image.fromarray(ramp(60, 80)).save(path, exif=exif)
    image = utils.read_image(path, "RGB")
    assert image.shape == (80, 60, 3)
    np.testing.assert_array_equal(image, np.rot90(ramp(60, 80), -1))


def test_colour_orders(tmp_path: Path) -> None:
    path = str(tmp_path / "picture.png")
    Image.fromarray(ramp(6, 8)).save(path)
    bgr = utils.read_image(path, "BGR")
    np.testing.assert_array_equal(bgr, ramp(6, 8)[:, :, ::-1])
    np.testing.assert_array_equal(utils.convert_image_to_rgb(bgr, "BGR"), ramp(6, 8))
    grey = utils.read_image(path, "L")
    assert grey.shape == (6, 8, 1)
    assert utils.convert_image_to_rgb(grey, "L").shape == (6, 8, 3)


def test_sizes_are_checked_and_filled_in() -> None:
    record: dict = {"file_name": "a.png"}
    utils.check_image_size(record, ramp(6, 8))
    assert (record["height"], record["width"]) == (6, 8)
    with pytest.raises(utils.SizeMismatchError, match=r"a\.png"):
        utils.check_image_size({"file_name": "a.png", "height": 8, "width": 6}, ramp(6, 8))
    assert issubclass(utils.SizeMismatchError, ValueError)
