"""Ground truth with one file per set: JSON, MATLAB and tables; values worked out by hand."""

import json
import tracemalloc

import numpy as np
import pytest
from scipy.io import savemat

from wecromcl_d2.data.datasets import LabelError
from wecromcl_d2.data.readers.abcnet import bezier_outline, decode_word, read_abcnet
from wecromcl_d2.data.readers.base import ImageGT, Tally, Word
from wecromcl_d2.data.readers.cocotext import read_cocotext
from wecromcl_d2.data.readers.official import read_official
from wecromcl_d2.data.readers.synthtext import read_synthtext
from wecromcl_d2.data.readers.tables import read_table

BOX = [10, 20, 90, 20, 90, 50, 10, 50]
# A straight word from (0, 0) to (30, 10), its lower side in the reverse direction.
STRAIGHT = [0, 0, 10, 0, 20, 0, 30, 0, 30, 10, 20, 10, 10, 10, 0, 10]
CAFE = [35, 33, 38, 37] + [96] * 21


def write(path, value):
    path.write_text(
        value if isinstance(value, str) else json.dumps(value), encoding="utf-8", newline=""
    )
    return path


def abcnet(**changes):
    annotation = {"id": 1, "image_id": 7, "bbox": [10, 20, 80, 30], "bezier_pts": STRAIGHT}
    annotation |= {"rec": CAFE, "iscrowd": 0} | changes
    image = {"id": 7, "file_name": "0000007.jpg", "height": 480, "width": 640}
    return {"images": [image], "annotations": [annotation], "categories": [{"id": 1}]}


def test_words_of_96_symbols():
    assert decode_word(CAFE, 96) == ("CAFE", 96, False)
    assert decode_word([35, 95, 33, 96, 38], 96) == ("CA", 96, False)
    assert decode_word([0, 94], 96) == (" ~", 94, True)
    assert decode_word([95, 96, 96], 96) == ("", 96, False)
    for bad in ([97], [-1], [True], ["a"], [1.0], None):
        with pytest.raises(LabelError):
            decode_word(bad, 96)


def test_words_of_37_symbols():
    assert decode_word([2, 0, 5, 4, 26, 35, 36, 36], 37) == ("cafe09", 36, False)
    assert decode_word([2, 36, 0], 37) == ("ca", 36, False)
    with pytest.raises(LabelError):
        decode_word([37], 37)


def test_bezier_sides():
    outline, center = bezier_outline(STRAIGHT)
    assert outline.shape == (14, 2)
    np.testing.assert_allclose(outline[:7], [[5 * i, 0] for i in range(7)], atol=1e-12)
    np.testing.assert_allclose(outline[7:], [[30 - 5 * i, 10] for i in range(7)], atol=1e-12)
    np.testing.assert_allclose(center, [15, 5])
    # At t = 0.5 a cubic is (p0 + 3 p1 + 3 p2 + p3) / 8, which is not half of this curve's length.
    bent = [0, 0, 0, 8, 0, 16, 24, 16, 24, 0, 0, 0, 0, 0, 0, 0]
    np.testing.assert_allclose(bezier_outline(bent)[1], [(24 / 8 + 24 / 8) / 2, (88 / 8) / 2])


def test_abcnet(tmp_path):
    tally = Tally()
    (gt,) = read_abcnet(write(tmp_path / "train.json", abcnet()), tally)
    assert gt.names == ("0000007.jpg",)
    assert gt.size == (480, 640)
    assert gt.image_id == 7
    (word,) = gt.words
    assert word.text == "CAFE"
    assert word.point == [15, 5]
    assert word.polygon[:4] == [0, 0, 5, 0]
    assert not tally.dropped
    assert not tally.notes


def test_abcnet_without_bezier_padded_or_unreadable(tmp_path):
    path = tmp_path / "train.json"
    (gt,) = read_abcnet(write(path, abcnet(bezier_pts=None)), Tally())
    assert gt.words == [Word("CAFE", BOX)]
    padded = [1, 2, 3, 4, 5, 6, 7, 8] + [0] * 8
    (gt,) = read_abcnet(write(path, abcnet(bezier_pts=padded)), Tally())
    assert gt.words == [Word("CAFE", [1, 2, 3, 4, 5, 6, 7, 8])]
    tally = Tally()
    (gt,) = read_abcnet(write(path, abcnet(bezier_pts=[1, 2] + [0] * 14)), tally)
    assert gt.words == [Word("CAFE")]
    assert list(tally.notes) == ["words with fewer than three points"]
    (gt,) = read_abcnet(write(path, abcnet(rec=[95] + [96] * 24)), Tally())
    assert gt.words[0].ignore
    tally = Tally()
    list(read_abcnet(write(path, abcnet(rec=[65] * 25)), tally))
    assert tally.notes["words as long as their code, so perhaps cut"].count == 1


def test_abcnet_of_the_wrong_vocabulary(tmp_path):
    path = write(tmp_path / "train.json", abcnet(rec=[2, 0, 36]))
    with pytest.raises(LabelError, match="looks like 37 symbols"):
        list(read_abcnet(path, Tally()))
    (gt,) = read_abcnet(path, Tally(), vocabulary=37)
    assert gt.words[0].text == "ca"
    write(path, abcnet())
    with pytest.raises(LabelError, match="outside the vocabulary of 37"):
        list(read_abcnet(path, Tally(), vocabulary=37))


def test_abcnet_images_and_annotations_must_fit(tmp_path):
    path = tmp_path / "train.json"
    tally = Tally()
    (gt,) = read_abcnet(write(path, abcnet(image_id=8)), tally)
    assert gt.words == []
    assert tally.dropped["annotations of images that are not listed"].count == 1
    twice = abcnet()
    twice["images"] *= 2
    with pytest.raises(LabelError, match=r"images\[1\]: image id 7 occurs twice"):
        list(read_abcnet(write(path, twice), Tally()))
    outside = abcnet()
    outside["images"][0]["file_name"] = "../secret.jpg"
    with pytest.raises(LabelError, match=r"images\[0\]: .* does not lie inside"):
        list(read_abcnet(write(path, outside), Tally()))
    for changes in ({"bezier_pts": STRAIGHT[:-1]}, {"bbox": [1, 2, 3], "bezier_pts": None}):
        with pytest.raises(LabelError, match="annotation 1: "):
            list(read_abcnet(write(path, abcnet(**changes)), Tally()))


def test_official(tmp_path):
    path = write(tmp_path / "a.json", {"img_3.jpg": ["Hill", "Hill"], "img_4.jpg.txt": []})
    assert list(read_official(path, Tally())) == [
        ImageGT(f"{path}: 'img_3.jpg'", ("img_3.jpg",), [Word("Hill"), Word("Hill")]),
        ImageGT(f"{path}: 'img_4.jpg.txt'", ("img_4.jpg",), []),
    ]
    write(path, {"img_3.jpg": {"text": ["Hill"], "points": [[258, 74]]}})
    (gt,) = read_official(path, Tally())
    assert gt.words == [Word("Hill", point=[258, 74])]


@pytest.mark.parametrize(
    "content",
    [
        '{"a.jpg": ["x"], "a.jpg": ["y"]}',
        '{"a.jpg": {"text": ["x"], "points": [[1, NaN]]}}',
        '{"a.jpg": {"text": ["x"], "points": [[1, 1e400]]}}',
        '{"a.jpg": {"text": ["x"], "points": [[1]]}}',
        '{"a.jpg": {"text": ["x"], "points": []}}',
        '{"a.jpg": {"text": ["x"], "points": [[1, 2]], "scores": [0.5]}}',
        '{"a.jpg": ["\\ud800"]}',
        '{"a.jpg": ["\\u0000"]}',
        '{"a.jpg": [1]}',
        '{"a.jpg": 1}',
        '{"/a.jpg": []}',
        '{"": []}',
        "[]",
        "{",
        "",
        "[" * 100_000,
        '{"a.jpg": ' + "9" * 5000 + "}",
    ],
    ids=range(17),
)
def test_bad_official(tmp_path, content):
    path = write(tmp_path / "a.json", content)
    with pytest.raises(LabelError) as error:
        list(read_official(path, Tally()))
    assert str(error.value).startswith(str(path))


def test_json_faults_name_their_line(tmp_path):
    path = write(tmp_path / "a.json", '{\n"a.jpg": ["x"],\n"b.jpg": ["y"}')
    with pytest.raises(LabelError, match=r"a\.json:3: not valid JSON"):
        list(read_official(path, Tally()))


COCO_TEXT = {
    "imgs": {
        "9": {"id": 9, "file_name": "a.jpg", "height": 48, "width": 64, "set": "train"},
        "8": {"id": 8, "file_name": "b.jpg", "height": 48, "width": 64, "set": "val"},
    },
    "anns": {
        "1": {"image_id": 9, "mask": [1, 2, 3, 4, 5, 6], "utf8_string": "Hill"},
        "2": {"image_id": 9, "bbox": [10, 20, 80, 30], "utf8_string": "S", "legibility": "legible"},
        "3": {"image_id": 9, "bbox": [10, 20, 80, 30], "legibility": "illegible"},
        "4": {"image_id": 7, "bbox": [10, 20, 80, 30], "utf8_string": "lost"},
        "5": {"image_id": 8, "utf8_string": ""},
    },
}


def test_cocotext(tmp_path):
    path = write(tmp_path / "cocotext.json", COCO_TEXT)
    tally = Tally()
    (gt,) = read_cocotext(path, tally, subset="train")
    assert (gt.names, gt.size, gt.image_id) == (("a.jpg",), (48, 64), 9)
    assert gt.words == [
        Word("Hill", [1, 2, 3, 4, 5, 6]),
        Word("S", BOX),
        Word("", BOX, ignore=True),
    ]
    assert tally.dropped["annotations of images that are not listed"].first == ["4"]
    assert [t.image_id for t in read_cocotext(path, Tally())] == [9, 8]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("imgs", {"9": {"id": 8, "file_name": "a.jpg"}}),
        ("imgs", {"9": {"id": 9, "file_name": "../a.jpg"}}),
        ("imgs", {"9": {"id": 9, "file_name": "a.jpg", "height": 4}}),
        ("imgs", {"9": {"id": 9, "file_name": "a.jpg", "height": 4, "width": -1}}),
        ("imgs", []),
        ("anns", {"1": {"image_id": 9, "mask": [1, 2, 3]}}),
        ("anns", {"1": {"image_id": 9, "bbox": [1, 2, -3, 4]}}),
        ("anns", {"1": {"image_id": None}}),
    ],
)
def test_bad_cocotext(tmp_path, key, value):
    path = write(tmp_path / "cocotext.json", COCO_TEXT | {key: value})
    with pytest.raises(LabelError):
        list(read_cocotext(path, Tally()))


def test_tables(tmp_path):
    path = write(tmp_path / "words.csv", 'image,words\r\na.jpg,Hill,"Fish, chips"\r\nb/c.png\r\n')
    rows = list(read_table(path, Tally()))
    assert rows == [
        ImageGT(f"{path}:2", ("a.jpg",), [Word("Hill"), Word("Fish, chips")]),
        ImageGT(f"{path}:3", ("b/c.png",), []),
    ]
    path = write(tmp_path / "words.tsv", 'a.jpg\tHill\t"5\n\na.jpg\t\tStreet\n')
    (gt,) = read_table(path, Tally())
    assert [word.text for word in gt.words] == ["Hill", '"5', "Street"]


def test_tables_whose_images_have_rows_apart(tmp_path):
    path = write(tmp_path / "words.csv", "a.jpg,Hill\nb.jpg,Sea\na.jpg,Street,Inn\na.jpg,Bar\n")
    rows = [(r.where, r.names[0], [w.text for w in r.words]) for r in read_table(path, Tally())]
    assert rows == [
        (f"{path}:1", "a.jpg", ["Hill", "Street", "Inn", "Bar"]),
        (f"{path}:2", "b.jpg", ["Sea"]),
    ]


def test_tables_are_not_held_in_memory(tmp_path):
    path = tmp_path / "words.csv"
    with open(path, "w", encoding="utf-8") as stream:
        stream.writelines(f"{i}.jpg,{'word' * 100},Hill\n" for i in range(20_000))
    tracemalloc.start()
    try:
        images = sum(1 for _ in read_table(path, Tally()))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert images == 20_000
    assert peak < 3e6 < 8e6 < path.stat().st_size


@pytest.mark.parametrize("content", ['a.jpg,"open\n', "a.jpg,x\n../b.jpg,y\n", ",x\n"])
def test_bad_tables_name_their_line(tmp_path, content):
    path = write(tmp_path / "words.csv", content)
    with pytest.raises(LabelError, match=rf"words\.csv:{content.count(chr(10))}: "):
        list(read_table(path, Tally()))


def cells(*values):
    column = np.empty((1, len(values)), dtype=object)
    for index, value in enumerate(values):
        column[0, index] = value
    return column


def synthtext(path, names, boxes, texts, compressed=False):
    content = {"charBB": cells(*boxes), "imnames": cells(*names)}
    savemat(
        path,
        content | {"wordBB": cells(*boxes), "txt": cells(*texts)},
        do_compression=compressed,
    )
    return path


@pytest.mark.parametrize("compressed", [False, True])
def test_synthtext(tmp_path, compressed):
    one = np.array([[10.004, 90, 90, 10], [20, 20, 50, 50]])
    three = np.stack([one, one + 1, one + 2], axis=2)
    # A block of text holds several lines and is padded with blanks.
    texts = [np.array(["Hill\nto  ", "Street   "]), np.array(["Café "]), np.array(["a b c"])]
    path = synthtext(
        tmp_path / "gt.mat",
        ["8/a_0.jpg", "8/b_1.jpg", "9/c_2.jpg"],
        [three, one, one],
        texts,
        compressed,
    )
    tally = Tally()
    first, second = read_synthtext(path, tally)
    box = [10.0, 20, 90, 20, 90, 50, 10, 50]
    assert first.names == ("8/a_0.jpg",)
    assert first.words == [
        Word("Hill", box),
        Word("to", [11.0, 21, 91, 21, 91, 51, 11, 51]),
        Word("Street", [12.0, 22, 92, 22, 92, 52, 12, 52]),
    ]
    assert second.words == [Word("Café", box)]
    (dropped,) = tally.dropped.values()
    assert dropped.first == ["9/c_2.jpg"]


def test_bad_synthtext(tmp_path):
    box = np.array([[10.0, 90, 90, 10], [20, 20, 50, 50]])
    path = tmp_path / "gt.mat"
    cases = [
        (["../a.jpg"], [box], ["Hill"], "image 1: .*does not lie inside"),
        (["a.jpg"], [box.T], ["Hill"], "image 1: wordBB has shape"),
        (["a.jpg"], [box * np.nan], ["Hill"], "image 1: wordBB holds"),
        (["a.jpg", "b.jpg"], [box, box * np.inf], ["Hill", "Hill"], "image 2: wordBB holds"),
        (["a.jpg", "b.jpg"], [box, box], ["Hill"], "differ in length"),
    ]
    for names, boxes, texts, message in cases:
        synthtext(path, names, boxes, [np.array([text]) for text in texts])
        with pytest.raises(LabelError, match=message):
            list(read_synthtext(path, Tally()))
    for content in (b"", b"MATLAB 7.3 MAT-file, HDF5", b"MATLAB 5.0" + b" " * 116 + b"\0\1IM"):
        path.write_bytes(content)
        with pytest.raises(LabelError, match=r"gt\.mat: "):
            list(read_synthtext(path, Tally()))
