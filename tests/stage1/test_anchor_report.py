"""What the report of generated anchors says, on two images made by hand."""

import numpy as np
import pytest
from PIL import Image

from wecromcl_d2.stage1 import report as report_module
from wecromcl_d2.stage1.pseudo_labels import LabelledImage
from wecromcl_d2.stage1.report import TILE_SIDE, LabelReport, draw_report, draw_uncertain
from wecromcl_d2.visualizer import BACKGROUND


def box(left, top, right, bottom):
    return [left, top, right, top, right, bottom, left, bottom]


def image(tmp_path, name, record, *columns):
    path = tmp_path / name
    Image.new("RGB", (64, 48), (200, 30, 30)).save(path)
    identity = {"file_name": str(path), "image_id": name, "height": 48, "width": 64}
    return LabelledImage(identity | record, *columns)


@pytest.fixture
def images(tmp_path):
    """On their words are: one "a" of the first image, at its center, and "b", near its end."""
    outlines = [box(0, 0, 20, 10), box(30, 0, 50, 10), box(0, 20, 40, 30), None]
    first = image(
        tmp_path,
        "1.png",
        {"texts": ["A", "a", "b", "?"], "polygons": outlines},
        [[40.0, 5.0], [60.0, 40.0], [38.0, 25.0], None],
        [0.09, 0.01, 0.05, None],
        [0.6, 0.7, 0.4, None],
        [0.9, 0.1, 0.5, None],
        [1.0, 0.0, 0.4, 0.0],
        ["kept", "zero", "low_weight", "unreadable"],
    )
    second = image(tmp_path, "2.png", {"texts": []}, [], [], [], [], [], [])
    return [first, second]


def report_of(images, damaged=(), limits=(0.1, 0.6)):
    report = LabelReport(limits)
    for image in images:
        report.add(image)
    for record, problem in damaged:
        report.leave_out(record, problem)
    return report


DAMAGED = [({"file_name": "gone.png", "texts": ["x", "y"]}, "cannot use image gone.png")]


def test_counts_and_shares(images):
    report = report_of(images, DAMAGED).content()
    assert report["images"] == {"labelled": 2, "without_words": 1, "damaged": 1}
    counted = {name: count for name, count in report["words"].items() if count}
    assert counted == {
        "kept": 1, "zero": 1, "low_weight": 1, "unreadable": 1, "damaged_image": 2
    }  # fmt: skip
    assert report["shares"]["damaged_image"] == pytest.approx(1 / 3, abs=1e-4)
    assert report["damaged"] == [{"file_name": "gone.png", "problem": "cannot use image gone.png"}]
    confidence = report["confidence"]
    assert [confidence["histogram"]["counts"][bin] for bin in (4, 20, 36)] == [1, 1, 1]
    assert sum(confidence["histogram"]["counts"]) == 3
    assert confidence["histogram"]["edges"][-1] == 1.0
    assert (confidence["weight_0_up_to"], confidence["weight_1_from"]) == (0.1, 0.6)
    assert report["retrieval"] == {}
    with_retrieval = report_of(images, DAMAGED).content({"auc": 0.71234})
    assert with_retrieval["retrieval"] == {"auc": 0.7123}


def test_anchors_against_outlines(images):
    """Equal words are matched so that as many as possible lie inside."""
    gt = report_of(images).content()["truth"]
    assert gt["all"]["inside_rate"] == pytest.approx(2 / 3, abs=1e-4)
    assert gt["by_outcome"]["kept"] == {
        "words": 1, "inside_rate": 1.0, "distance_median": 0.0
    }  # fmt: skip
    assert gt["by_outcome"]["zero"]["inside_rate"] == 0.0
    assert gt["by_outcome"]["low_weight"]["distance_median"] == pytest.approx(18 / 40)
    for name, inside in {
        "by_confidence": [0.0, 1.0, 1.0],
        "by_score": [0.0, 1.0, 1.0],
        "by_similarity": [1.0, 1.0, 0.0],
    }.items():
        filled = [entry for entry in gt[name] if entry["words"]]
        assert [entry["inside_rate"] for entry in filled] == inside
        assert sum(entry["words"] for entry in filled) == 3


def test_without_outlines_there_is_no_ground_truth(images):
    del images[0].record["polygons"]
    assert report_of(images).content()["truth"] is None
    assert report_of([]).content()["truth"] is None


@pytest.mark.parametrize("outlines", [True, False])
def test_the_chart_is_drawn(images, tmp_path, outlines):
    if not outlines:
        del images[0].record["polygons"]
    draw_report(report_of(images, DAMAGED).content(), tmp_path / "chart.png")
    assert Image.open(tmp_path / "chart.png").size == (960, 640 if outlines else 320)


def test_without_any_anchor_everything_still_works(images, tmp_path):
    report = report_of(images[1:], limits=(0.0, 0.0)).content()
    draw_report(report, tmp_path / "chart.png")
    assert report["confidence"]["histogram"]["counts"] == [0] * 40
    assert set(report["shares"].values()) == {0.0}
    assert (draw_uncertain(report_of(images[1:]).uncertain) == BACKGROUND).all()


def test_the_least_certain_come_first_as_many_as_asked(images, monkeypatch):
    three = draw_uncertain(report_of(images).uncertain)
    monkeypatch.setattr(report_module, "UNCERTAIN_COUNT", 1)
    one = draw_uncertain(report_of(images).uncertain)
    tile = slice(8, 8 + TILE_SIDE)
    assert np.array_equal(one[tile, tile], three[tile, tile])
    assert three.shape[1] == 3 * (TILE_SIDE + 8) + 8
    # The worst anchor is near the lower right corner: there the crop extends beyond the image.
    assert (one[8 + TILE_SIDE - 5, 8 + TILE_SIDE - 5] == BACKGROUND).all()
    assert one[8 + 40, 8 + 20].tolist() == [200, 30, 30]


def test_a_vanished_image_is_left_out_of_the_sheet(images, tmp_path):
    (tmp_path / "1.png").unlink()
    assert (draw_uncertain(report_of(images).uncertain) == BACKGROUND).all()
