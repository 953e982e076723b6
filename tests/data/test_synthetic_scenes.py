from __future__ import annotations

from itertools import pairwise
from typing import Any

import cv2
import numpy as np
import pytest
from shapely.geometry import Polygon, box

from wecromcl_d2.data.synthetic import (
    DIFFICULTIES,
    SceneRecipe,
    parse_difficulty,
    render,
    split_of,
)

WORDS_48 = {"family": "words", "size": (48, 128)}
RECIPES = [
    pytest.param(SceneRecipe(difficulty=d, **kind), id=f"{name}-{kind.get('family', 'scenes')}")
    for name, d in DIFFICULTIES.items()
    for kind in ({}, WORDS_48)
]


def _bytes(recipe: SceneRecipe, index: int) -> bytes:
    scene = render(recipe, index)
    polygons = b"".join(polygon.tobytes() for polygon in scene.polygons)
    return scene.image.tobytes() + scene.ink.tobytes() + polygons + repr(scene.texts).encode()


@pytest.mark.parametrize("recipe", RECIPES)
def test_truth_covers_the_ink_and_nothing_overlaps(recipe: SceneRecipe) -> None:
    inside = total = 0
    for index in range(12):
        scene = render(recipe, index)
        frame = box(0, 0, scene.image.shape[1], scene.image.shape[0])
        shapes = [Polygon(polygon) for polygon in scene.polygons]
        mask = np.zeros(scene.ink.shape, np.uint8)
        for polygon, shape in zip(scene.polygons, shapes, strict=True):
            assert shape.is_valid
            assert shape.intersection(frame).area >= 0.98 * shape.area
            cv2.fillPoly(mask, [np.round(polygon - 0.5).astype(np.int32)], 1)
            # Shoelace sum: positive is clockwise where y points down.
            x, y = polygon.T
            assert np.sum(x * np.roll(y, -1) - y * np.roll(x, -1)) > 0
            assert len(polygon) in (4, 14)
        for i, shape in enumerate(shapes):
            assert all(shape.intersection(other).area == 0 for other in shapes[:i])
        ink = scene.ink > 64
        assert all((ink & _filled(p, ink.shape)).any() for p in scene.polygons)
        inside += int((ink & (cv2.dilate(mask, np.ones((3, 3), np.uint8)) > 0)).sum())
        total += int(ink.sum())
    assert inside >= 0.99 * total


def _filled(polygon: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    mask = np.zeros(size, np.uint8)
    cv2.fillPoly(mask, [np.round(polygon - 0.5).astype(np.int32)], 1)
    return mask > 0


@pytest.mark.parametrize("recipe", RECIPES)
def test_scene_has_the_promised_form(recipe: SceneRecipe) -> None:
    fewest, most = recipe.word_count
    for index in range(10):
        scene = render(recipe, index)
        assert scene.image.shape == (*recipe.size, 3)
        assert scene.image.dtype == scene.ink.dtype == np.uint8
        assert fewest <= len(scene.texts) == len(scene.polygons) <= most
        assert len({text.lower() for text in scene.texts}) == len(scene.texts)
        assert all(split_of(text) == recipe.split for text in scene.texts)
        assert 25 <= scene.jpeg_quality <= 95


def test_same_bytes_in_any_order_and_whatever_the_global_state() -> None:
    recipe = SceneRecipe(difficulty=1.0, seed=3)
    np.random.seed(0)
    forward = [_bytes(recipe, index) for index in range(5)]
    np.random.seed(1)
    cv2.setRNGSeed(7)
    backward = [_bytes(recipe, index) for index in reversed(range(5))]
    assert forward == backward[::-1]
    assert len(set(forward)) == 5


@pytest.mark.parametrize("change", [{"seed": 1}, {"split": "test"}, WORDS_48])
def test_seed_split_and_family_change_the_words(change: dict[str, Any]) -> None:
    plain, changed = SceneRecipe(), SceneRecipe(**change)
    first = {text for i in range(5) for text in render(plain, i).texts}
    assert not first & {text for i in range(5) for text in render(changed, i).texts}


def test_vocabulary_size_limits_the_words() -> None:
    recipe = SceneRecipe(vocabulary_size=10, num_words=(2, 3))
    words = {text.lower() for i in range(40) for text in render(recipe, i).texts}
    assert len(words) == 10


def test_splits_can_share_a_closed_vocabulary() -> None:
    words = {}
    for split in ("train", "val"):
        recipe = SceneRecipe(
            vocabulary_size=4, vocabulary_split="test", num_words=(2, 3), split=split
        )
        words[split] = {text.lower() for i in range(30) for text in render(recipe, i).texts}
    assert words["train"] == words["val"]
    assert len(words["train"]) == 4
    assert {split_of(word) for word in words["train"]} == {"test"}
    with pytest.raises(ValueError, match="vocabulary_split 'all'"):
        SceneRecipe(vocabulary_split="all")


def test_recipes_without_a_shared_vocabulary_are_written_as_before() -> None:
    assert "vocabulary_split" not in SceneRecipe().to_dict()
    assert SceneRecipe(vocabulary_split="val").to_dict()["vocabulary_split"] == "val"


def test_transcription_keeps_the_case_as_drawn() -> None:
    recipe = SceneRecipe(family="words", size=(32, 96))
    texts = [render(recipe, index).texts[0] for index in range(60)]
    letters = [text for text in texts if text.isalpha()]
    assert any(t.islower() for t in letters)
    assert any(t.isupper() for t in letters)
    assert any(t.istitle() for t in letters)


def test_sizes_vary_within_the_given_range() -> None:
    recipe = SceneRecipe(size=(100, 120), max_size=(140, 200))
    sizes = np.array([render(recipe, index).image.shape[:2] for index in range(20)])
    assert (sizes >= (100, 120)).all()
    assert (sizes <= (140, 200)).all()
    assert len(set(map(tuple, sizes.tolist()))) > 10


@pytest.mark.parametrize("difficulty", [0.0, 0.5, 1.0])
def test_crowded_scene_still_gets_its_fewest_words(difficulty: float) -> None:
    recipe = SceneRecipe(
        num_words=(8, 8), size=(128, 128), font_heights=(24, 32), difficulty=difficulty
    )
    assert {len(render(recipe, index).texts) for index in range(15)} == {8}


def test_impossible_demand_places_at_least_one_word() -> None:
    recipe = SceneRecipe(num_words=(8, 8), size=(16, 16), font_heights=(30, 40))
    counts = [len(render(recipe, index).texts) for index in range(10)]
    assert min(counts) >= 1
    assert max(counts) < 8


def test_fewer_distinct_words_than_asked_for_is_no_endless_loop() -> None:
    assert len(render(SceneRecipe(vocabulary_size=1), 0).texts) == 1


@pytest.mark.parametrize(
    ("difficulty", "least"), [(0.0, 110), (0.25, 75), (0.5, 55), (0.75, 30), (1.0, 20)]
)
def test_words_stand_out_from_their_surroundings(difficulty: float, least: float) -> None:
    # Bold large letters, so that blur hardly mixes ink and surroundings.
    recipe = SceneRecipe(difficulty=difficulty, num_words=(2, 3), font_heights=(40, 44),
                         size=(200, 280), word_lengths=(3, 4))  # fmt: skip
    contrasts = []
    for index in range(30):
        scene = render(recipe, index)
        grey = cv2.cvtColor(scene.image, cv2.COLOR_RGB2GRAY).astype(float)
        for polygon in scene.polygons:
            inside = _filled(polygon, scene.ink.shape)
            letters, ground = inside & (scene.ink == 255), inside & (scene.ink == 0)
            contrasts.append(abs(grey[letters].mean() - grey[ground].mean()))
    assert np.percentile(contrasts, 5) > least


def _measures(recipe: SceneRecipe) -> dict[str, float]:
    scenes = [render(recipe, index) for index in range(40)]
    edges = [polygon[1] - polygon[0] for scene in scenes for polygon in scene.polygons]
    return {
        "turn": float(np.mean([abs(np.arctan2(y, x)) for x, y in edges])),
        "bent": float(np.mean([len(p) > 4 for scene in scenes for p in scene.polygons])),
        "jpeg loss": 100 - float(np.mean([scene.jpeg_quality for scene in scenes])),
        "colour": float(np.mean([np.ptp(scene.image, axis=2).mean() for scene in scenes])),
    }


def test_difficulty_grows_without_a_step_back() -> None:
    rows = [_measures(SceneRecipe(difficulty=d)) for d in sorted(DIFFICULTIES.values())]
    for easier, harder in pairwise(rows):
        assert all(harder[name] > easier[name] for name in easier)
    assert rows[0]["turn"] == rows[0]["bent"] == 0


def test_clean_text_is_dark_on_a_light_ground() -> None:
    recipe = SceneRecipe(difficulty=0)
    for index in range(10):
        scene = render(recipe, index)
        assert scene.image[scene.ink == 0].min() > 130
        assert scene.image[scene.ink == 255].max() < 110


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"family": "letters"}, "family 'letters'"),
        ({"split": "dev"}, "split 'dev'"),
        ({"difficulty": 1.5}, "difficulty 1.5"),
        ({"difficulty": "awful"}, "difficulty 'awful'"),
        ({"size": (8, 100)}, r"size \(8, 100\)"),
        ({"size": 160}, "size is 160"),
        ({"size": (160.0, 160)}, "two whole numbers"),
        ({"max_size": (100, 200)}, r"max_size \(100, 200\)"),
        ({"num_words": (0, 3)}, r"num_words \(0, 3\)"),
        ({"num_words": (5, 3)}, r"num_words \(5, 3\)"),
        ({"family": "words", "num_words": (1, 2)}, "words family"),
        ({"font_heights": (3, 9)}, r"font_heights \(3, 9\)"),
        ({"word_lengths": (4, 2)}, r"word_lengths \(4, 2\)"),
        ({"line_words": (0, 2)}, r"line_words \(0, 2\)"),
        ({"seed": -1}, "seed -1"),
        ({"vocabulary_size": 0}, "vocabulary_size 0"),
    ],
)
def test_bad_recipe_is_refused_with_its_value(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SceneRecipe(**arguments)


def test_negative_index_is_refused() -> None:
    with pytest.raises(ValueError, match="index -1"):
        render(SceneRecipe(), -1)


@pytest.mark.parametrize(("value", "number"), [("Hard", 0.75), ("0.3", 0.3), (1, 1.0)])
def test_difficulty_by_name_or_number(value: str | float, number: float) -> None:
    assert parse_difficulty(value) == number


@pytest.mark.parametrize("value", ["", "nan", float("nan"), -0.1, "2"])
def test_unknown_difficulty_is_refused(value: str | float) -> None:
    with pytest.raises(ValueError, match="clean, easy, medium, hard, nasty"):
        parse_difficulty(value)
