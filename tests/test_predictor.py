"""Predictors: images of every kind, tiling, and what is refused."""

import json
from itertools import pairwise

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.fake_spotter import BLOCK, paint, write_model
from wecromcl_d2.predictor import (
    AnchorFinder,
    ImageError,
    Spotter,
    Tiling,
    model_names,
    read_image,
    register_model,
)
from wecromcl_d2.predictor.drawing import draw_spotting
from wecromcl_d2.predictor.tiling import STEP, Tile, TileWords
from wecromcl_d2.tasks import load_config
from wecromcl_d2.weights_file import WeightsError

ANCHORS = "configs/quick/anchors.yaml"


def ground(height=96, width=128):
    return np.zeros((height, width, 3), np.uint8)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def spotter(files):
    return Spotter(*files)


@pytest.fixture(scope="module")
def finder(tmp_path_factory):
    weights = tmp_path_factory.mktemp("anchors") / "model.pth"
    torch.manual_seed(1)
    torch.save({"model": build_model(load_config(ANCHORS)).state_dict()}, weights)
    return AnchorFinder(ANCHORS, weights)


def make_image():
    image = ground()
    paint(image, "hill", 10, 20, score=200)
    paint(image, "street", 40, 60, score=250)
    return image


def test_an_image_gives_its_words_the_surest_first(spotter):
    result = spotter(make_image())
    assert result.words == ["street", "hill"]
    np.testing.assert_allclose(result.points, [[40 + 24, 64], [10 + 16, 24]])
    np.testing.assert_allclose(result.scores, [250 / 255, 200 / 255], atol=1e-6)
    np.testing.assert_allclose(result.polylines[1], [[14, 24], [38, 24]])
    assert (result.height, result.width, len(result)) == (96, 128, 2)


def test_points_are_in_pixels_of_the_original(tmp_path):
    image = ground(200, 300)
    paint(image, "hill", 40, 80, block=2 * BLOCK)
    result = Spotter(*write_model(tmp_path, side=100))(image)
    assert result.words == ["hill"]
    np.testing.assert_allclose(result.points, [[40 + 32, 88]], atol=1.5)


@pytest.mark.parametrize("order", ["RGB", "BGR"])
def test_the_network_gets_the_colour_order_it_was_trained_on(tmp_path, order):
    spotter = Spotter(*write_model(tmp_path, order=order))
    image = make_image()
    assert spotter(image).words == ["street", "hill"]
    assert spotter(image[..., ::-1], color_order="BGR").words == ["street", "hill"]
    assert spotter(Image.fromarray(image)).words == ["street", "hill"]


def test_a_list_keeps_its_order_whatever_the_batches(spotter, tmp_path):
    images, words = [], ["a", "bb", "ccc", "dddd", "eeeee"]
    for index, word in enumerate(words):
        image = ground(64, 96 if index % 2 else 80)
        paint(image, word, 8, 8)
        images.append(image)
    path = tmp_path / "last.png"
    Image.fromarray(images[-1]).save(path)
    images[-1] = path
    for batch_size in (1, 2, 8):
        assert [r.words for r in spotter(images, batch_size=batch_size)] == [[w] for w in words]
    # All of them fit into one call: one batch for each of the two sizes.
    assert spotter.model.batches[-2:] == [[(64, 80)] * 3, [(64, 96)] * 2]
    assert spotter([]) == []
    with pytest.raises(ValueError, match="batch_size is 0"):
        spotter(images, batch_size=0)


def test_words_below_the_threshold_are_left_out(files):
    image = ground()
    paint(image, "low", 8, 8, score=100)
    paint(image, "high", 8, 40, score=220)
    assert Spotter(*files)(image).words == ["high"]
    assert Spotter(*files, threshold=0.3)(image).words == ["high", "low"]
    assert Spotter(*files, threshold=0.9)(image).words == []


def test_an_image_without_words_is_a_valid_result(spotter):
    result = spotter(ground(1, 1))
    assert result.words == []
    assert json.loads(result.to_json())["texts"] == []
    assert result.draw().dtype == np.uint8


def test_dict_and_json_hold_the_same_plain_values(spotter, tmp_path):
    path = tmp_path / "Straße.png"
    Image.fromarray(make_image()).save(path)
    result = spotter(path)
    content = result.to_dict()
    assert json.loads(result.to_json()) == content
    assert content["file_name"] == str(path)
    assert content["texts"] == ["street", "hill"]
    assert content["points"] == [[64.0, 64.0], [26.0, 24.0]]
    assert content["polylines"][1] == [[14.0, 24.0], [38.0, 24.0]]
    assert content["scores"] == content["det_scores"] == [0.9804, 0.7843]
    assert (content["height"], content["width"]) == (96, 128)


def test_drawing_shows_points_lines_and_every_text(spotter):
    image = make_image()
    drawn = spotter(image).draw()
    assert drawn.shape == (96 * 5, 128 * 5, 3)
    large = np.full((900, 700, 3), 90, np.uint8)
    points = np.array([[5.0, 5.0], [5.0, 5.0], [350.0, 450.0]])
    before = large.copy()
    one = draw_spotting(large, ["a"], points[:1])
    three = draw_spotting(large, ["a", "漢字", ""], points)
    assert (large == before).all()
    assert one.shape == large.shape
    assert (three != one).any()
    lined = draw_spotting(large, ["a"], points[2:], np.array([[[200.0, 450.0], [500.0, 450.0]]]))
    assert (lined[450, 210:490] != 90).any(axis=1).all()


def test_drawing_reads_a_file_again_upright(spotter, tmp_path):
    exif = Image.Exif()
    exif[274] = 6  # turn clockwise to see it upright
    path = tmp_path / "turned.png"
    Image.fromarray(np.rot90(make_image()).copy()).save(path, exif=exif)
    result = spotter(path)
    assert result.words == ["street", "hill"]
    assert (result.height, result.width) == (96, 128)
    assert result.draw().shape == (96 * 5, 128 * 5, 3)


# Images of every kind.


def colors():
    return np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)


def test_files_and_arrays_of_every_kind_become_rgb(tmp_path):
    rgb, gray = colors(), colors()[..., 0]
    spread = np.repeat(gray[..., None], 3, axis=2)
    assert (read_image(rgb) == rgb).all()
    assert (read_image(rgb, "BGR") == rgb[..., ::-1]).all()
    assert (read_image(gray) == spread).all()
    assert (read_image(gray[..., None]) == spread).all()
    assert (read_image(rgb.astype(np.uint16) * 257) == rgb).all()
    path = tmp_path / "x.png"
    for image, expected in (
        (Image.fromarray(rgb), rgb),
        (Image.fromarray(gray), spread),
        (Image.fromarray(gray.astype(np.uint16) * 257), spread),
        (Image.fromarray(gray > 127), np.where(spread > 127, 255, 0)),
    ):
        image.save(path)
        assert (read_image(path) == expected).all()
        assert (read_image(image) == expected).all()
    assert (read_image(Image.fromarray(gray.astype(np.int32) * 257)) == spread).all()


def test_what_is_transparent_lies_on_white(tmp_path):
    rgb = colors()
    alpha = np.zeros((5, 7, 1), np.uint8)
    alpha[0], alpha[1] = 255, 51
    pixels = np.concatenate([rgb, alpha], axis=2)
    Image.fromarray(pixels).save(tmp_path / "x.png")
    bgra = np.concatenate([rgb[..., ::-1], alpha], axis=2)
    for image in (read_image(tmp_path / "x.png"), read_image(pixels), read_image(bgra, "BGR")):
        assert (image[0] == rgb[0]).all()
        np.testing.assert_allclose(image[1], 0.2 * rgb[1] + 0.8 * 255, atol=0.51)
        assert (image[2:] == 255).all()


@pytest.mark.parametrize(
    "bad",
    [
        np.zeros((4, 4, 3)),
        np.zeros((4, 4, 2), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((2, 4, 4, 3), np.uint8),
        np.zeros(4, np.uint8),
        Image.new("F", (4, 4)),
        7,
    ],
    ids=lambda bad: getattr(bad, "shape", bad),
)
def test_other_things_are_no_images(bad):
    with pytest.raises(ImageError):
        read_image(bad)


def test_damaged_files_are_named(tmp_path, spotter):
    whole = tmp_path / "whole.jpg"
    Image.fromarray(make_image()).save(whole)
    (tmp_path / "cut.jpg").write_bytes(whole.read_bytes()[:500])
    (tmp_path / "text.png").write_text("no image", encoding="utf-8")
    for name in ("cut.jpg", "text.png", "missing.png"):
        with pytest.raises(ImageError, match=name):
            spotter([whole, tmp_path / name])
    with pytest.raises(ValueError, match="color_order is 'GBR'"):
        read_image(whole, "GBR")


# Tiling.


@settings(max_examples=100, deadline=None)
@given(
    size=st.tuples(st.integers(1, 3000), st.integers(1, 3000)),
    side=st.integers(64, 700),
    overlap=st.integers(32, 350),
)
def test_tiles_cover_everything_and_overlap(size, side, overlap):
    if overlap // STEP > side // STEP // 2:
        with pytest.raises(ValueError, match="the overlap must be"):
            Tiling(side, overlap)
        return
    tiling = Tiling(side, overlap)
    tiles = tiling.split(size)
    height, width = size
    if max(size) < tiling.side + STEP:
        assert tiles == [Tile(0, 0, width, height)]
    rows = sorted({(t.top, t.bottom) for t in tiles})
    columns = sorted({(t.left, t.right) for t in tiles})
    assert len(tiles) == len(rows) * len(columns)
    for spans, length in ((rows, height), (columns, width)):
        assert spans[0][0] == 0
        assert spans[-1][1] == length
        for start, end in spans:
            assert start % STEP == 0
            assert start < end < start + tiling.side + STEP
        for (_, end), (start, _) in pairwise(spans):
            assert end - start >= tiling.overlap


def poster(height=300, width=420):
    """Words all over an image, some on the seams of small tiles."""
    image = ground(height, width)
    placed = []
    for row, top in enumerate(range(6, height - 10, 24)):
        left = 4 + 5 * row
        for number in range(width):
            word = "abcdefgh"[: 1 + (row + number) % 7] + "xyz"[number % 3]
            if left + len(word) * BLOCK + 4 > width:
                break
            paint(image, word, left, top, score=150 + (7 * row + 13 * number) % 100)
            placed.append(word)
            left += len(word) * BLOCK + 9
    return image, placed


@pytest.mark.parametrize("lines", [True, False])
def test_tiled_equals_untiled(files, lines):
    image, placed = poster()
    tiled, whole = (Spotter(*files, tiling=tiling) for tiling in (Tiling(192, 96), None))
    tiled.model.lines = whole.model.lines = lines
    expected, result = whole(image), tiled(image)
    assert len(tiled.model.batches[0]) > 1
    assert sorted(expected.words) == sorted(placed)
    found = sorted(zip(result.words, result.points.tolist(), strict=True))
    assert found == sorted(zip(expected.words, expected.points.tolist(), strict=True))
    assert (result.polylines is None) == (not lines)


@pytest.mark.parametrize("lines", [True, False])
@pytest.mark.parametrize("shift", range(-40, 41, 8))
@pytest.mark.parametrize("vertical", [True, False])
def test_a_word_on_a_seam_is_found_once(files, shift, lines, vertical):
    spotter = Spotter(*files, tiling=Tiling(192, 96))
    spotter.model.lines = lines
    image = ground(288, 288)
    left, top = (60, 144 - 32 + shift) if vertical else (144 - 32 + shift, 60)
    paint(image, "crossing", left, top, vertical=vertical)
    result = spotter(image)
    assert spotter.model.batches[0] == [(192, 192)] * 4
    assert result.words == ["crossing"]
    center = (64, 144 + shift) if vertical else (144 + shift, 64)
    np.testing.assert_allclose(result.points, [center])


@pytest.mark.parametrize("lines", [True, False])
def test_equal_words_side_by_side_stay_two(files, lines):
    spotter = Spotter(*files, tiling=Tiling(192, 96))
    spotter.model.lines = lines
    image = ground(96, 288)
    paint(image, "so", 128, 40)
    paint(image, "so", 128 + 3 * BLOCK, 40)
    assert spotter(image).words == ["so", "so"]


def test_a_tile_keeps_all_of_its_own_words():
    tiles = [Tile(0, 0, 192, 192), Tile(96, 0, 288, 192)]
    points = np.array([[140.0, 50.0], [141.0, 50.0], [142.0, 50.0]])
    words = TileWords(
        tiles, (192, 288), np.array([0, 0, 1]), ["a", "a", "b"], points, np.ones(3), None
    )
    assert words.distinct(96).tolist() == [0, 1, 2]


def test_a_large_image_is_tiled_after_its_resize(tmp_path):
    spotter = Spotter(*write_model(tmp_path, side=100), tiling=Tiling(128, 64))
    image = ground(200, 800)
    paint(image, "hill", 384, 80, block=2 * BLOCK)
    result = spotter(image)
    assert len(spotter.model.batches[0]) > 1
    assert result.words == ["hill"]
    np.testing.assert_allclose(result.points, [[384 + 32, 88]], atol=1.5)
    small = Spotter(*write_model(tmp_path, side=100), full_size=True, tiling=None)
    small(image)
    assert small.model.batches == [[(200, 800)]]


# Models and their names.


def test_a_name_stands_for_files(files):
    register_model("blocks", *files)
    register_model("blocks", *files)
    assert "blocks" in model_names()
    spotter = Spotter.from_name("blocks", threshold=0.25)
    assert spotter.threshold == 0.25
    assert spotter(make_image()).words == ["street", "hill"]
    with pytest.raises(ValueError, match="'blocks' is taken"):
        register_model("blocks", files[0], "other.pth")


def test_unknown_names_and_missing_files_say_what_helps(files, monkeypatch, tmp_path):
    with pytest.raises(ValueError, match=r"no model is called 'swift'; there are .*quick"):
        Spotter.from_name("swift")
    register_model("gone", files[0], "nowhere/model.pth")
    with pytest.raises(FileNotFoundError, match=r"model 'gone': nowhere/model\.pth does not exist"):
        Spotter.from_name("gone")
    # Neither here nor in the clone, where `make demo` may have run before.
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("wecromcl_d2.files._PACKAGE", tmp_path / "package")
    with pytest.raises(FileNotFoundError, match=r"`make demo` in a clone, or .* makes it"):
        AnchorFinder.from_name("quick-anchors")


def test_configs_are_found_from_anywhere(monkeypatch, tmp_path, finder):
    weights = tmp_path / "model.pth"
    torch.save({"model": finder.model.state_dict()}, weights)
    monkeypatch.chdir(tmp_path)
    assert AnchorFinder(ANCHORS, "model.pth").cfg.TASK == "anchors"


def test_a_config_of_the_other_stage_is_refused(files):
    with pytest.raises(ValueError, match="TASK 'spotting', but AnchorFinder needs one for 'anch"):
        AnchorFinder(*files)


def test_weights_that_do_not_fit_are_refused(files, tmp_path, finder):
    other = tmp_path / "other.pth"
    torch.save({"model": finder.model.state_dict()}, other)
    with pytest.raises(WeightsError, match=r"other\.pth does not fit the model"):
        Spotter(files[0], other)
    (tmp_path / "text.pth").write_text("no weights", encoding="utf-8")
    with pytest.raises(WeightsError, match=r"text\.pth"):
        Spotter(files[0], tmp_path / "text.pth")
    with pytest.raises(WeightsError, match="another alphabet"):
        AnchorFinder(ANCHORS, other, ["MODEL.TEXT_ENCODER.CHARSET", "wecromcl"])


def test_without_a_gpu_the_cpu_is_used(files):
    spotter = Spotter(*files, ["MODEL.DEVICE", "cuda"])
    chosen = spotter.cfg.MODEL.DEVICE
    assert chosen == ("cuda" if torch.cuda.is_available() else "cpu")
    assert Spotter(*files, ["MODEL.DEVICE", "cuda"], device="cpu").cfg.MODEL.DEVICE == "cpu"


# Anchors.


def test_anchors_keep_the_given_order_and_repeats(finder):
    image = np.random.default_rng(0).integers(0, 256, (72, 100, 3), dtype=np.uint8)
    result = finder(image, ["Hill", "street", "€", "hill"])
    assert result.words == ["Hill", "street", "hill"]
    assert result.unread == ["€"]
    assert result.points.shape == (3, 2)
    assert ((result.points >= 0) & (result.points <= [100, 72])).all()
    stride = finder.model.stride
    assert result.maps.shape == (3, -(-72 // stride), -(-100 // stride))
    assert result.cell_size == (stride, stride)
    assert result.scores[0] > result.scores[2]
    row, column = np.unravel_index(result.maps[1].argmax(), result.maps[1].shape)
    assert result.scores[1] == result.maps[1].max()
    center = [(column + 0.5) * stride, (row + 0.5) * stride]
    # The point is the centroid of the map around its peak, up to two cells away.
    np.testing.assert_allclose(result.points[1], center, atol=2 * stride)
    assert result.draw().dtype == np.uint8


def test_anchors_are_a_label_record(finder, tmp_path):
    from wecromcl_d2.data.datasets import read_labels, write_labels

    image = ground()
    result = finder(image, ["hill", "€"])
    record = result.to_dict() | {"file_name": "x.png"}
    assert json.loads(result.to_json()) == result.to_dict()
    write_labels(tmp_path / "labels.jsonl", [record])
    (read,) = read_labels(tmp_path / "labels.jsonl")
    assert read["texts"] == ["hill", "€"]
    assert read["points"][1] is None
    assert read["point_scores"] == [float(result.scores[0]), None]
    assert read["similarity"] == [pytest.approx(result.similarity[0], abs=1e-4), None]


def test_words_may_be_shared_or_each_images_own(finder):
    images = [ground(48, 64), ground(64, 48)]
    shared = finder(images, ["a", "b"])
    own = finder(images, [["a", "b"], ["c"]], batch_size=1)
    assert [r.words for r in shared] == [["a", "b"], ["a", "b"]]
    assert [r.words for r in own] == [["a", "b"], ["c"]]
    np.testing.assert_allclose(own[0].maps, shared[0].maps, atol=1e-6)
    assert finder(images[0], []).words == []
    assert finder(images[0], []).draw().size
    with pytest.raises(ValueError, match="is the string 'word'"):
        finder(images[0], "word")
    with pytest.raises(ValueError, match="1 entries of words for 2 images"):
        finder(images, [["a"]])
