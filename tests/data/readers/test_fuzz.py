"""Whatever a source holds, a reader yields sound ground truth or raises the one error."""

import csv
import io
import json
import math
import posixpath
import zipfile
from xml.sax.saxutils import escape

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from scipy.io import savemat

from wecromcl_d2.data.label_format import MAX_COORDINATE, LabelError
from wecromcl_d2.data.readers.abcnet import read_abcnet
from wecromcl_d2.data.readers.base import Tally
from wecromcl_d2.data.readers.cocotext import read_cocotext
from wecromcl_d2.data.readers.ctw1500 import read_ctw1500_text, read_ctw1500_xml
from wecromcl_d2.data.readers.icdar import read_icdar2013, read_icdar2015, read_mlt
from wecromcl_d2.data.readers.official import read_official
from wecromcl_d2.data.readers.synthtext import read_synthtext
from wecromcl_d2.data.readers.tables import read_table
from wecromcl_d2.data.readers.totaltext import read_totaltext
from wecromcl_d2.data.text import Charset

TESTS = settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
FOURTEEN = ",".join(map(str, range(28)))
XML = '<Annotations><image file="9.jpg"><box left="1"><label>{}</label><segs>{}</segs></box>'
XML += "</image></Annotations>"
NATIVE = "x: [[{}]], y: [[{}]], ornt: [u'c'], transcriptions: [{}]\n"
ABCNET = {
    "images": [{"id": 7, "file_name": "7.jpg", "height": 48, "width": 64}],
    "annotations": [
        {
            "id": 1,
            "image_id": 7,
            "bbox": [1, 2, 3, 4],
            "bezier_pts": list(range(16)),
            "rec": [35, 33, 96],
        }
    ],
}
COCO_TEXT = {
    "imgs": {"9": {"id": 9, "file_name": "a.jpg", "height": 48, "width": 64, "set": "train"}},
    "anns": {"1": {"image_id": 9, "mask": [1, 2, 3, 4, 5, 6], "utf8_string": "Hill"}},
}

# Reader, name of the ground-truth file, and a good one.
SOURCES = {
    "icdar2013": (read_icdar2013, "gt_1.txt", '12 30 88 61 "Hill"\r\n1, 2, 3, 4, "###"'),
    "icdar2015": (
        read_icdar2015,
        "gt_1.txt",
        "\ufeff1,2,3,4,5,6,7,8,Hill, St\r\n1,2,3,4,5,6,7,8,#",
    ),
    "mlt": (read_mlt, "gt_1.txt", "1,2,3,4,5,6,7,8,Latin,Hill\n1,2,3,4,5,6,7,8,None,###"),
    "native": (read_totaltext, "gt_1.txt", NATIVE.format("1 2 3", "4 5 6", "u'Hill'") * 2),
    "comma": (read_totaltext, "gt_1.txt", "1,2,3,4,5,6,Hill\n1,2,3,4,5,6,###"),
    "abcnet_text": (read_totaltext, "0000001.txt", "1,2,3,4,5,6,####Hill\n1,2,3,4,5,6,#######"),
    "ctw_text": (read_ctw1500_text, "0001001.txt", f"{FOURTEEN},####Hill, St\n{FOURTEEN},#######"),
    "ctw_xml": (read_ctw1500_xml, "0001.xml", XML.format("B&amp;B", FOURTEEN)),
    "abcnet": (read_abcnet, "train.json", json.dumps(ABCNET)),
    "official": (
        read_official,
        "train.json",
        '{"a.jpg": ["Hill"], "b.jpg": {"text": ["Hill"], "points": [[1, 2]]}}',
    ),
    "cocotext": (read_cocotext, "cocotext.json", json.dumps(COCO_TEXT)),
    "csv": (read_table, "words.csv", 'image,word\r\na.jpg,Hill,"Fish, chips"\r\n'),
    "tsv": (read_table, "words.tsv", "a.jpg\tHill\tSt\n"),
}
IN_FOLDERS = {name for name, (_, file, _) in SOURCES.items() if file.endswith((".txt", ".xml"))}

NASTY = [
    b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\r", b"\r\n", b"\n", b",", b'"', b"'", b"]", b"}", b"\\",
    b"\\ud800", b"\\u0000", b"nan", b"NaN", b"-inf", b"Infinity", b"1e400", b"9" * 400, b"-1",
    b"../../x.jpg", b"/etc/passwd", b"###", b",####", b"\xed\xa0\x80", b"\xe2\x80\xa8", b"&x;",
    b"<!DOCTYPE a [", b"null", b"true", b"[]", b"{}", b"u'", b"x:", b"[" * 3000,
]  # fmt: skip


@st.composite
def damaged(draw, good):
    """Bytes near those of a good source: cut, overwritten, doubled, or with something put in."""
    data = bytearray(good)
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(data)))
        length = draw(st.integers(0, 12))
        change = draw(st.sampled_from(["cut", "remove", "insert", "replace", "double", "bytes"]))
        if change == "cut":
            del data[place:]
        elif change == "remove":
            del data[place : place + length]
        elif change == "double":
            data[place:place] = data[place : place + 5 * length]
        elif change == "bytes":
            data[place : place + length] = draw(st.binary(max_size=8))
        else:
            end = place + length if change == "replace" else place
            data[place:end] = draw(st.sampled_from(NASTY))
    return bytes(data)


def check(read, path):
    """Read a source; everything it yields must fit the label format."""
    try:
        ground_truth = list(read(path, Tally()))
    except LabelError as error:
        assert str(error).startswith(str(path)), error
        return
    for gt in ground_truth:
        assert gt.names
        for name in gt.names:
            assert name
            assert "\0" not in name
            assert not posixpath.isabs(name)
            assert ".." not in posixpath.normpath(name).split("/")
        for word in gt.words:
            assert isinstance(word.text, str)
            assert "\0" not in word.text
            word.text.encode("utf-8")
            for numbers in (word.polygon, word.point):
                for number in numbers or []:
                    assert type(number) in (int, float)
                    assert math.isfinite(number)
                    assert abs(number) <= MAX_COORDINATE
            assert word.polygon is None or (len(word.polygon) >= 6 and len(word.polygon) % 2 == 0)
            assert word.point is None or len(word.point) == 2
        if gt.size is not None:
            assert all(type(side) is int and side > 0 for side in gt.size)


def place(folder, name, data):
    """Write ground truth; returns the path to read: the folder's or the file's."""
    file = SOURCES[name][1]
    (folder / file).write_bytes(data)
    return folder if name in IN_FOLDERS else folder / file


@pytest.mark.parametrize("name", SOURCES)
def test_good_sources_have_words(tmp_path, name):
    read, _, good = SOURCES[name]
    ground_truth = list(read(place(tmp_path, name, good.encode()), Tally()))
    assert sum(len(gt.words) for gt in ground_truth) >= 1


@pytest.mark.parametrize("name", SOURCES)
@TESTS
@given(st.data())
def test_damaged_sources(tmp_path, name, data):
    read, _, good = SOURCES[name]
    content = data.draw(damaged(good.encode()))
    check(read, place(tmp_path, name, content))
    check(lambda path, tally: read(path, tally, encoding="latin-1"), place(tmp_path, name, content))


@pytest.mark.parametrize("name", SOURCES)
@TESTS
@given(st.binary(max_size=200))
def test_arbitrary_bytes(tmp_path, name, data):
    check(SOURCES[name][0], place(tmp_path, name, data))


@TESTS
@given(st.data())
def test_damaged_archives(tmp_path, data):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("gt_img_1.txt", SOURCES["icdar2015"][2].encode() * 3)
        archive.writestr("gt_img_2.txt", b"")
    path = tmp_path / "gts.zip"
    path.write_bytes(data.draw(damaged(stream.getvalue())))
    check(read_icdar2015, path)


@pytest.mark.parametrize("compressed", [False, True])
@TESTS
@given(st.data())
def test_damaged_matlab_files(tmp_path, compressed, data):
    table = np.empty((1, 6), dtype=object)
    table[0] = ["x:", np.arange(4.0)[None], "y:", np.arange(4)[None], "Hill", "c"]
    boxes = np.empty((1, 2), dtype=object)
    boxes[0, 0] = boxes[0, 1] = np.arange(8.0).reshape(2, 4)
    names, texts = boxes.copy(), boxes.copy()
    names[0] = ["8/a.jpg", "8/b.jpg"]
    texts[0] = ["Hill", "Street "]
    stream = io.BytesIO()
    content = {"polygt": table, "imnames": names, "wordBB": boxes, "txt": texts}
    savemat(stream, content, do_compression=compressed)
    mat = data.draw(damaged(stream.getvalue()))
    (tmp_path / "poly_gt_img1.mat").write_bytes(mat)
    check(read_totaltext, tmp_path)
    check(read_synthtext, tmp_path / "poly_gt_img1.mat")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)


@pytest.mark.parametrize("name", ["abcnet", "official", "cocotext"])
@TESTS
@given(st.data())
def test_json_with_other_values_in_its_places(tmp_path, name, data):
    """Replace one value anywhere in a good file by another of any type."""
    tree = json.loads(SOURCES[name][2])
    node, key = tree, None
    while isinstance(node, (dict, list)) and node and (key is None or data.draw(st.booleans())):
        parent = node
        key = data.draw(
            st.sampled_from(sorted(node) if isinstance(node, dict) else range(len(node)))
        )
        node = parent[key]
    parent[key] = data.draw(JSON)
    check(SOURCES[name][0], place(tmp_path, name, json.dumps(tree).encode()))


# What may stand in a line: no line feed, no NUL, no half of a surrogate pair; blanks and a carriage
# return at the end of a line are not part of a text.
LINE_TEXT = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0\n")
    | st.sampled_from(list(",\"'# \t]&<[\\0159"))
).map(lambda text: text.rstrip(" \t\r"))
NUMBERS = st.integers(-9999, 9999) | st.floats(-9999, 9999).map(lambda x: round(x, 3))


def flat(count):
    return st.lists(NUMBERS, min_size=count, max_size=count)


def joined(numbers):
    return ",".join(format(n, ".3f") if isinstance(n, float) else str(n) for n in numbers)


def read_one(folder, read, file, text):
    folder = folder / read.__name__
    folder.mkdir(exist_ok=True)
    (folder / file).write_bytes(text.encode())
    (gt,) = read(folder, Tally())
    return gt.words


@TESTS
@given(LINE_TEXT, flat(8), st.sampled_from(["", "\ufeff"]), st.sampled_from(["\n", "\r\n", ""]))
def test_quadrilaterals_come_back(tmp_path, text, numbers, mark, end):
    line = f"{mark}{joined(numbers)},{text}{end}"
    (word,) = read_one(tmp_path, read_icdar2015, "gt_img_1.txt", line)
    assert (word.text, word.polygon) == (text, numbers)
    line = f"{mark}{joined(numbers)},Latin,{text}{end}"
    (word,) = read_one(tmp_path, read_mlt, "gt_img_1.txt", line)
    assert (word.text, word.polygon) == (text, numbers)


@TESTS
@given(LINE_TEXT, flat(2), st.sampled_from([", ", " ", ",", "\t"]))
def test_boxes_come_back(tmp_path, text, corner, separator):
    left, top = corner
    numbers = [left, top, left + 5, top + 6]
    fields = [joined([number]) for number in numbers]
    line = separator.join([*fields, f'"{text}"'])
    (word,) = read_one(tmp_path, read_icdar2013, "gt_img_1.txt", line)
    assert word.text == text
    assert word.polygon[0::2] == pytest.approx([left, left + 5, left + 5, left], abs=1e-3)
    assert word.polygon[1::2] == pytest.approx([top, top, top + 6, top + 6], abs=1e-3)


@TESTS
@given(LINE_TEXT, st.integers(3, 19).flatmap(lambda n: flat(2 * n)), flat(28))
def test_polygons_come_back(tmp_path, text, polygon, fourteen):
    line = f"{joined(polygon)},####{text}"
    (word,) = read_one(tmp_path, read_totaltext, "0000001.txt", line)
    assert (word.text, word.polygon) == (text, polygon)
    (word,) = read_one(tmp_path, read_totaltext, "0000001.txt", f"{joined(polygon)},Hill{text}")
    # That text with this separator is the other dialect.
    assert word.text == f"Hill{text}" or ",####" in text
    line = f"{joined(fourteen)},####{text}"
    (word,) = read_one(tmp_path, read_ctw1500_text, "0001001.txt", line)
    assert (word.text, word.polygon) == (text, fourteen)


@TESTS
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), flat(8))
def test_literals_of_python_2_come_back(tmp_path, text, numbers):
    content = NATIVE.format(
        joined(numbers[0::2]).replace(",", " "),
        joined(numbers[1::2]).replace(",", " \n "),
        "u" + ascii(text),
    )
    first, second = read_one(tmp_path, read_totaltext, "poly_gt_img1.txt", content * 2)
    assert (first.text, first.polygon) == (text, numbers)
    assert first == second


@TESTS
@given(
    st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"])).map(str.strip), flat(28)
)
def test_labels_in_xml_come_back(tmp_path, text, numbers):
    assume(text.isprintable())
    content = XML.format(escape(text), joined(numbers))
    (word,) = read_one(tmp_path, read_ctw1500_xml, "0001.xml", content)
    assert (word.text, word.polygon) == (text, numbers)


@TESTS
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))))
def test_words_of_tables_and_json_come_back(tmp_path, texts):
    path = tmp_path / "words.json"
    path.write_text(json.dumps({"a.jpg": texts}), encoding="utf-8")
    (gt,) = read_official(path, Tally())
    assert [word.text for word in gt.words] == texts
    stripped = [text.strip() for text in texts]
    path = tmp_path / "words.csv"
    with open(path, "w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerow(["a.jpg", *stripped])
    (gt,) = read_table(path, Tally())
    assert [word.text for word in gt.words] == [text for text in stripped if text]


@TESTS
@given(st.text(st.sampled_from([chr(code) for code in range(32, 127)]), min_size=1, max_size=24))
def test_coded_words_come_back(tmp_path, text):
    charset = Charset("".join(map(chr, range(32, 127))), case_fold=False)
    codes = [label - 1 for label in charset.encode([text], len(text))[0].tolist()]
    content = json.loads(json.dumps(ABCNET))
    content["annotations"][0]["rec"] = codes + [96] * (25 - len(codes))
    path = tmp_path / "train.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    (gt,) = read_abcnet(path, Tally())
    assert gt.words[0].text == text


@TESTS
@given(st.integers(0, 10_000), flat(8))
def test_a_line_cut_anywhere_has_the_right_numbers_or_none(tmp_path, cut, numbers):
    line = f"{joined(numbers)},Hill"
    try:
        words = read_one(tmp_path, read_icdar2015, "gt_img_1.txt", line[: cut % len(line)])
    except LabelError:
        return
    assert [word.polygon for word in words] in ([], [numbers])
