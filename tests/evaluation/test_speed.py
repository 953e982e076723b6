"""Processor time of whole evaluations from files, of the size of ICDAR 2015's test split."""

import gc
import json
import random
import string
import time

import pytest

from wecromcl_d2.evaluation.counting import Threshold
from wecromcl_d2.evaluation.evaluator import run_spotting
from wecromcl_d2.evaluation.readers import read_ground_truth, read_lexicon, read_predictions
from wecromcl_d2.evaluation.spotting import SPTS_THRESHOLDS, SpottingProtocol

IMAGES, ENTRIES, SCORED, LEXICON_WORDS = 500, 10, 4, 88_078


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Ground truth, results with misread words, and a lexicon; the words are drawn at random."""
    root, draw = tmp_path_factory.mktemp("speed"), random.Random(5)
    lengths = draw.choices(
        range(3, 16), [2, 5, 8, 10, 12, 13, 12, 11, 9, 7, 5, 3, 2], k=LEXICON_WORDS
    )
    words = ["".join(draw.choices(string.ascii_uppercase, k=length)) for length in lengths]
    (root / "words.txt").write_text("\n".join(words), encoding="utf-8")
    pairs = "\n".join(f"{word} {word.lower()}" for word in words)
    (root / "pairs.txt").write_text(pairs, encoding="utf-8")
    (root / "gt").mkdir()
    entries = []
    for image in range(1, IMAGES + 1):
        lines = []
        for entry in range(ENTRIES):
            x, y, w = draw.randrange(1200), draw.randrange(700), draw.randrange(20, 90)
            text = draw.choice(words) if entry < SCORED else "###"
            lines.append(f"{x},{y},{x + w},{y + 2},{x + w},{y + 20},{x},{y + 19},####{text}\n")
            if entry < SCORED:
                read = list(text)
                for _ in range(draw.randrange(4)):
                    read[draw.randrange(len(read))] = draw.choice(string.ascii_uppercase)
                row = {"image_id": image, "polys": [[x + w / 2, y + 10.2]]}
                entries.append(row | {"rec": "".join(read), "score": draw.uniform(0.7, 1)})
        (root / "gt" / f"{image:07d}.txt").write_text("".join(lines), encoding="utf-8")
    (root / "results.json").write_text(json.dumps(entries), encoding="utf-8")
    return root


def evaluate(folder, with_lexicon):
    lexicon = None
    if with_lexicon:
        lexicon = read_lexicon(folder / "words.txt", folder / "pairs.txt", limit=None)
    ground_truth, found = (
        read_ground_truth(folder / "gt"),
        read_predictions(folder / "results.json"),
    )
    protocol = SpottingProtocol(lexicon=lexicon)
    run = run_spotting("speed", ground_truth, found, protocol, Threshold(0.8), SPTS_THRESHOLDS)
    return run.results()[0]


@pytest.mark.parametrize(("with_lexicon", "limit", "runs"), [(False, 0.3, 5), (True, 5.0, 2)])
def test_evaluation_from_files_is_fast(folder, with_lexicon, limit, runs, capsys):
    seconds = []
    for _ in range(runs):
        gc.collect()
        start = time.process_time()
        result = evaluate(folder, with_lexicon)
        seconds.append(time.process_time() - start)
    with capsys.disabled():
        print(f" [{min(seconds):.3f} s, lexicon {result.lexicon}]", end="")
    assert (result.ground_truth, result.images) == (IMAGES * SCORED, IMAGES)
    assert min(seconds) <= limit
