from __future__ import annotations

import math

import numpy as np
import pytest

from tests.data.street_assets import DEJAVU
from wecromcl_d2.data.synthetic.street.lettering import Line, Setting, set_block
from wecromcl_d2.data.synthetic.street.pose import Bend, Pose

FLAT = Pose((2.0, 2.0), 0.0, Bend(), (0.0, 0.0), 0.0, 1000.0)


@pytest.mark.parametrize(
    "bend",
    [Bend(arc=0.01), Bend(arc=-0.01), Bend(wave=(5.0, 0.05, 1.0)), Bend(roll=0.008), Bend()],
)
def test_bend_and_its_inverse_cancel(bend: Bend) -> None:
    x, y = np.meshgrid(np.linspace(-80, 80, 9), np.linspace(-20, 20, 5))
    there = bend.forward(x, y)
    np.testing.assert_allclose(bend.backward(*there), (x, y), atol=1e-9)
    assert bend.is_flat == np.allclose(there, (x, y))


def test_arc_bends_a_baseline_on_a_circle() -> None:
    # A quarter of a circle of radius 100: its end has gone 100 sin 45 aside and 100 - 70.7 down.
    x, y = Bend(arc=0.01).forward(np.array([-25 * math.pi, 0, 25 * math.pi]), np.zeros(3))
    np.testing.assert_allclose(x, [-70.710678, 0, 70.710678], atol=1e-5)
    np.testing.assert_allclose(y, [29.289322, 0, 29.289322], atol=1e-5)


def test_outline_of_an_upright_block_is_its_box_scaled_about_the_centre() -> None:
    outline = FLAT.outline(np.array([10.0, 5.0, 30.0, 15.0]), (20, 40))
    left, top, right, bottom = -20.6, -10.6, 20.6, 10.6
    np.testing.assert_allclose(
        outline, [[left, top], [right, top], [right, bottom], [left, bottom]]
    )


def test_quarter_turn_is_clockwise_on_the_screen() -> None:
    turned = Pose((1.0, 1.0), 0.0, Bend(), (0.0, 0.0), math.pi / 2, 1000.0)
    # From the right of the centre to below it.
    np.testing.assert_allclose(turned.to_image(np.array([[30.0, 10.0]]), (20, 40)), [[0, 10]],
                               atol=1e-9)  # fmt: skip


def test_nearer_side_of_a_tilted_block_is_higher() -> None:
    tilted = Pose((1.0, 1.0), 0.0, Bend(), (0.0, 0.6), 0.0, 100.0)
    corners = tilted.outline(np.array([0.0, 0.0, 80.0, 20.0]), (20, 80))
    heights = corners[[3, 2], 1] - corners[[0, 1], 1]
    assert heights[1] / heights[0] == pytest.approx(
        (100 + 40.6 * math.sin(0.6)) / (100 - 40.6 * math.sin(0.6))
    )


@pytest.mark.parametrize(
    "pose",
    [
        FLAT,
        Pose((1.5, 1.2), 0.2, Bend(), (0.2, -0.4), 0.5, 300.0),
        Pose((1.0, 1.0), 0.0, Bend(arc=0.008), (0.1, 0.3), -0.4, 300.0),
        Pose((1.0, 1.0), 0.0, Bend(wave=(4.0, 0.05, 2.0)), (0.0, 0.2), 0.1, 300.0),
        Pose((1.0, 1.0), 0.0, Bend(roll=0.01), (0.0, 0.0), 1.2, 300.0),
    ],
)
def test_pixels_go_where_the_points_go(pose: Pose) -> None:
    canvas = np.zeros((60, 160), np.float32)
    canvas[20:24, 118:122] = 1  # around (120, 22)
    seen = pose.warp(canvas, (200.0, 150.0), (300, 400))
    rows, columns = np.nonzero(seen > 0.2)
    centre = np.array([np.average(columns, weights=seen[rows, columns]),
                       np.average(rows, weights=seen[rows, columns])]) + 0.5  # fmt: skip
    (expected,) = pose.to_image(np.array([[120.0, 22.0]]), (60, 160)) + np.array([200, 150])
    np.testing.assert_allclose(centre, expected, atol=0.25)


@pytest.mark.parametrize("tracking", [0.0, 0.2])
def test_boxes_are_tight_around_each_word(tracking: float) -> None:
    font = str(DEJAVU)
    lines = (Line(("Open", "all"), font, 40), Line(("night",), font, 24))
    block = set_block(lines, Setting(tracking=tracking, word_gap=0.4, leading=0.3, align=0.0))
    mask = block.mask
    assert mask.shape == block.size
    assert block.texts == ("Open", "all", "night")
    total = np.zeros_like(mask)
    for x0, y0, x1, y1 in block.ink_boxes().astype(int):
        region = mask[y0:y1, x0:x1]
        assert region.any()
        # No more than a pixel of air above and below, and none beside.
        assert all(edge.any() for edge in (region[:2], region[-2:], region[:, :1], region[:, -1:]))
        total[y0:y1, x0:x1] = 255
    assert not (mask[total == 0]).any()
    first, second, below = block.ink_boxes()
    assert first[2] < second[0]
    assert below[1] >= max(first[3], second[3]) + 0.3 * 24 - 1
    assert below[0] == pytest.approx(first[0], abs=3)


def test_stacked_letters_stand_below_each_other() -> None:
    block = set_block((Line(("TALL",), str(DEJAVU), 30),), Setting(stacked=True))
    assert len(block.boxes) == 1
    x0, y0, x1, y1 = block.boxes[0]
    assert y1 - y0 > 3 * (x1 - x0)
    rows = block.mask[int(y0) : int(y1)].any(axis=1)
    assert np.count_nonzero(np.diff(rows.astype(int)) == 1) == 3  # gaps between four letters
