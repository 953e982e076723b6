"""What the predictors take beyond paths and arrays, and what their results can do."""

import importlib
import io
import json
import sys

import numpy as np
import pytest
from PIL import Image

from tests.fake_spotter import BLOCK, paint, write_model
from wecromcl_d2.predictor import AnchorFinder, ImageError, Spotter
from wecromcl_d2.predictor.base import default_max_side
from wecromcl_d2.tasks import load_config


def picture(height=96, width=128):
    image = np.zeros((height, width, 3), np.uint8)
    paint(image, "hill", 10, 20, score=200)
    paint(image, "street", 40, 60, score=250)
    return image


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def spotter(files):
    return Spotter(*files)


@pytest.fixture
def png():
    stream = io.BytesIO()
    Image.fromarray(picture()).save(stream, "PNG")
    return stream.getvalue()


def test_bytes_and_file_objects_are_pictures(spotter, png, tmp_path):
    (tmp_path / "a.png").write_bytes(png)
    with open(tmp_path / "a.png", "rb") as stream:
        results = [spotter(png), spotter(io.BytesIO(png)), spotter(stream)]
        results += spotter([png, io.BytesIO(png)])
    for result in results:
        assert result.words == ["street", "hill"]
        assert result.draw().shape == results[0].draw().shape  # read a second time


@pytest.mark.parametrize("bad", [b"no picture", io.BytesIO(b"no picture"), b""])
def test_bytes_that_are_no_picture_are_refused(spotter, bad):
    with pytest.raises(ImageError, match=r"cannot use image .*: no image, .* save it as JPEG"):
        spotter(bad)


def test_a_url_ends_in_a_sentence(spotter):
    with pytest.raises(ImageError, match=r"https://a\.org/b\.jpg is a URL, and nothing is downl"):
        spotter("https://a.org/b.jpg")


def test_one_bad_picture_of_a_list_is_skipped_on_demand(spotter, tmp_path, caplog):
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    images = [picture(), tmp_path / "bad.jpg", tmp_path / "missing.jpg", picture()]
    for batch_size in (1, 2, 8):
        results = spotter(images, on_error="skip", batch_size=batch_size)
        assert [result and result.words for result in results] == [
            ["street", "hill"],
            None,
            None,
            ["street", "hill"],
        ]
    assert "bad.jpg" in caplog.text and "missing.jpg" in caplog.text
    with pytest.raises(ImageError, match=r"bad\.jpg"):
        spotter(images)
    with pytest.raises(ValueError, match="on_error is 'ignore'"):
        spotter(images, on_error="ignore")


def test_results_are_their_words(spotter):
    result = spotter(picture())
    assert len(result) == 2
    first, second = result
    assert (first.text, first.x, first.y) == ("street", 64, 64)
    assert second.score == pytest.approx(200 / 255)


def test_boxes_lie_around_the_reading_lines(spotter):
    result = spotter(picture())
    # The line of "hill" goes from (14, 24) to (38, 24); its characters are 8 pixels apart.
    np.testing.assert_allclose(result.boxes[1], [14 - 4.4, 24 - 4.4, 38 + 4.4, 24 + 4.4])
    assert list(result)[1].box == pytest.approx(tuple(result.boxes[1]))
    assert result.to_dict()["boxes"][1] == [9.6, 19.6, 42.4, 28.4]
    image = np.zeros((40, 64, 3), np.uint8)
    paint(image, "edge", 0, 0)
    (box,) = spotter(image).boxes
    assert box[:2].tolist() == [0, 0]


def test_the_keys_are_the_same_with_and_without_lines_words_and_file(files, tmp_path):
    spotter = Spotter(*files)
    Image.fromarray(picture()).save(tmp_path / "a.png")
    results = [spotter(tmp_path / "a.png"), spotter(np.zeros((9, 9, 3), np.uint8))]
    spotter.model.lines = False
    results += [spotter(picture()), spotter(np.zeros((9, 9, 3), np.uint8))]
    assert len({tuple(result.to_dict()) for result in results}) == 1
    without = results[2]
    assert without.boxes is None and without.to_dict()["boxes"] is None
    assert [word.box for word in without] == [None, None]
    assert json.loads(without.to_json())["file_name"] is None


def test_results_are_saved_shown_and_tabulated(spotter, tmp_path, monkeypatch):
    result = spotter(picture())
    result.save(tmp_path / "drawn.png")
    with Image.open(tmp_path / "drawn.png") as image:
        np.testing.assert_array_equal(np.asarray(image), result.draw())
    shown = []
    monkeypatch.setattr(Image.Image, "show", lambda image: shown.append(image))
    result.show()
    assert shown[0].size == result.draw().shape[1::-1]
    assert result._repr_png_().startswith(b"\x89PNG")


def test_a_table_without_pandas_is_a_sentence(spotter, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="pip install pandas"):
        spotter(picture()).to_dataframe()


def test_a_table_has_a_row_a_word(spotter, monkeypatch):
    class Table:
        def __init__(self, rows, columns):
            self.rows, self.columns = rows, columns

    real = importlib.import_module
    module = type("pandas", (), {"DataFrame": Table})
    monkeypatch.setattr(importlib, "import_module", lambda n: module if n == "pandas" else real(n))
    table = spotter(picture()).to_dataframe()
    assert table.columns == ["text", "x", "y", "score", "box"]
    assert [row["text"] for row in table.rows] == ["street", "hill"]


def test_the_longest_side_that_the_model_sees(files):
    image = np.zeros((200, 400, 3), np.uint8)
    paint(image, "hill", 40, 80, block=2 * BLOCK)
    spotter = Spotter(*files, max_side=200)
    result = spotter(image)
    assert spotter.model.batches[-1] == [(100, 200)]
    assert result.words == ["hill"]
    np.testing.assert_allclose(result.points, [[40 + 32, 88]], atol=1.5)
    for side in (0, 400):
        spotter = Spotter(*files, max_side=side)
        spotter(image)
        assert spotter.model.batches[-1] == [(200, 400)]
    spotter = Spotter(*files, max_side=200, full_size=True)
    spotter(image)
    assert spotter.model.batches[-1] == [(200, 400)]
    with pytest.raises(ValueError, match="max_side is -1"):
        Spotter(*files, max_side=-1)


def test_models_that_do_not_resize_are_limited_by_default():
    quick = ["MODEL.DEVICE", "cpu", "INPUT.MAX_SIZE_TEST", "777"]
    assert default_max_side(load_config("configs/quick/anchors.yaml", quick)) == 777
    resizing = [*quick, "INPUT.MIN_SIZE_TEST", "640"]
    assert default_max_side(load_config("configs/quick/anchors.yaml", resizing)) == 0
    published = [*quick, "INPUT.RESIZE", "multiple"]
    assert default_max_side(load_config("configs/quick/anchors.yaml", published)) == 0


def test_finding_nothing_says_what_to_try(files):
    image = np.zeros((300, 600, 3), np.uint8)
    result = Spotter(*files, max_side=200)(image)
    assert result.advice() == (
        "nothing found at this scale, 200 x 100 pixels of 600 x 300; try a max_side of 100 if its "
        "words are large, or full_size if they are small"
    )
    assert "full_size" not in Spotter(*files)(image).advice()
    assert Spotter(*files)(picture()).advice() == ""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "banana"}, "'banana' is no device; there are cpu"),
        ({"device": "cuda:99"}, "'cuda:99' is not on this machine; there are cpu"),
        ({"threshold": 7}, "threshold is 7; scores of words are from 0 to 1"),
        ({"threshold": float("nan")}, "threshold is nan"),
    ],
)
def test_values_that_cannot_be_are_one_sentence(files, options, message):
    with pytest.raises(ValueError, match=message):
        Spotter(*files, **options)


def test_anchors_are_their_words_too(tmp_path):
    import torch
    from detectron2.modeling import build_model

    config = "configs/quick/anchors.yaml"
    torch.save({"model": build_model(load_config(config)).state_dict()}, tmp_path / "m.pth")
    finder = AnchorFinder(config, tmp_path / "m.pth", max_side=64)
    result = finder(picture(), ["hill", "way"])
    assert [word.text for word in result] == ["hill", "way"]
    assert [(word.x, word.y) for word in result] == [tuple(p) for p in result.points.tolist()]
    assert result.maps.shape[1:] == (48 // 8, 64 // 8)
    results = finder([picture(), b"no picture"], [["hill"], ["way"]], on_error="skip")
    assert results[1] is None and results[0].words == ["hill"]
