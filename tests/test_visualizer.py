import cv2
import numpy as np
import pytest
from PIL import Image

from wecromcl_d2 import visualizer
from wecromcl_d2.fonts import _covering_font, font_for
from wecromcl_d2.visualizer import (
    ANCHOR,
    BACKGROUND,
    GROUND_TRUTH,
    HIT,
    MISS,
    WordView,
    add_caption,
    anchor_sheet,
    contact_sheet,
    draw_activation,
    draw_anchors,
    draw_polygons,
    draw_words,
    overlay_map,
    save_image,
)

SQUARE = [40, 40, 80, 40, 80, 80, 40, 80]


def gray(height=120, width=160, value=90):
    return np.full((height, width, 3), value, np.uint8)


def has_color(image, color):
    return bool((np.abs(image.astype(int) - color).max(axis=2) <= 2).any())


def changed_box(before, after):
    """Left, top, right, bottom of the pixels that differ, in continuous pixels."""
    rows, columns = np.nonzero((before != after).any(axis=2))
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


def test_overlay_is_brightest_at_the_strongest_cell():
    image = gray()
    activation = np.zeros((15, 20), np.float32)
    activation[5, 12] = 1e-3
    overlay = overlay_map(image, activation)
    assert overlay.shape == image.shape
    y, x = np.unravel_index(cv2.blur(overlay, (3, 3)).sum(axis=2).argmax(), (120, 160))
    assert 12 * 8 <= x < 13 * 8
    assert 5 * 8 <= y < 6 * 8
    assert (overlay[:8, :8] == overlay[0, 0]).all()
    assert overlay[0, 0, 0] < image[0, 0, 0]


def test_cell_size_places_a_map_that_reaches_beyond_the_image():
    activation = np.zeros((2, 2))
    activation[0, 1] = 1
    overlay = overlay_map(gray(10, 10), activation, cell_size=(8, 8)).sum(axis=2)
    assert overlay[2, 9] > overlay[2, 5] > overlay[2, 2]
    assert overlay[:, 9].max() == overlay.max()


def test_flat_zero_map_only_dims():
    overlay = overlay_map(gray(), np.zeros((3, 4)))
    assert (overlay == overlay[0, 0]).all()


@pytest.mark.parametrize("activation", [np.zeros(4), np.zeros((0, 3)), np.full((2, 2), np.nan)])
def test_bad_maps_are_refused(activation):
    with pytest.raises(ValueError, match="finite matrix"):
        overlay_map(gray(), activation)


@pytest.mark.parametrize(
    "image", [np.zeros((4, 4, 3)), np.zeros((4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8)]
)
def test_other_arrays_are_no_images(image):
    with pytest.raises(ValueError, match="uint8 array"):
        draw_polygons(image, [])


@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_outlines_lie_on_continuous_coordinates(shift):
    image = gray(value=0)
    drawn = draw_polygons(image, [[value + shift for value in SQUARE], None])
    side = drawn[60, 30:50, 1].astype(float)
    assert (side * (np.arange(30, 50) + 0.5)).sum() / side.sum() == pytest.approx(
        40 + shift, abs=0.1
    )
    assert has_color(draw_polygons(image, [SQUARE], thickness=3), GROUND_TRUTH)
    assert not image.any()


def test_anchor_cross_is_centred_on_its_point():
    image = gray()
    drawn = draw_anchors(image, [[60.5, 50.5]])
    left, top, right, bottom = changed_box(image, drawn)
    assert (left + right) / 2 == pytest.approx(60.5, abs=0.5)
    assert (top + bottom) / 2 == pytest.approx(50.5, abs=0.5)
    assert has_color(drawn, ANCHOR)


def test_words_stay_clear_of_outlines_and_of_each_other():
    image = gray()
    drawn = draw_words(image, ["wording"], [SQUARE])
    assert changed_box(image, drawn)[3] <= 40
    at_top = [40, 2, 80, 2, 80, 20, 40, 20]
    assert changed_box(image, draw_words(image, ["wording"], [at_top]))[1] >= 20
    assert (draw_words(image, ["wording"], [[0, 0, 160, 0, 160, 120, 0, 120]]) == image).all()
    twice = draw_words(image, ["wording", "wording"], [SQUARE, SQUARE])
    _, top, _, bottom = changed_box(image, twice)
    assert (twice[40:80, 40:80] == 90).all()
    assert top < 40
    assert bottom > 80


def test_caption_keeps_the_note_and_shortens_the_text():
    image = gray(20, 200)
    short = add_caption(image, "word", "0.123")
    long = add_caption(image, "word" * 50, "0.123")
    assert short.shape == long.shape == (50, 200, 3)
    assert (short[:20] == image).all()
    assert (short[20:, 150:] == long[20:, 150:]).all()
    assert (short[20:, 150:] != BACKGROUND).any()
    assert not (short[20:, 60:140] != BACKGROUND).any()
    assert (long[20:, 60:120] != BACKGROUND).any()


def test_contact_sheet_places_tiles_of_different_sizes():
    tiles = [gray(10, 20, 1), gray(30, 10, 2), gray(5, 40, 3)]
    sheet = contact_sheet(tiles, 2, gap=4, background=(9, 9, 9))
    assert sheet.shape == (4 + 30 + 4 + 5 + 4, 4 + 40 + 4 + 10 + 4, 3)
    assert (sheet[4:14, 4:24] == 1).all()
    assert (sheet[4:34, 48:58] == 2).all()
    assert (sheet[38:43, 4:44] == 3).all()
    assert (sheet == 9).sum() == sheet.size - 3 * (200 + 300 + 200)


@pytest.mark.parametrize(("tiles", "columns"), [([], 2), ([gray()], 0)])
def test_empty_sheets_are_refused(tiles, columns):
    with pytest.raises(ValueError, match="needs one of each"):
        contact_sheet(tiles, columns)


@pytest.mark.parametrize(
    ("size", "shown"), [((160, 160), (440, 440)), ((64, 64), (320, 320)), ((720, 1280), (360, 640))]
)
def test_tiles_have_a_legible_size(size, shown):
    tile = draw_activation(gray(*size), WordView("word", np.ones((8, 8))))
    assert tile.shape == (shown[0] + 30, shown[1], 3)


@pytest.mark.parametrize(
    ("point", "color"), [((60, 60), HIT), ((40, 60), HIT), ((90, 60), MISS), (None, MISS)]
)
def test_caption_colour_says_whether_the_anchor_is_on_the_word(point, color):
    tile = draw_activation(gray(), WordView("HHHHH", np.ones((15, 20)), point, 0.5, SQUARE))
    caption = tile[-30:]
    assert has_color(caption, color)
    assert not has_color(caption, HIT if color == MISS else MISS)


def test_sheet_has_one_tile_for_the_image_and_one_per_word():
    words = [WordView("a", np.eye(4), (60, 60), 0.5, SQUARE), WordView("漢", np.eye(4))]
    sheet = anchor_sheet(gray(), words, ["a", "b"], [SQUARE, None], title="x", columns=2)
    tile_height, tile_width = 330 + 30, 440
    assert sheet.shape == (2 * tile_height + 3 * 8, 2 * tile_width + 3 * 8, 3)
    assert (sheet[-tile_height:, -tile_width:] == BACKGROUND).all()


@pytest.mark.parametrize("name", ["new/sheet.png", "sheet.JPG"])
def test_saved_images_open_again(tmp_path, name):
    save_image(tmp_path / name, gray(7, 9))
    with Image.open(tmp_path / name) as image:
        assert image.size == (9, 7)
        assert np.abs(np.asarray(image).astype(int) - 90).max() <= 1


def test_unknown_suffix_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"sheet\.xyz' names no image format"):
        save_image(tmp_path / "sheet.xyz", gray())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["Straße", "Ελλάδα", "Москва", "شارع"])
def test_covered_scripts_are_drawn_as_they_are(text):
    font, shown = font_for(text, 20)
    assert font.path.endswith("DejaVuSans.ttf")
    assert shown == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb", "a[U+000A]b"),
        ("x\ud800", "x[U+D800]"),
        ("\U0010fffd z", "[U+10FFFD] z"),
    ],
)
def test_characters_without_a_shape_are_spelled(text, shown):
    assert font_for(text, 20)[1] == shown


def test_a_system_font_serves_what_dejavu_lacks(monkeypatch):
    stix = font_for("a", 20)[0].path.replace("DejaVuSans.ttf", "STIXGeneral.ttf")
    letter = "\u231a"  # a watch, which STIX has and DejaVu lacks
    monkeypatch.setattr("wecromcl_d2.fonts._system_fonts", lambda: (__file__, stix))
    _covering_font.cache_clear()
    font, shown = font_for("a" + letter, 20)
    assert (font.path, shown) == (stix, "a" + letter)
    monkeypatch.setattr("wecromcl_d2.fonts._system_fonts", lambda: (__file__,))
    _covering_font.cache_clear()
    assert font_for("a" + letter, 20)[1] == "a[U+231A]"
    _covering_font.cache_clear()


def test_the_caption_explains_an_anchor_that_stands_apart_from_the_glow(monkeypatch):
    notes = []
    monkeypatch.setattr(
        visualizer, "add_caption", lambda image, text, note, color: notes.append(note) or image
    )
    cells = np.zeros((12, 16))
    cells[2, 3], cells[8, 12] = 0.5, 0.2
    for point in ((35, 25), (45, 35), (125, 85)):
        draw_activation(gray(), WordView("word", cells, point, 0.5))
    assert notes == ["0.500", "0.500", "0.500, a lower peak"]
    draw_activation(gray(), WordView("word", cells, (125, 85), 0.5), (20, 40))
    assert notes[-1] == "0.500"
    draw_activation(gray(), WordView("word", cells, (125, 85), None))
    assert notes[-1] == ""
