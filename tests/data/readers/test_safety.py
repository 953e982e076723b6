"""Sources that attack: each ends in the one error type, and soon."""

import contextlib
import io
import os
import time
import zipfile
import zlib

import pytest

from wecromcl_d2.data.datasets import LabelError
from wecromcl_d2.data.readers import sources
from wecromcl_d2.data.readers.base import Tally
from wecromcl_d2.data.readers.ctw1500 import parse_line, parse_xml
from wecromcl_d2.data.readers.icdar import (
    parse_box_line,
    parse_quadrilateral_line,
    parse_script_line,
    read_icdar2015,
)
from wecromcl_d2.data.readers.matlab import load_variables
from wecromcl_d2.data.readers.totaltext import parse_native, parse_polygon_line, parse_text

LINE = b"1,2,3,4,5,6,7,8,Hill\n"


def archive(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for name, data in members:
            target.writestr(name, data)
    return path


def read(path):
    return list(read_icdar2015(path, Tally()))


def test_archives_are_read_in_place_whatever_their_folders(tmp_path):
    members = [("gt/gt_img_1.txt", LINE), ("../../gt_img_2.txt", LINE), ("/gt_img_3.txt", LINE)]
    members += [("__MACOSX/gt/._gt_img_1.txt", b"\0"), ("readme.md", b"\0")]
    path = archive(tmp_path / "gts.zip", members)
    assert sorted(gt.names[0] for gt in read(path)) == ["img_1", "img_2", "img_3"]
    assert os.listdir(tmp_path) == ["gts.zip"]


def test_zip_bombs(tmp_path, monkeypatch):
    big = b"1" * (sources.MAX_FILE_BYTES + 1)
    with pytest.raises(LabelError, match=r"gts\.zip/gt_1\.txt: more than"):
        read(archive(tmp_path / "gts.zip", [("gt_1.txt", big)]))
    monkeypatch.setattr(sources, "MAX_ARCHIVE_BYTES", len(big))
    with pytest.raises(LabelError, match="are no ground truth of a benchmark"):
        read(archive(tmp_path / "gts.zip", [("gt_1.txt", big), ("x.bin", b"1")]))
    monkeypatch.setattr(sources, "MAX_ARCHIVE_FILES", 2)
    with pytest.raises(LabelError, match="are no ground truth of a benchmark"):
        read(archive(tmp_path / "gts.zip", [(f"gt_{n}.txt", LINE) for n in range(3)]))


def test_an_archive_that_lies_about_sizes(tmp_path):
    path = archive(tmp_path / "gts.zip", [("gt_1.txt", b"1" * 100_000)])
    data = path.read_bytes()
    size = (100_000).to_bytes(4, "little")
    assert data.count(size) == 2
    path.write_bytes(data.replace(size, (20).to_bytes(4, "little")))
    with pytest.raises(LabelError, match="damaged in the archive"):
        read(path)


def test_damaged_archives(tmp_path):
    path = archive(tmp_path / "gts.zip", [("gt_1.txt", LINE * 50)])
    data = path.read_bytes()
    flags = data.index(b"PK\1\2") + 8
    encrypted = data[:flags] + b"\1" + data[flags + 1 :]
    for bad in (b"", data[:-1], data[:40] + b"\xff\xff" + data[42:], encrypted):
        path.write_bytes(bad)
        with pytest.raises(LabelError, match=r"gts\.zip"):
            read(path)
    with pytest.warns(UserWarning, match="Duplicate name"):
        archive(path, [("gt_1.txt", LINE), ("gt_1.txt", LINE)])
    with pytest.raises(LabelError, match="occurs twice"):
        read(path)
    archive(path, [("readme.md", b"")])
    with pytest.raises(LabelError, match=r"no \.txt file"):
        read(path)


def test_links_pipes_and_folders_in_place_of_ground_truth(tmp_path):
    loop = tmp_path / "loop"
    loop.mkdir()
    (loop / "gt_1.txt").symlink_to("gt_2.txt")
    (loop / "gt_2.txt").symlink_to("gt_1.txt")
    with pytest.raises(LabelError, match=r"gt_1\.txt: not a file"):
        read(loop)
    pipe = tmp_path / "pipe"
    pipe.mkdir()
    os.mkfifo(pipe / "gt_1.txt")
    with pytest.raises(LabelError, match=r"gt_1\.txt: not a file"):
        read(pipe)
    with pytest.raises(LabelError, match="neither a folder nor a file"):
        read(pipe / "gt_1.txt")
    with pytest.raises(LabelError, match="neither a folder nor a file"):
        read(tmp_path / "nowhere")
    endless = tmp_path / "endless"
    endless.mkdir()
    (endless / "gt_1.txt").symlink_to("/dev/zero")
    with pytest.raises(LabelError, match=r"gt_1\.txt: not a file"):
        read(endless)
    nested = tmp_path / "nested"
    (nested / "gt_2.txt").mkdir(parents=True)
    (nested / "self").symlink_to(nested)
    (nested / "gt_1.txt").write_bytes(LINE)
    assert len(read(nested)) == 1


BOMB = '<!DOCTYPE b [<!ENTITY a "aaaaaaaaaa">{}]><b>&z;</b>'.format(
    "".join(f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefgh", "bcdefghz", strict=True))
)


@pytest.mark.parametrize(
    "text",
    [
        BOMB,
        '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a><box>&x;</box></a>',
        '<!DOCTYPE a SYSTEM "http://localhost/a.dtd"><a/>',
        '<?xml version="1.0"?>\n<!DOCTYPE a>\n<a/>',
    ],
)
def test_xml_with_a_document_type(text):
    with pytest.raises(LabelError, match="a document type"):
        parse_xml(text)


def test_deep_xml():
    depth = 100_000
    assert parse_xml("<a>" * depth + "</a>" * depth) == []


@pytest.mark.parametrize(
    "parse",
    [
        parse_box_line,
        parse_quadrilateral_line,
        parse_script_line,
        parse_polygon_line,
        parse_native,
        parse_text,
        parse_line,
        parse_xml,
    ],
)
@pytest.mark.parametrize(
    "text",
    [
        " " * 200_000 + "x",
        "," * 200_000,
        "1" * 200_000 + "x",
        "1," * 100_000 + "x",
        '"' * 200_000,
        "12 30 88 61 " * 20_000,
        "&" * 200_000,
        "x: [[" + "1 " * 100_000,
        "x: [[1 2 3]], y: [[1 2 3]], ornt: [u'h'], transcriptions: [u'" + "\\'" * 100_000,
        "x: [[1 2 3]], y: [[1 2 3]], ornt: [" + " " * 200_000,
        "<a>" * 100_000,
    ],
    ids=range(11),
)
def test_a_long_line_takes_no_longer_than_its_length(parse, text):
    start = time.process_time()
    with contextlib.suppress(LabelError):
        parse(text)
    # A rule that goes back over the line from each of its places would take minutes.
    assert time.process_time() - start < 10


def mat(*elements):
    return b"MATLAB 5.0".ljust(124) + b"\0\1IM" + b"".join(elements)


def element(kind, data):
    padding = b"" if kind == 15 else bytes(-len(data) % 8)
    return kind.to_bytes(4, "little") + len(data).to_bytes(4, "little") + data + padding


def head(kind, shape, name):
    sizes = b"".join(n.to_bytes(4, "little", signed=True) for n in shape)
    return element(6, bytes([kind] + [0] * 7)) + element(5, sizes) + element(1, name)


def test_matlab_bombs_stop_early():
    numbers = element(14, head(6, (1, 250_000_000), b"x") + element(9, bytes(50_000_000)))
    cases = {
        "at most 10000000 cells": [
            element(14, head(1, (1 << 30, 1 << 30), b"x")),
            element(14, head(1, (1 << 15, 1 << 15), b"x")),
            element(15, zlib.compress(numbers)),
        ],
        "not a readable MATLAB file": [
            element(14, head(1, (-1, 2), b"x")),
            element(14, head(2, (1, 1), b"x")),
            element(14, head(1, (1, 4), b"x")),
        ],
    }
    for message, contents in cases.items():
        for content in contents:
            with pytest.raises(LabelError, match=message):
                load_variables(io.BytesIO(mat(content)), ["x"])
