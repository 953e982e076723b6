"""Points that are off their words by a known amount."""

import numpy as np
import pytest
from detectron2.data import DatasetCatalog

from projects.studies import points
from projects.studies.mixed import mix_points
from projects.studies.points import CHANGES, change_points, inside_rate


def box(left, top, width, height):
    right, bottom = left + width, top + height
    return [left, top, right, top, right, bottom, left, bottom]


def record(number, words=3):
    """Words of 20 x 10 pixels, 40 pixels apart, far from the border."""
    return {
        "image_id": number,
        "file_name": f"{number}.jpg",
        "height": 400,
        "width": 400,
        "texts": ["word"] * words,
        "polygons": [box(190, 40 * i + 100, 20, 10) for i in range(words)],
    }


def changed(name, records):
    return [change_points(CHANGES[name], one) for one in records]


CENTERS = [[200.0, 105.0], [200.0, 145.0], [200.0, 185.0]]


def test_noise_of_zero_gives_the_centers():
    (one,) = changed("moved_0.0", [record(0)])
    assert one["points"] == CENTERS
    assert inside_rate([one]) == 1.0


def test_noise_grows_with_alpha_and_with_the_box():
    records = [record(number) for number in range(400)]
    for alpha in (0.1, 0.5):
        found = np.array([one["points"] for one in changed(f"moved_{alpha}", records)])
        deviation = (found - CENTERS).std(axis=(0, 1))
        assert deviation == pytest.approx([20 * alpha, 10 * alpha], rel=0.1)


def test_noise_is_a_function_of_the_image():
    first, again = changed("moved_0.3", [record(1), record(1)])
    assert first == again
    assert changed("moved_0.3", [record(2)])[0]["points"] != first["points"]


def test_points_stay_in_the_image():
    corner = record(0) | {"polygons": [box(-5, -5, 20, 10)] * 3}
    for name in CHANGES:
        found = np.array(changed(name, [corner] * 2)[0]["points"])
        assert ((found >= 0) & (found <= 400)).all()


def test_a_share_of_the_points_is_on_another_word():
    records = changed("swapped_40", [record(number) for number in range(400)])
    found = np.array([one["points"] for one in records])
    assert {tuple(point) for point in found.reshape(-1, 2).tolist()} == set(map(tuple, CENTERS))
    assert inside_rate(records) == pytest.approx(0.6, abs=0.04)
    # Both other words are chosen equally often.
    last = (found[:, 0] == CENTERS[2]).all(1).mean()
    assert last == pytest.approx(0.2, abs=0.06)
    (alone,) = changed("swapped_40", [record(0, words=1)])
    assert alone["points"] == CENTERS[:1]


def test_shifted_points_are_a_share_of_the_width_to_the_right():
    (one,) = changed("shifted_0.3", [record(0)])
    assert np.array(one["points"]) == pytest.approx(np.add(CENTERS, (6, 0)))


def test_words_without_a_point_and_ignored_ones_do_not_count():
    own = {"points": [[200.0, 105.0], None, [0.0, 0.0]], "ignore": [False, False, True]}
    assert inside_rate([record(0) | own]) == 1.0
    assert inside_rate([record(0) | own | {"ignore": [False] * 3}]) == 0.5


def test_the_first_images_have_true_points_and_the_others_those_found():
    found = {"points": [[1.0, 1.0]] * 3, "point_weights": [0.5] * 3, "point_scores": [0.1] * 3}
    records = [record(number) | found for number in range(40)]
    mixed = [*mix_points(records, 12)]
    assert [one["points"] == CENTERS for one in mixed] == [True] * 4 + [False] * 36
    assert "point_weights" not in mixed[3] and "point_scores" not in mixed[3]
    assert mixed[4:] == records[4:]


def test_the_datasets_are_registered(monkeypatch):
    known = DatasetCatalog.list()
    for name in ("moved_0.3", "swapped_10", "shifted_0.2", "first_5"):
        assert f"synth_dense_scenes_train_{name}" in known
    records = [record(number) for number in range(40)]
    monkeypatch.setattr(points.DatasetCatalog, "get", lambda name: {"base": records}[name])
    first = points._load_first("base", 5)
    assert [one["image_id"] for one in first] == [0, 1]
    assert first[0]["points"] == CENTERS
