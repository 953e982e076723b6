from __future__ import annotations

import logging
import string
from pathlib import Path

import numpy as np
import pytest

from tests.data.street_assets import DEJAVU, write_font
from wecromcl_d2.data.synthetic import StreetRecipe, render
from wecromcl_d2.data.synthetic.street import load_assets
from wecromcl_d2.data.synthetic.street.fonts import FontPool, covers, load_font
from wecromcl_d2.data.synthetic.street.lettering import Line, Setting, set_block

FEW = "abcdeABCDE123"


def test_font_that_lacks_characters_is_noticed(tmp_path: Path) -> None:
    path = write_font(tmp_path / "few.ttf", FEW, "Few")
    assert covers(path, "bad2")
    assert not covers(path, "bat")
    assert not covers(path, "é")
    assert covers(str(DEJAVU), "bat" + "é")


@pytest.mark.parametrize(
    ("mapped", "shown"),
    [
        pytest.param({"x": "", "7": ""}, FEW, id="to the sign for missing characters"),
        pytest.param({"x": " ", "7": " "}, FEW, id="to nothing"),
        pytest.param(dict.fromkeys("xyz789", "#"), FEW, id="to one box"),
        pytest.param({"x": "b"}, FEW + "x", id="to the glyph of one other letter"),
    ],
)
def test_mapped_character_without_a_glyph_of_its_own_is_noticed(
    mapped: dict[str, str], shown: str, tmp_path: Path
) -> None:
    path = write_font(tmp_path / "few.ttf", FEW + "# ", "Few", mapped)
    found = {c for c in string.ascii_letters + string.digits if covers(path, c)}
    assert found == set(shown)


def test_letters_that_look_alike_in_honest_fonts_count(tmp_path: Path) -> None:
    alike = write_font(tmp_path / "alike.ttf", FEW + "l", "Alike", {"I": "l", "i": "l", "L": "l"})
    assert covers(alike, "Ili")


def test_no_box_is_drawn_in_place_of_a_letter(tmp_path: Path) -> None:
    write_font(tmp_path / "few.ttf", FEW, "Few")
    recipe = StreetRecipe(family="groups", fonts=(str(tmp_path),))
    texts = [text for index in range(12) for text in render(recipe, index).texts]
    assert len(texts) > 20
    assert set("".join(texts)) <= set(FEW)


def test_each_text_gets_a_font_that_shows_it(tmp_path: Path) -> None:
    few = write_font(tmp_path / "few.ttf", FEW, "Few")
    all_of_them = write_font(tmp_path / "many.ttf", string.printable, "Many")
    pool, rng = FontPool((str(tmp_path),)), np.random.default_rng(0)
    assert {pool.draw(rng, "abba") for _ in range(40)} == {few, all_of_them}
    assert {pool.draw(rng, "zebra") for _ in range(40)} == {all_of_them}
    assert pool.draw(rng, "漢") is None
    assert pool.characters(frozenset("az漢")) == frozenset("az")


def test_families_are_as_likely_as_their_files_half_of_the_time(tmp_path: Path) -> None:
    lone = write_font(tmp_path / "lone.ttf", FEW, "Lone")
    for number in range(9):
        write_font(tmp_path / f"member{number}.ttf", FEW, "Large")
    pool, rng = FontPool((str(tmp_path),)), np.random.default_rng(0)
    share = np.mean([pool.draw(rng, "a") == lone for _ in range(2000)])
    assert share == pytest.approx((1 / 10 + 1 / 2) / 2, abs=0.04)


def test_broken_font_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole = write_font(tmp_path / "whole.ttf", FEW, "Whole")
    broken = tmp_path / "broken.ttf"
    broken.write_bytes(Path(whole).read_bytes()[:300])
    pool = FontPool((str(tmp_path),))
    assert len(pool) == 1
    (record,) = caplog.records
    assert f"{broken} is no font that can be opened" in record.getMessage()


def test_empty_folder_is_named_and_the_other_one_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    full, empty = tmp_path / "full", tmp_path / "empty"
    full.mkdir()
    empty.mkdir()
    write_font(full / "few.ttf", FEW, "Few")
    assert len(FontPool((str(full), str(empty)))) == 1
    assert [r.getMessage() for r in caplog.records] == [
        f"{empty} holds no file that ends in .ttf, .otf, .ttc"
    ]
    with pytest.raises(ValueError, match=rf"no usable font in {empty}: name a folder"):
        FontPool((str(empty),))
    with pytest.raises(NotADirectoryError, match="missing is no folder"):
        FontPool((str(tmp_path / "missing"),))


def test_word_with_characters_that_no_font_has_is_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fonts, words = tmp_path / "fonts", tmp_path / "words.txt"
    fonts.mkdir()
    write_font(fonts / "many.ttf", string.printable, "Many")
    listed = ["straße", "naïve", *(f"plain{letter}" for letter in string.ascii_lowercase)]
    words.write_text("\n".join(listed), encoding="utf-8")
    with caplog.at_level(logging.WARNING):
        assets = load_assets(StreetRecipe(fonts=(str(fonts),), words=str(words)))
    (record,) = caplog.records
    assert "words.txt: 2 words have characters that no font shows, such as" in record.getMessage()
    rng = np.random.default_rng(0)
    assert all(assets.texts.draw(rng).isascii() for _ in range(300))


@pytest.mark.parametrize("weight", [0.02, 0.06])
def test_bolder_letters_cover_the_plain_ones_and_stay_in_their_boxes(weight: float) -> None:
    lines = (Line(("Ag", "lj"), str(DEJAVU), 40), Line(("mmm",), str(DEJAVU), 25))
    plain, bold = (set_block(lines, Setting(weight=w)) for w in (0.0, weight))
    assert (bold.mask >= plain.mask).all()
    assert bold.mask.sum() > (1 + 10 * weight) * plain.mask.sum()
    boxed = np.zeros(bold.size, bool)
    for x0, y0, x1, y1 in np.round(bold.boxes).astype(int).tolist():
        boxed[y0 - 1 : y1 + 1, x0 - 1 : x1 + 1] = True
    assert not bold.mask[~boxed].any()
    assert (bold.boxes[:, :2] < plain.boxes[:, :2]).all()
    assert (bold.boxes[:, 2:] > plain.boxes[:, 2:]).all()


def test_few_fonts_stay_open(tmp_path: Path) -> None:
    path = write_font(tmp_path / "few.ttf", FEW, "Few")
    for size in range(10, 10 + 2 * load_font.cache_info().maxsize):
        load_font(path, size)
    assert load_font.cache_info().currsize == load_font.cache_info().maxsize <= 64
