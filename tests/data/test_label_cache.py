"""Caches of label files: the same records as without, and never anything else."""

import json
import os
import pickle
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wecromcl_d2.data import label_cache
from wecromcl_d2.data.datasets import LabelError, read_labels, write_labels
from wecromcl_d2.data.first_uses import FirstUses
from wecromcl_d2.data.records import (
    JoinedRecords,
    LongWordRecords,
    TextIndex,
    index_texts,
)

SOURCE = [
    {"file_name": "a/1.jpg", "height": 4, "width": 6, "texts": ["Hill", "hill", " ", "Hill"]},
    {"texts": [], "licence": {"CC": [0, None, 1.5]}, "file_name": "./2.png", "image_id": 7},
    {
        "file_name": "b//ü 3.jpg",
        "height": 30,
        "width": 20,
        "texts": ["漢字", "no\nend", "Hill"],
        "points": [[1, 2.5], None, [0, 0]],
        "polygons": [None, [0, 0, 1.5, 0, 1, 1], None],
        "ignore": [False, False, True],
    },
]
WORDS = [["Hill", "hill", "Hill"], [], ["漢字", "no\nend"]]


@pytest.fixture
def cached(monkeypatch):
    """Even the smallest label file gets a cache."""
    monkeypatch.setattr(label_cache, "CACHED_FROM", 1)


@pytest.fixture(params=["jsonl", "json"])
def labels(tmp_path, request):
    path = tmp_path / f"labels.{request.param}"
    lines = [json.dumps(record, ensure_ascii=bool(i % 2)) for i, record in enumerate(SOURCE)]
    text = "\n\n".join(lines) if request.param == "jsonl" else "[" + ",\n".join(lines) + "]"
    path.write_text("\ufeff" + text, encoding="utf-8")
    return path


def cache_of(path):
    return path.with_name(path.name + ".cache")


def words_of(index):
    """The texts of each image of an index, those without a text left out."""
    return [
        [index.texts[i] for i in index.ids[start:end] if index.texts[i]]
        for start, end in zip(index.bounds[:-1], index.bounds[1:], strict=True)
    ]


def refuse(*_):
    raise AssertionError("the label file is read again")


def test_a_cached_file_gives_the_same_records_without_being_read(labels, monkeypatch):
    plain = list(read_labels(labels, "images"))
    assert not cache_of(labels).exists()
    expected = [
        {**SOURCE[0], "file_name": "images/a/1.jpg", "image_id": "a/1"},
        {**SOURCE[1], "file_name": "images/2.png"},
        {**SOURCE[2], "file_name": "images/b/ü 3.jpg", "image_id": "b/ü 3"},
    ]
    assert plain == expected
    monkeypatch.setattr(label_cache, "CACHED_FROM", 1)
    assert read_labels(labels, "images") == plain
    monkeypatch.setattr(label_cache, "parse_labels", refuse)
    again = read_labels(labels, "images")
    assert again == plain and [list(r) for r in again] == [list(r) for r in plain]
    assert words_of(again.text_index) == WORDS
    assert sorted(os.listdir(labels.parent)) == [labels.name, labels.name + ".cache"]


def test_records_are_a_sequence_of_fresh_dicts(labels):
    records = read_labels(labels)
    assert records[-1] == records[2] and len(records) == 3 and records
    records[0]["texts"].append("more")
    assert records[0]["texts"] == SOURCE[0]["texts"]
    assert [r["image_id"] for r in records[1:]] == [7, "b/ü 3"]
    assert records[::-1][:2] == [records[2], records[1]] != records[:2]
    assert words_of(records[1:].text_index) == WORDS[1:]
    assert not records[3:]
    for index in (3, -4):
        with pytest.raises(IndexError):
            records[index]


@pytest.mark.usefixtures("cached")
@pytest.mark.parametrize("change", ["size", "time", "format"])
def test_a_cache_of_another_state_is_replaced(labels, monkeypatch, change):
    read_labels(labels)
    before = cache_of(labels).read_bytes()
    if change == "size":
        labels.write_bytes(labels.read_bytes().replace(b'"Hill"', b'"Mountain"'))
    elif change == "time":
        stamp = labels.stat().st_mtime_ns + 1
        labels.write_bytes(labels.read_bytes().replace(b'"Hill"', b'"Rock"'))
        os.utime(labels, ns=(stamp, stamp))
    else:
        monkeypatch.setattr(label_cache, "FORMAT", label_cache.FORMAT + 1)
    expected = {"size": "Mountain", "time": "Rock", "format": "Hill"}[change]
    assert read_labels(labels)[0]["texts"][0] == expected
    assert cache_of(labels).read_bytes() != before


@pytest.mark.usefixtures("cached")
@pytest.mark.parametrize("damage", ["empty", "cut", "foreign", "footer", "arrays"])
def test_a_damaged_cache_is_replaced(labels, damage):
    whole = list(read_labels(labels))
    cache = cache_of(labels)
    content = bytearray(good := cache.read_bytes())
    if damage == "empty":
        content.clear()
    elif damage == "cut":
        del content[-1:]
    elif damage == "foreign":
        content = bytearray(b"something else, which is longer than the tail")
    elif damage == "footer":
        content[content.rindex(b'"format"') + 1] ^= 1
    else:
        content[content.rindex("漢字".encode())] ^= 1  # in the list of all texts
    cache.write_bytes(content)
    assert read_labels(labels) == whole
    assert cache.read_bytes() == good


@pytest.mark.usefixtures("cached")
def test_a_damaged_record_is_named_when_it_is_read(labels):
    read_labels(labels)
    content = bytearray(cache_of(labels).read_bytes())
    content[content.index(b"licence")] ^= 1
    cache_of(labels).write_bytes(content)
    records = read_labels(labels)
    assert records[0]["image_id"] == "a/1"
    with pytest.raises(LabelError, match=r"labels\.jsonl?\.cache: damaged; delete it"):
        records[1]


@pytest.mark.usefixtures("cached")
def test_a_bad_line_is_named_and_leaves_no_cache(tmp_path):
    path = tmp_path / "l.jsonl"
    good, bad = json.dumps(SOURCE[0]), json.dumps({**SOURCE[0], "file_name": "b", "height": 0})
    path.write_text(f"{good}\n\n{bad}\n", encoding="utf-8")
    with pytest.raises(LabelError, match=r"l\.jsonl:3: height is 0"):
        read_labels(path)
    path.write_text(f"{good}\n\n{good}\n", encoding="utf-8")
    with pytest.raises(LabelError, match=r"l\.jsonl:3: file_name 'a/1.jpg' was used before, at 1"):
        read_labels(path)
    assert os.listdir(tmp_path) == ["l.jsonl"]


@pytest.mark.usefixtures("cached")
def test_where_no_cache_can_be_written_memory_serves_with_one_warning(labels, caplog):
    cache_of(labels).mkdir()
    records = read_labels(labels)
    assert records == read_labels(labels)
    assert words_of(records.text_index) == WORDS
    (warning,) = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert str(cache_of(labels)) in warning and "directory" in warning
    assert pickle.loads(pickle.dumps(records)) == records
    assert len(os.listdir(labels.parent)) == 2


FULL_DISK = """
import resource, signal, sys
from wecromcl_d2.data.datasets import read_labels
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))
records = read_labels(sys.argv[1])
print(len(records), records[-1]["image_id"])
"""


def test_a_full_disk_does_not_stop_reading(tmp_path):
    path = tmp_path / "l.jsonl"
    write_labels(path, ({**SOURCE[0], "file_name": f"{i}.jpg"} for i in range(12_000)))
    assert path.stat().st_size > label_cache.CACHED_FROM
    command = [sys.executable, "-c", FULL_DISK, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "12000 11999\n"
    assert "l.jsonl.cache cannot be written (File too large)" in done.stderr
    assert os.listdir(tmp_path) == ["l.jsonl"]


@pytest.mark.usefixtures("cached")
def test_other_processes_open_the_cache_instead_of_a_copy(tmp_path):
    path = tmp_path / "l.jsonl"
    write_labels(path, ({**SOURCE[0], "file_name": f"{i}.jpg"} for i in range(1000)))
    records = read_labels(path)
    packed = pickle.dumps(records)
    assert len(packed) < 1000 and pickle.loads(packed) == records
    write_labels(path, [SOURCE[0]])
    assert pickle.loads(packed) == records
    assert len(read_labels(path)) == 1
    with pytest.raises(LabelError, match="changed while it was in use"):
        pickle.loads(packed)
    assert records[999]["image_id"] == "999"


@pytest.mark.usefixtures("cached")
def test_of_several_readers_one_checks_the_file(labels, monkeypatch):
    """Each opens the file anew, so the lock holds between threads as between processes."""
    parse, parsed, start = label_cache.parse_labels, [], threading.Barrier(4)

    def slow(path):
        parsed.append(path)
        time.sleep(0.2)
        return parse(path)

    def read(_):
        start.wait()
        return read_labels(labels)[2]["texts"]

    monkeypatch.setattr(label_cache, "parse_labels", slow)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(read, range(4))) == [SOURCE[2]["texts"]] * 4
    assert parsed == [labels]


def test_a_file_that_changes_under_the_reader_is_named(labels, monkeypatch):
    parse = label_cache.parse_labels

    def slow(path):
        yield from parse(path)
        os.utime(path, ns=(0, 0))

    monkeypatch.setattr(label_cache, "parse_labels", slow)
    with pytest.raises(LabelError, match=r"changed while it was read"):
        read_labels(labels)


@given(st.lists(st.integers(-3, 40) | st.sampled_from(["1", "a", "ä", ""]) | st.text(max_size=1)))
def test_first_uses_are_those_of_a_dict(values):
    known, uses = {}, FirstUses("key", "change it")
    for line, value in enumerate(values, start=1):
        if value in known:
            with pytest.raises(LabelError, match=f"was used before, at {known[value]}; change it"):
                uses.check(value, line)
        else:
            known[value] = line
            uses.check(value, line)


def test_first_uses_of_many_values_are_found():
    uses = FirstUses("key", "change it")
    for i in range(5000):
        uses.check(i if i % 2 else f"{i}.jpg", i + 1)
    for i in (0, 1, 2500, 4999):
        with pytest.raises(LabelError, match=f"at {i + 1};"):
            uses.check(i if i % 2 else f"{i}.jpg", 5001)


def test_joined_records_are_those_of_the_parts(labels):
    records = read_labels(labels)
    parts = [records, list(records), records[:1]]
    joined = JoinedRecords(parts)
    assert joined == [record for part in parts for record in part]
    assert words_of(joined.text_index) == [*WORDS, *WORDS, WORDS[0]]
    assert len(JoinedRecords([])) == 0


def test_short_words_are_ignored_in_records_and_index(labels):
    records = LongWordRecords(read_labels(labels), 3)
    ignored = [[False, False, True, False], [], [True, False, True]]
    assert [record["ignore"] for record in records] == ignored
    assert words_of(records.text_index) == [WORDS[0], [], ["no\nend"]]
    assert (
        words_of(TextIndex.of(WORDS)) == WORDS == words_of(index_texts(list(read_labels(labels))))
    )
