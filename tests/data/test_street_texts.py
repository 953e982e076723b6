from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from wecromcl_d2.data.synthetic import split_of
from wecromcl_d2.data.synthetic.street.texts import TextSource, change_case, read_words

PRINTABLE = frozenset(map(chr, range(33, 127)))
LISTED = [(f"{a}{b}ter{c}", 1.0) for a in "bdfg" for b in "aeiou" for c in ("", "s", "ness")]


def _source(lengths: tuple[int, int] = (1, 20), split: str = "train") -> TextSource:
    return TextSource(LISTED, lengths, split, PRINTABLE)


def _core(text: str) -> str:
    return "".join(c for c in text if c.isalnum())


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_words_of_three_characters_or_more_keep_to_their_split(split: str) -> None:
    rng, source = np.random.default_rng(0), _source(split=split)
    texts = [source.draw(rng) for _ in range(800)]
    assert all(split_of(_core(t)) == split for t in texts if len(_core(t)) > 2)
    assert any(split_of(_core(t)) != split for t in texts if 0 < len(_core(t)) <= 2)


def test_lengths_and_characters_are_kept() -> None:
    rng = np.random.default_rng(1)
    lengths = {len(_source((4, 7)).draw(rng)) for _ in range(300)}
    assert lengths == {4, 5, 6, 7}
    source = TextSource([], (1, 20), "train", frozenset("abcdefABCDEF"))
    assert set("".join(source.draw(rng) for _ in range(100))) <= set("abcdef")


def test_signs_say_more_than_listed_words() -> None:
    rng, source = np.random.default_rng(2), _source()
    texts = [source.draw(rng) for _ in range(3000)]
    listed = {word for word, _ in LISTED}
    share = np.mean([text in listed for text in texts])
    assert 0.4 < share < 0.7
    assert {len(text) for text in texts} == set(range(1, 21))
    for sign in ("$", "%", "www.", "-", "(", "'", ":", "&"):
        assert any(sign in text for text in texts), sign
    assert sum(_core(text).isdigit() for text in texts) > 150


def test_frequent_words_come_more_often_but_not_in_proportion() -> None:
    pair = [word for word, _ in LISTED if split_of(word) == "train"][:2]
    source = TextSource([(pair[0], 100.0), (pair[1], 1.0)], (1, 20), "train", PRINTABLE)
    rng = np.random.default_rng(3)
    drawn = [source.word(rng) for _ in range(4000)]
    # The square roots of the frequencies are as 10 to 1.
    assert drawn.count(pair[0]) / drawn.count(pair[1]) == pytest.approx(10, rel=0.2)


def test_case_is_a_habit_of_the_line() -> None:
    rng = np.random.default_rng(4)
    lines = [tuple(change_case(rng, ["open", "late-night"])) for _ in range(400)]
    counts = {line: lines.count(line) for line in set(lines)}
    for line in (("OPEN", "LATE-NIGHT"), ("Open", "Late-night"), ("open", "late-night")):
        assert counts.pop(line) > 40
    assert sum(counts.values()) > 5
    assert all(" ".join(line).lower() == "open late-night" for line in counts)


def test_word_file_holds_words_and_frequencies(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text("open\t0.5\n\nstreet\n", encoding="utf-8")
    assert read_words(str(path)) == [("open", 0.5), ("street", 1.0)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"open\nlate night\n", r"words.txt:2: 'late night' is no word"),
        (b"open\tmuch\n", r"words.txt:1: .* is no word: write one word a line"),
        (b"open\t-1\n", r"words.txt:1: .* a frequency above 0"),
        (b"\n\n", r"words.txt holds no word: write one word a line"),
        (b"caf\xe9\n", r"words.txt is no UTF-8 text .*: save it as such"),
    ],
)
def test_bad_word_file_is_explained(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_words(str(path))


def test_list_without_a_usable_word_is_explained() -> None:
    with pytest.raises(ValueError, match="none of the 1 listed words has 1 to 3 characters"):
        TextSource([("straight", 1.0)], (1, 3), "train", PRINTABLE)
