"""Words of other scripts: how they are spelled, shaped and placed."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import features

from wecromcl_d2.data.synthetic import SceneRecipe
from wecromcl_d2.data.synthetic.scenes import render
from wecromcl_d2.data.synthetic.vocabulary import Script, Vocabulary, split_of
from wecromcl_d2.data.synthetic.words import fonts_of_folder, lay_out_shaped
from wecromcl_d2.fonts import shipped_font

# Fonts that come with matplotlib; some of them have Arabic.
SHIPPED = str(Path(shipped_font("DejaVuSans")).parent)
ARABIC = "ابتدرسملن"
ALEF, BEH = "ا", "ب"
LINEAR_A = "\U00010600"
KA, KHA, SIGN_AA, VIRAMA = "क", "ख", "ा", "्"

SHAPED = pytest.mark.skipif(not features.check("raqm"), reason="this Pillow has no raqm")


def test_characters_are_told_apart_by_what_may_follow_them():
    script = Script.of(KA + SIGN_AA + KHA + VIRAMA)
    assert script == Script(letters=KA + KHA, marks=SIGN_AA, joiners=VIRAMA)
    assert Script.of(ARABIC) == Script(ARABIC, "", "")


def test_signs_and_joiners_follow_letters_and_no_word_ends_with_a_joiner():
    script = Script.of(KA + KHA + SIGN_AA + VIRAMA)
    rng = np.random.default_rng(0)
    words = [script.spell(rng, length) for length in (1, 2, 5, 8) for _ in range(50)]
    assert {len(word) for word in words} == {1, 2, 5, 8}
    for word in words:
        assert word[0] in script.letters
        assert word[-1] != VIRAMA
        for before, character in pairwise(word):
            assert character in script.letters or before in script.letters
    joined = "".join(words)
    assert VIRAMA in joined and SIGN_AA in joined


def test_words_of_a_script_keep_the_splits_apart():
    vocabulary = Vocabulary("test", (3, 6), characters=ARABIC)
    rng = np.random.default_rng(0)
    words = [vocabulary.draw(rng) for _ in range(50)]
    assert {split_of(word) for word in words} == {"test"}
    assert {len(word) for word in words} <= {3, 4, 5, 6}
    assert set("".join(words)) <= set(ARABIC)


def test_fonts_are_those_that_have_all_characters():
    names = {Path(path).stem for path in fonts_of_folder(SHIPPED, ARABIC)}
    assert "DejaVuSans" in names
    assert not {"cmr10", "LastResortHE-Regular"} & names
    with pytest.raises(ValueError, match="has all 1 characters of the recipe; install a font"):
        fonts_of_folder(SHIPPED, LINEAR_A)


@SHAPED
def test_letters_are_joined_and_run_from_right_to_left():
    font = shipped_font("DejaVuSans")
    alone = lay_out_shaped(BEH, font, 40).ink[0]
    assert lay_out_shaped(BEH * 3, font, 40).ink[0] < 2.5 * alone
    ink = lay_out_shaped(ALEF + BEH, font, 40).mask > 0
    rows = [np.ptp(np.flatnonzero(column)) if column.any() else 0 for column in ink.T]
    # The tall alef, which is read first, stands at the right, and the flat beh at its left.
    assert max(rows[-len(rows) // 4 :]) > 1.5 * max(rows[: len(rows) // 3])


@SHAPED
def test_the_box_of_a_shaped_word_is_tight():
    canvas = lay_out_shaped(ALEF + BEH, shipped_font("DejaVuSans"), 30)
    rows, columns = np.nonzero(canvas.mask)
    width, height = canvas.ink
    assert (columns.min(), rows.min()) == (2, 2)
    assert (columns.max(), rows.max()) == (width + 1, height + 1)


@SHAPED
def test_a_scene_of_another_script():
    recipe = SceneRecipe(
        size=(96, 160), num_words=(2, 3), characters=ARABIC, fonts=SHIPPED, word_lengths=(3, 5)
    )
    scene = render(recipe, 0)
    assert len(scene.texts) in (2, 3)
    assert set("".join(scene.texts)) <= set(ARABIC)
    assert scene.ink.any()
    again = render(recipe, 0)
    assert np.array_equal(scene.image, again.image)


def test_a_script_needs_characters_and_fonts():
    with pytest.raises(ValueError, match="give both or neither"):
        SceneRecipe(characters=ARABIC)
    with pytest.raises(ValueError, match="give both or neither"):
        SceneRecipe(fonts=SHIPPED)


def test_recipes_without_a_script_are_described_as_before():
    assert not {"characters", "fonts"} & set(SceneRecipe().to_dict())
    described = SceneRecipe(characters=ARABIC, fonts=SHIPPED).to_dict()
    assert (described["characters"], described["fonts"]) == (ARABIC, SHIPPED)
