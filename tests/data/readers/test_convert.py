"""From ground truth and images to records."""

import numpy as np
import pytest
from detectron2.data import detection_utils
from PIL import Image

from wecromcl_d2.data.datasets import LabelError, write_labels
from wecromcl_d2.data.readers.base import ImageGT, Tally, Word
from wecromcl_d2.data.readers.convert import ImageFolder, convert

SQUARE = [2, 3, 6, 3, 6, 9, 2, 9]


def make_image(path, size=(20, 30), orientation=None):
    """Write a black image of (height, width) with one white pixel at x = 4, y = 2."""
    pixels = np.zeros((*size, 3), dtype=np.uint8)
    pixels[2, 4] = 255
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, exif=exif)


def records(folder, *ground_truth, **options):
    tally = Tally()
    return list(convert(ground_truth, ImageFolder(folder), tally, **options)), tally


def gt(name, *words, **fields):
    return ImageGT("gt.txt", (name,), list(words), **fields)


def test_a_record(tmp_path):
    make_image(tmp_path / "img_1.png")
    words = [Word("Hill", SQUARE), Word("###", SQUARE, ignore=True), Word(" "), Word("É")]
    (record,), tally = records(tmp_path, gt("img_1", *words, image_id="img_1"), prefix="a/b")
    assert record == {
        "file_name": "a/b/img_1.png",
        "height": 20,
        "width": 30,
        "image_id": "img_1",
        "texts": ["Hill", "###", " ", "É"],
        "points": [[4, 6], [4, 6], None, None],
        "polygons": [SQUARE, SQUARE, None, None],
        "ignore": [False, True, True, False],
    }
    write_labels(tmp_path / "labels.jsonl", [record])
    assert (tally.images, tally.words, tally.ignored, tally.blank) == (1, 4, 2, 1)
    assert (tally.outlines, tally.outside) == (2, 0)
    assert dict(tally.characters) == {"H": 1, "i": 1, "l": 2, "É": 1}


def test_words_only_has_no_position_and_no_ignored_word(tmp_path):
    make_image(tmp_path / "img_1.png")
    words = [Word("Hill", SQUARE, [1, 2]), Word("###", SQUARE, ignore=True), Word("")]
    (record,), _ = records(tmp_path, gt("img_1", *words), words_only=True)
    assert record == {"file_name": "img_1.png", "height": 20, "width": 30, "texts": ["Hill"]}


def test_the_source_may_give_the_centre(tmp_path):
    make_image(tmp_path / "img_1.png")
    (record,), _ = records(tmp_path, gt("img_1", Word("Hill", SQUARE, [5.5, 7])))
    assert record["points"] == [[5.5, 7]]


def test_centres_outside_are_counted_those_on_the_line_are_not(tmp_path):
    make_image(tmp_path / "img_1.png")
    # A chevron open upwards. Read from its tip, its sides are its arms, and the midpoint between
    # those lies in the opening.
    from_tip = [10, 10, 20, 0, 20, 1, 10, 11, 0, 1, 0, 0]
    from_end = [0, 0, 10, 10, 20, 0, 20, 1, 10, 11, 0, 1]
    without_area = [0, 0, 10, 0, 10, 0, 0, 0]
    words = [Word("a", from_tip), Word("b", from_end), Word("c", without_area)]
    (record,), tally = records(tmp_path, gt("img_1", *words))
    assert record["points"][0] == pytest.approx([10, 5.146], abs=1e-3)
    assert record["points"][1:] == [[10, 10.5], [5, 0]]
    assert (tally.outlines, tally.outside) == (3, 1)


@pytest.mark.parametrize("orientation", [None, 1, 2, 3, 4, 5, 6, 7, 8, 9])
def test_positions_turn_with_the_image(tmp_path, orientation):
    make_image(tmp_path / "img_1.png", orientation=orientation)
    marked = Word("x", [4, 2, 5, 2, 5, 3, 4, 3], [4.5, 2.5])
    (record,), tally = records(tmp_path, gt("img_1", marked))
    image = detection_utils.read_image(str(tmp_path / "img_1.png"), "RGB")
    assert image.shape[:2] == (record["height"], record["width"])
    ((y, x),) = np.argwhere(image[..., 0] == 255)
    assert record["points"] == [[x + 0.5, y + 0.5]]
    corners = np.array(record["polygons"][0]).reshape(4, 2)
    assert corners.min(axis=0).tolist() == [x, y]
    assert corners.max(axis=0).tolist() == [x + 1, y + 1]
    assert tally.turned == (orientation in range(2, 9))


def test_a_stated_size_tells_the_frame(tmp_path):
    make_image(tmp_path / "img_1.png", orientation=6)
    word = Word("x", point=[4, 2])
    (stored,), _ = records(tmp_path, gt("img_1.png", word, size=(20, 30)))
    (shown,), _ = records(tmp_path, gt("img_1.png", word, size=(30, 20)))
    assert (stored["height"], stored["width"]) == (shown["height"], shown["width"]) == (30, 20)
    assert stored["points"] == [[18, 4]]
    assert shown["points"] == [[4, 2]]
    with pytest.raises(LabelError, match=r"gt\.txt: image img_1\.png is 20 x 30"):
        records(tmp_path, gt("img_1.png", word, size=(10, 15)))


def test_missing_damaged_and_wordless_images_are_counted(tmp_path):
    make_image(tmp_path / "img_1.jpg", size=(200, 300))
    (tmp_path / "img_2.jpg").write_bytes(b"")
    (tmp_path / "img_3.jpg").write_bytes((tmp_path / "img_1.jpg").read_bytes()[:-200])
    ground_truth = [gt(f"img_{n}", Word("x")) for n in (1, 2, 3, 4)] + [gt("img_1.jpg")]
    found, tally = records(tmp_path, *ground_truth)
    assert len(found) == 3
    assert tally.damaged.first == ["img_2.jpg"]
    assert tally.missing.first == ["img_4"]
    assert tally.notes["images without a word"].count == 1
    _, tally = records(tmp_path, *ground_truth, decode=True)
    assert tally.damaged.first == ["img_2.jpg", "img_3.jpg"]


def test_names_with_and_without_suffix(tmp_path):
    make_image(tmp_path / "img_1.JPG")
    make_image(tmp_path / "img_2.gif")
    make_image(tmp_path / "sub" / "c.png")
    make_image(tmp_path / "img_3.png")
    (tmp_path / "notes.txt").write_text("", encoding="utf-8")
    folder = ImageFolder(tmp_path)
    assert folder.find(("img_1",)) == "img_1.JPG"
    assert folder.find(("0000002", "img_2")) == "img_2.gif"
    assert folder.find(("sub/c.png",)) == "sub/c.png"
    assert folder.find(("img_2.jpg",)) is None
    assert folder.find(("notes",)) is None
    assert folder.unused() == ["img_3.png"]
    make_image(tmp_path / "img_1.png")
    with pytest.raises(LabelError, match=r"img_1\.JPG and img_1\.png share a name"):
        ImageFolder(tmp_path).find(("img_1",))
