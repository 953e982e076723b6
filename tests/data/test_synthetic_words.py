from __future__ import annotations

import numpy as np
import pytest
from PIL import ImageFont

from wecromcl_d2.data.synthetic import SPLITS, Vocabulary, split_of
from wecromcl_d2.data.synthetic.words import (
    FONTS,
    Canvas,
    Pose,
    cached_font_size,
    lay_out,
    outline,
    rasterise,
)
from wecromcl_d2.fonts import shipped_font

CHARACTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


@pytest.mark.parametrize(
    ("word", "split"),
    # Remainders by ten of the 64-bit digests that the program b2sum prints for these words.
    [
        ("pixel", "test"),
        ("hello", "val"),
        ("word42", "val"),
        ("meadow", "train"),
        ("kodo", "train"),
        ("rain", "train"),
        ("lantern", "train"),
        ("stop", "train"),
    ],
)
def test_split_of_a_word_never_changes(word: str, split: str) -> None:
    assert split_of(word) == split
    assert split_of(word.upper()) == split


def test_vocabularies_of_the_splits_share_no_word_and_keep_their_lengths() -> None:
    rng = np.random.default_rng(5)
    words = {s: {Vocabulary(s, (3, 6)).draw(rng) for _ in range(400)} for s in SPLITS}
    assert not words["train"] & words["test"]
    assert not words["train"] & words["val"]
    assert not words["val"] & words["test"]
    everything = set().union(*words.values())
    assert {len(word) for word in everything} == {3, 4, 5, 6}
    assert set("".join(everything)) == set(CHARACTERS.lower())


def test_open_vocabulary_hardly_repeats_long_words() -> None:
    rng = np.random.default_rng(0)
    vocabulary = Vocabulary("train", (7, 8))
    assert len({vocabulary.draw(rng) for _ in range(2000)}) > 1950


def test_limited_vocabulary_depends_on_its_seed_alone() -> None:
    def words(vocabulary: Vocabulary, rng_seed: int) -> set[str]:
        rng = np.random.default_rng(rng_seed)
        return {vocabulary.draw(rng) for _ in range(400)}

    first = words(Vocabulary("train", (3, 8), size=20, seed=1), 0)
    assert len(first) == 20
    assert words(Vocabulary("train", (3, 8), size=20, seed=1), 9) == first
    assert words(Vocabulary("train", (3, 8), size=20, seed=2), 0) != first


def test_vocabulary_larger_than_its_words_is_refused() -> None:
    with pytest.raises(ValueError, match=r"vocabulary_size 500 .* allow longer words"):
        Vocabulary("train", (1, 1), size=500)


@pytest.mark.parametrize("font", FONTS)
def test_every_font_draws_every_character_differently(font: str) -> None:
    shapes = {lay_out(c, font, 40).mask.tobytes() for c in CHARACTERS}
    assert len(shapes) == len(CHARACTERS)


def test_a_blank_draws_nothing_and_moves_what_follows() -> None:
    joined, apart = (lay_out(text, "DejaVuSans", 40) for text in ("HH", "H H"))
    blank = ImageFont.truetype(shipped_font("DejaVuSans"), 40).getlength(" ")
    assert abs(apart.ink[0] - joined.ink[0] - blank) <= 1
    assert apart.mask.astype(int).sum() == joined.mask.astype(int).sum()


def test_canvas_box_is_tight_around_the_ink() -> None:
    canvas = lay_out("Jolly", "DejaVuSerif-Italic", 24)
    rows, columns = np.nonzero(canvas.mask)
    assert (np.ptp(columns) + 1, np.ptp(rows) + 1) == canvas.ink
    assert (columns.min(), rows.min()) == (2, 2)


def test_letter_spacing_widens_by_that_many_ems() -> None:
    narrow, wide = (lay_out("abc", "DejaVuSans", 20, spacing) for spacing in (0.0, 0.5))
    assert wide.ink[0] - narrow.ink[0] == 2 * 10


@pytest.mark.parametrize("height", [6.0, 8.0, 13.2, 20.0, 61.7])
def test_cached_size_is_just_above_the_wanted_height(height: float) -> None:
    size = cached_font_size(height)
    assert size >= height
    assert size == 8 or size < 1.13 * height + 1


def _block(width: int, height: int) -> Canvas:
    """A word whose ink is one full rectangle."""
    mask = np.zeros((height + 4, width + 4), np.uint8)
    mask[2:-2, 2:-2] = 255
    return Canvas(mask, (width, height), height)


def test_outline_of_a_flat_word_is_its_box_and_a_margin() -> None:
    polygon = outline(_block(30, 10), Pose(scale=2.0, stretch=1.5))
    x, y = 45.6, 10.6
    np.testing.assert_allclose(polygon, [[-x, -y], [x, -y], [x, y], [-x, y]])


def test_a_quarter_turn_is_clockwise_on_the_screen() -> None:
    polygon = outline(_block(30, 10), Pose(rotation=np.pi / 2))
    x, y = 5.6, 15.6
    np.testing.assert_allclose(polygon, [[x, -y], [x, y], [-x, y], [-x, -y]])


def test_outline_of_a_rainbow_has_its_middle_on_top() -> None:
    polygon = outline(_block(60, 10), Pose(bend=1.0))
    assert polygon.shape == (14, 2)
    top, bottom = polygon[:7], polygon[7:][::-1]
    assert np.argmin(top[:, 1]) == 3
    # An arc of one radian and 60 pixels has radius 60; the margin of 0.6 is on both sides.
    np.testing.assert_allclose(np.hypot(top[:, 0], top[:, 1] - 60), 65.6)
    np.testing.assert_allclose(np.hypot(bottom[:, 0], bottom[:, 1] - 60), 54.4)


def test_a_tilted_word_looks_larger_on_its_near_side() -> None:
    top_left, top_right, bottom_right, bottom_left = outline(_block(60, 20), Pose(tilt=(0.0, 0.7)))
    left, right = bottom_left[1] - top_left[1], bottom_right[1] - top_right[1]
    assert right / left == pytest.approx((1 + 0.644 / 4.4) / (1 - 0.644 / 4.4), rel=0.02)


@pytest.mark.parametrize(
    "pose",
    [
        Pose(scale=0.9),
        Pose(rotation=0.6, tilt=(0.5, -0.6)),
        Pose(rotation=2.8),
        Pose(bend=1.6, rotation=-0.4, tilt=(0.3, 0.5)),
        Pose(bend=-1.6, stretch=0.8),
    ],
)
def test_ink_fills_the_outline(pose: Pose) -> None:
    # A block's ink must cover its polygon, so a mirrored or shifted warp cannot pass.
    canvas = _block(60, 24)
    canvas.mask[2:14, 2:32] = 0  # an empty quarter at the word's top-left
    polygon = outline(canvas, pose) + 60
    ink = rasterise(canvas, pose, (60.0, 60.0), (120, 120)) > 127
    half = len(polygon) // 2
    top, bottom = polygon[:half], polygon[half:][::-1]
    weights = np.linspace(0.12, 0.88, 9)

    def covered(across: slice, down: np.ndarray) -> np.ndarray:
        mid = top[None] * (1 - down[:, None, None]) + bottom[None] * down[:, None, None]
        line = np.stack([np.interp(weights[across], np.linspace(0, 1, half), m) for m in
                         mid.transpose(0, 2, 1).reshape(-1, half)])  # fmt: skip
        x, y = line.reshape(len(down), 2, -1).transpose(1, 0, 2).astype(int)
        return ink[y, x]

    upper, lower = np.array([0.15, 0.3]), np.array([0.7, 0.85])
    assert not covered(slice(0, 4), upper).any()
    assert covered(slice(5, 9), upper).all()
    assert covered(slice(0, 9), lower).all()


def test_flat_word_is_drawn_pixel_by_pixel() -> None:
    canvas = lay_out("Exact", "DejaVuSans", 20)
    height, width = canvas.mask.shape
    drawn = rasterise(canvas, Pose(), (width / 2, height / 2), (height, width))
    np.testing.assert_array_equal(drawn, canvas.mask)
