"""Published ground truth and images, if they lie beside the project; they are never part of it."""

import time
from pathlib import Path

import pytest

from wecromcl_d2.data.readers.base import Tally
from wecromcl_d2.data.readers.registry import BENCHMARKS
from wecromcl_d2.data.readers.splits import locate, read_split

REAL = Path(__file__).resolve().parents[3].parent / "shared" / "real"
pytestmark = pytest.mark.skipif(
    not REAL.is_dir(), reason=f"the published files are not in {REAL.parent.name}/{REAL.name}"
)


def read(name):
    (part,) = BENCHMARKS[name].splits["test"].parts
    ground_truth = list(part.read(REAL / name / "test_gts.zip", Tally()))
    return ground_truth, [word for gt in ground_truth for word in gt.words]


def count(words, condition):
    return sum(map(condition, words))


def test_icdar2015():
    ground_truth, words = read("icdar2015")
    assert (len(ground_truth), len(words)) == (500, 5230)
    assert count(words, lambda w: w.ignore) == 3153
    scored = [word for word in words if not word.ignore]
    assert len(scored) == 2077
    assert min(len(word.text) for word in scored) >= 3
    assert count(words, lambda w: "," in w.text) == 6
    assert count(words, lambda w: " " in w.text) == 21
    assert count(words, lambda w: not w.text.isascii()) == 2


def test_totaltext():
    ground_truth, words = read("totaltext")
    assert (len(ground_truth), len(words)) == (300, 2543)
    scored = [word for word in words if not word.ignore]
    assert len(scored) == 2215
    assert count(scored, lambda w: len(w.text) >= 3) == 1967
    vertices = {len(word.polygon) // 2 for word in words}
    assert (min(vertices), max(vertices)) == (4, 19)
    assert count(words, lambda w: "," in w.text or " " in w.text) == 0


def test_ctw1500():
    ground_truth, words = read("ctw1500")
    assert (len(ground_truth), len(words)) == (500, 3075)
    assert count(words, lambda w: w.ignore) == 387
    assert {len(word.polygon) for word in words} == {28}
    assert count(words, lambda w: " " in w.text) == 1095
    assert count(words, lambda w: "," in w.text) == 23
    assert count(words, lambda w: not w.text.isascii()) == 19


def test_reading_them_takes_less_than_a_second():
    times = []
    for _ in range(3):
        start = time.process_time()
        for name in ("icdar2015", "totaltext", "ctw1500"):
            read(name)
        times.append(time.process_time() - start)
    assert min(times) <= 1


@pytest.mark.parametrize(("split", "images", "missing"), [("train", 2, 0), ("test", 3, 497)])
def test_a_partial_copy_of_icdar2015(split, images, missing):
    root = REAL / "icdar2015"
    tally = Tally()
    located = locate(BENCHMARKS["icdar2015"].splits[split], root)
    records = list(read_split(located, root, tally, decode=True))
    assert len(records) == tally.images == images
    assert tally.missing.count == missing
    assert not tally.damaged.count
    assert all((r["height"], r["width"]) == (720, 1280) for r in records)
    assert tally.outlines == tally.words
    assert tally.outside == 0
