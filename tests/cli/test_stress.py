"""Images that are hard in one way each, and the table over them."""

import json
from itertools import combinations

import numpy as np
import pytest
import shapely

from wecromcl_d2.cli import stress
from wecromcl_d2.data.synthetic import split_of
from wecromcl_d2.data.synthetic.stress import STRESS_KINDS, StressCase, render_stress
from wecromcl_d2.predictor.images import ImageSource
from wecromcl_d2.predictor.results import Spotting

SQUARE = np.array([[10.0, 10], [30, 10], [30, 20], [10, 20]])


@pytest.fixture(scope="module")
def cases():
    return {kind: [render_stress(kind, index) for index in range(3)] for kind in STRESS_KINDS}


def spotting(case, texts, points):
    points = np.array(points, np.float64).reshape(-1, 2)
    ones = np.ones(len(texts))
    height, width = case.image.shape[:2]
    source = ImageSource(case.image)
    return Spotting(list(texts), points, ones, ones, ones, None, height, width, source)


def degrees(polygon):
    x, y = polygon[1] - polygon[0]
    return np.rad2deg(np.arctan2(y, x))


def heights(case):
    return [np.linalg.norm(polygon[3] - polygon[0]) for polygon in case.polygons]


def test_images_depend_on_kind_index_and_seed_alone(cases):
    again = render_stress("turned_60", 1)
    assert (again.image == cases["turned_60"][1].image).all()
    assert again.texts == cases["turned_60"][1].texts
    for other in (render_stress("turned_60", 0), render_stress("turned_60", 1, seed=1)):
        assert (other.image != again.image).any()


@pytest.mark.parametrize("kind", STRESS_KINDS)
def test_words_are_of_the_test_split_inside_and_apart(cases, kind):
    for case in cases[kind]:
        assert case.image.shape == (256, 256, 3)
        assert case.image.dtype == np.uint8
        assert len(case.texts) == len(case.polygons)
        assert bool(case.texts) == (kind != "empty")
        assert all(split_of(text) == "test" for text in case.texts)
        for polygon in case.polygons:
            assert polygon.shape == (4, 2)
            assert ((polygon >= 0) & (polygon <= 256)).all()
        shapes = [shapely.Polygon(polygon) for polygon in case.polygons]
        assert not any(one.intersects(other) for one, other in combinations(shapes, 2))


@pytest.mark.parametrize("kind", [kind for kind in STRESS_KINDS if kind != "empty"])
def test_there_is_ink_in_every_outline(kind, cases):
    case = cases[kind][0]
    gray = case.image.mean(axis=2)
    rows, columns = np.mgrid[:256, :256] + 0.5
    inside = [
        shapely.contains_xy(shapely.Polygon(polygon), columns.ravel(), rows.ravel())
        for polygon in case.polygons
    ]
    outside = ~np.any(inside, axis=0)
    step = 8 if kind == "low_contrast" else 60
    for own in inside:
        ground = np.median(gray.ravel()[own])
        assert (gray.ravel()[own] < ground - step).mean() > 0.02
    dark = gray.ravel()[outside] < np.percentile(gray.ravel()[outside], 1) - step
    assert not dark.any()


def test_each_kind_is_hard_in_its_way(cases):
    def turns(kind):
        return [abs(degrees(p)) for case in cases[kind] for p in case.polygons]

    for kind, least, most in (
        ("plain", 0, 0.1),
        ("turned_30", 0, 30),
        ("turned_60", 30, 60),
        ("turned_90", 60, 90),
        ("turned_180", 90, 180),
        ("vertical", 90, 90),
    ):
        assert all(least - 0.1 <= turn <= most + 0.1 for turn in turns(kind))
    assert max(h for case in cases["tiny"] for h in heights(case)) < 14
    assert min(h for case in cases["huge"] for h in heights(case)) > 40
    assert all(len(set(case.texts)) == 1 and len(case.texts) > 2 for case in cases["repeated"])
    assert all(len(case.texts) > 8 for case in cases["adjacent"])
    assert all(14 <= len(text) <= 18 for case in cases["long"] for text in case.texts)


@pytest.mark.parametrize("wrong", [("odd", 0, 0, 256), ("plain", -1, 0, 256), ("plain", 0, 0, 32)])
def test_wrong_arguments_are_refused(wrong):
    kind, index, seed, side = wrong
    with pytest.raises(ValueError, match="use"):
        render_stress(kind, index, seed=seed, size=(side, 256))


def test_scores_are_counted_by_hand():
    image = np.zeros((96, 96, 3), np.uint8)
    pair = StressCase(image, ["Hill", "way"], [SQUARE, SQUARE + np.array([0, 40])])
    none = StressCase(image, [], [])
    results = [
        spotting(pair, ["hill", "wax", "x"], [[20, 15], [20, 55], [80, 80]]),
        spotting(none, ["x"], [[5, 5]]),
    ]
    score = stress.score("plain", [pair, none], results)
    assert (score.images, score.words, score.found, score.read, score.false) == (2, 2, 2, 1, 2)
    assert (score.precision, score.recall) == (1 / 4, 1 / 2)
    assert score.f == pytest.approx(1 / 3)
    nothing = stress.score("empty", [none], [spotting(none, [], [])])
    assert (nothing.words, nothing.false, nothing.f) == (0, 0, 0.0)


def test_the_command_writes_table_and_sheets(tmp_path, monkeypatch, capsys):
    class Oracle:
        """Finds every word's center, and reads all but tiny ones."""

        threshold = 0.5
        kinds = iter(STRESS_KINDS)

        def __call__(self, images):
            kind = next(self.kinds)
            results = []
            for index in range(len(images)):
                case = render_stress(kind, index, seed=3)
                texts = ["?" for _ in case.texts] if kind == "tiny" else case.texts
                results.append(spotting(case, texts, [p.mean(axis=0) for p in case.polygons]))
            return results

    monkeypatch.setattr(stress.Spotter, "from_name", lambda name, **options: Oracle())
    argv = ["--output", str(tmp_path), "--count", "2", "--examples", "1", "--seed", "3"]
    assert stress.main(argv) == 0
    content = json.loads((tmp_path / "stress.json").read_text(encoding="utf-8"))
    scores = {entry["kind"]: entry for entry in content["kinds"]}
    assert list(scores) == list(STRESS_KINDS)
    for kind, entry in scores.items():
        assert entry["found"] == entry["words"]
        assert entry["read"] == (0 if kind == "tiny" else entry["words"])
        assert entry["false"] == 0
    page = (tmp_path / "stress.md").read_text(encoding="utf-8")
    assert page.count("1.000") == len(STRESS_KINDS) - 2
    assert "| tiny" in page
    assert "2 images of 256 x 256 pixels" in page
    assert sorted(p.stem for p in tmp_path.glob("*.jpg")) == sorted(STRESS_KINDS)
    assert page.strip().endswith(capsys.readouterr().out.strip()[-40:])


def test_a_missing_model_is_an_error_not_a_trace(tmp_path, capsys):
    argv = ["--config-file", "no.yaml", "--weights", "no.pth", "--output", str(tmp_path)]
    assert stress.main(argv) == 2
    assert "no.yaml does not exist" in capsys.readouterr().err
