"""Every dialect with one ground-truth file per image; values read off by hand."""

import io

import numpy as np
import pytest
from scipy.io import savemat

from wecromcl_d2.data.datasets import LabelError
from wecromcl_d2.data.readers.base import Tally, Word, decode_text, parse_lines
from wecromcl_d2.data.readers.ctw1500 import parse_line, parse_xml
from wecromcl_d2.data.readers.icdar import (
    parse_box_line,
    parse_quadrilateral_line,
    parse_script_line,
    read_icdar2015,
    read_mlt,
)
from wecromcl_d2.data.readers.totaltext import (
    parse_mat,
    parse_native,
    parse_polygon_line,
    parse_text,
)

BOX = [12, 30, 88, 30, 88, 61, 12, 61]
QUADRILATERAL = [210, 64, 305, 61, 306, 85, 211, 88]
FOURTEEN = list(range(28))
FOURTEEN_TEXT = ",".join(map(str, FOURTEEN))


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ('12 30 88 61 "Corner"', "Corner"),
        ('12, 30, 88, 61, "Corner"', "Corner"),
        ('12,30,88,61,"1,000"', "1,000"),
        ('12, 30, 88, 61, "a "b" c"', 'a "b" c'),
        ('12 30 88 61 """', '"'),
        ('12 30 88 61 "end" \t', "end"),
    ],
)
def test_boxes_of_icdar_2013(line, text):
    assert parse_box_line(line) == Word(text, BOX)


@pytest.mark.parametrize(
    "line",
    [
        '12 30 88 "Corner"',
        "12 30 88 61 Corner",
        '12 30 88 61 "Corner',
        '12 30 88 61 5 "Corner"',
        '88 30 12 61 "left of its left"',
        '12 61 88 30 "above its top"',
    ],
)
def test_bad_boxes_of_icdar_2013(line):
    with pytest.raises(LabelError):
        parse_box_line(line)


@pytest.mark.parametrize(
    ("tail", "text"),
    [
        (",Hill, Street", "Hill, Street"),
        (", Hill", " Hill"),
        (",88", "88"),
        (",1,2", "1,2"),
        (',"quoted"', '"quoted"'),
        (",end \t", "end"),
        (" Hill, Street", "Hill, Street"),
        ("\tHill", "Hill"),
        (",", ""),
    ],
)
def test_quadrilaterals_of_icdar_2015(tail, text):
    line = "210,64,305,61,306,85,211,88" + tail
    assert parse_quadrilateral_line(line) == Word(text, QUADRILATERAL)


def test_numbers_of_copies_are_floats_and_may_be_negative():
    word = parse_quadrilateral_line("-3,64.0,305.5,61,306,85, 211 ,88,x")
    assert word.polygon == [-3, 64, 305.5, 61, 306, 85, 211, 88]


@pytest.mark.parametrize(
    "line",
    [
        "210,64,305,61,306,85,211,88",
        "210,64,305,61,306,85,211,88 ",
        "210,64,305,61,306,85,211,Hill",
        "210,64,305,61,306,85,211,nan,Hill",
        "210,64,305,61,306,85,211,1e9,Hill",
        "210,64,305,61,306,85,211,1_0,Hill",
        "210,64,305,61,306,85,211,１２,Hill",
        "Hill",
    ],
)
def test_bad_quadrilaterals(line):
    with pytest.raises(LabelError):
        parse_quadrilateral_line(line)


def test_scripts_of_mlt():
    line = "12,30,88,30,88,61,12,61,Latin,Corner, shop"
    assert parse_script_line(line) == Word("Corner, shop", BOX)
    assert parse_script_line(line, scripts=("Arabic",)).ignore
    assert parse_script_line("12,30,88,30,88,61,12,61,None,###") == Word("###", BOX, ignore=True)
    with pytest.raises(LabelError):
        parse_script_line("12,30,88,30,88,61,12,61,Klingon,x")
    with pytest.raises(LabelError, match="Klingon"):
        next(read_mlt("anywhere", Tally(), scripts=("Klingon",)))


def test_marks_lines_and_line_ends(tmp_path):
    content = (
        "\ufeff1,2,3,4,5,6,7,8,Hill\r\n\r\n1,2,3,4,5,6,7,8,###\r\n1,2,3,4,5,6,7,8,a\u2028b\x85c"
    )
    (tmp_path / "gt_img_3.txt").write_bytes(content.encode())
    (gt,) = read_icdar2015(tmp_path, Tally())
    assert gt.names == ("img_3",)
    assert [(w.text, w.ignore) for w in gt.words] == [
        ("Hill", False),
        ("###", True),
        ("a\u2028b\x85c", False),
    ]


def test_other_encodings_on_request_only(tmp_path):
    (tmp_path / "gt_img_1.txt").write_bytes(b"1,2,3,4,5,6,7,8,ok\n1,2,3,4,5,6,7,8,Caf\xe9\n")
    with pytest.raises(LabelError, match=r"gt_img_1\.txt:2: not utf-8"):
        list(read_icdar2015(tmp_path, Tally()))
    (gt,) = read_icdar2015(tmp_path, Tally(), encoding="latin-1")
    assert gt.words[1].text == "Café"


def test_nul_names_its_line():
    with pytest.raises(LabelError, match=r"^2: a NUL"):
        decode_text(b"a\nb\0c")


def test_order_is_natural_and_no_image_has_two_files(tmp_path):
    for name in ("gt_img_10.txt", "gt_img_2.txt", ".hidden.txt", "readme.md"):
        (tmp_path / name).write_text("", encoding="utf-8")
    assert [t.names[0] for t in read_icdar2015(tmp_path, Tally())] == ["img_2", "img_10"]
    (tmp_path / "img_2.jpg.txt").write_text("", encoding="utf-8")
    with pytest.raises(LabelError, match="describes image 'img_2' as well"):
        list(read_icdar2015(tmp_path, Tally()))


NATIVE = """\
x: [[101 140 181
 176 139  99]], y: [[52 41 50 78 70 80]], ornt: [u'c'], transcriptions: [u'CAFE']
x: [[11 40 40 11]], y: [[5 5 19 19]], ornt: [u'#'], transcriptions: [u'#']
x: [[11 40 40 11]], y: [[5 -5 19 19]], ornt: [u'h'], transcriptions: [u"it's [a], b"]
x: [[11 40 40 11]], y: [[5 5 19 19]], ornt: [u'm'], transcriptions: [u',']
x: [[11 40 40 11]], y: [[5 5 19 19]], ornt: [u'h'], transcriptions: [u'caf\\xe9 \\'n\\'']
x: [[11 40 40 11]], y: [[5 5 19 19]], ornt: [], transcriptions: []
x: [[11 40]], y: [[5 5]], ornt: [u'h'], transcriptions: [u'thin']
"""


def test_native_text_of_totaltext():
    words = parse_text(NATIVE)
    box = [11, 5, 40, 5, 40, 19, 11, 19]
    assert words == [
        Word("CAFE", [101, 52, 140, 41, 181, 50, 176, 78, 139, 70, 99, 80]),
        Word("#", box, ignore=True),
        Word("it's [a], b", [11, 5, 40, -5, 40, 19, 11, 19]),
        Word(",", box),
        Word("café 'n'", box),
        Word("", box),
        Word("thin", None),
    ]


@pytest.mark.parametrize(
    "record",
    [
        "x: [[1 2 3]], y: [[1 2]], ornt: [u'h'], transcriptions: [u'a']",
        "x: [[1 2 3]], y: [[1 2 3]], ornt: [u'h'], transcriptions: [u'a'",
        "x: [[1 2 3]], y: [[1 2 x]], ornt: [u'h'], transcriptions: [u'a']",
        "x: [[1 2 3]], y: [[1 2 3]], ornt: [u'h'], transcriptions: [u'\\x4']",
        "x: [[1 2 3]], y: [[1 2 3]], ornt: [u'h'], transcriptions: [u'\\ud800']",
        "x: [[1 2 3]], y: [[1 2 3]], ornt: [u'h'], transcriptions: [__import__('os')]",
    ],
)
def test_bad_records_of_totaltext_name_their_first_line(record):
    # Seven records stand before it, the first of them on two lines.
    with pytest.raises(LabelError, match=r"^9: "):
        parse_native(NATIVE + record)


@pytest.mark.parametrize(
    ("line", "polygon", "text"),
    [
        ("15,90,40,71,88,97,12,104,CAFE", [15, 90, 40, 71, 88, 97, 12, 104], "CAFE"),
        ("15,90,40,71,88,97,12,104,2010", [15, 90, 40, 71, 88, 97, 12, 104], "2010"),
        ("15,90,40,71,88,97,12,104,Fish, chips", [15, 90, 40, 71, 88, 97, 12, 104], "Fish, chips"),
        ("15,90,40,71,88,97,####CAFE", [15, 90, 40, 71, 88, 97], "CAFE"),
        ("15,90,40,71,88,97,####a,####b", [15, 90, 40, 71, 88, 97], "a,####b"),
        ("15,90,40,71,88,97,#######", [15, 90, 40, 71, 88, 97], "###"),
        ("15,90,40,71,88,97,###", [15, 90, 40, 71, 88, 97], "###"),
    ],
)
def test_polygon_lines(line, polygon, text):
    assert parse_polygon_line(line) == Word(text, polygon, ignore=text == "###")


@pytest.mark.parametrize(
    "line",
    [
        "15,90,40,71,88,97,12,104",  # cut before its text
        "15,90,40,71,88,x,12,104,CAFE",
        "15,90,40,71,CAFE",
        "15,90,40,71,88,97,12,####CAFE",
        "CAFE",
    ],
)
def test_bad_polygon_lines(line):
    with pytest.raises(LabelError):
        parse_polygon_line(line)


def test_matlab_tables_of_totaltext():
    table = np.empty((2, 6), dtype=object)
    xs, ys = np.array([[101.0, 140, 181]]), np.array([[52.0, 41, 50]])
    empty = np.empty((0, 0))
    table[0] = ["x:", xs, "y:", ys, "CAFÉ", "c"]
    table[1] = ["x:", xs.astype("uint8"), "y:", ys.astype("int16"), empty, "#"]
    for compressed in (False, True):
        for rows in (2, 1):
            stream = io.BytesIO()
            savemat(stream, {"other": [1, 2], "polygt": table[:rows]}, do_compression=compressed)
            words = parse_mat(stream.getvalue())
            outline = [101, 52, 140, 41, 181, 50]
            expected = [Word("CAFÉ", outline), Word("", outline, ignore=True)]
            assert words == expected[:rows]
    with pytest.raises(LabelError, match="no variable polygt, only other"):
        stream = io.BytesIO()
        savemat(stream, {"other": [1, 2]})
        parse_mat(stream.getvalue())


def test_lines_of_ctw1500():
    assert parse_line(FOURTEEN_TEXT + ",####since 1900") == Word("since 1900", FOURTEEN)
    assert parse_line(FOURTEEN_TEXT + ",####Fish, chips,####") == Word("Fish, chips,####", FOURTEEN)
    assert parse_line(FOURTEEN_TEXT + ",#######").ignore
    for bad in (FOURTEEN_TEXT + ",text", FOURTEEN_TEXT[:-3] + ",####text", FOURTEEN_TEXT):
        with pytest.raises(LabelError):
            parse_line(bad)


XML = """\
<Annotations><image file="0009.jpg">
 <box height="40" left="10" top="20" width="200"><label>{label}</label>
  <segs>{segs}</segs><pts>1,2</pts></box>
 <box height="40" left="10" top="20" width="200">
  <segs>{segs}</segs></box></image></Annotations>"""


@pytest.mark.parametrize(
    ("label", "text"),
    [("since 1900", "since 1900"), ("B&amp;B", "B&B"), ("B&B &amp; C", "B&B & C"), ("###", "###")],
)
def test_xml_of_ctw1500(label, text):
    words = parse_xml(XML.format(label=label, segs=FOURTEEN_TEXT))
    assert words == [Word(text, FOURTEEN, ignore=text == "###"), Word("", FOURTEEN)]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (XML.format(label="a", segs="1,2,3"), 2),
        (XML.format(label="<a", segs=FOURTEEN_TEXT), 2),
        (XML.format(label="a", segs=FOURTEEN_TEXT)[:-9], 5),
        ("<Annotations>\n<box><label>a</label></box></Annotations>", 2),
        ("", 1),
    ],
)
def test_bad_xml_names_its_line(text, line):
    with pytest.raises(LabelError, match=f"^{line}: "):
        parse_xml(text)


def test_a_file_is_read_up_to_its_first_bad_line():
    with pytest.raises(LabelError, match=r"^3: "):
        parse_lines("1,2,3,4,5,6,7,8,a\n\n1,2\n1", parse_quadrilateral_line)
