"""`wecromcl find`, run in this process on an anchor detector without learning."""

import json
import os

import pytest

from wecromcl_d2.cli import find


def read_lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_given_words_are_found(anchors, photos, tmp_path):
    words, lines = tmp_path / "words.txt", tmp_path / "found.jsonl"
    words.write_text("hill\n\n  way \n", encoding="utf-8")
    output = ["--output", str(tmp_path / "out"), "--json", str(lines)]
    for given, expected in (([str(words)], ["hill", "way"]), (["Hill", "hill"], ["Hill", "hill"])):
        assert find.main([str(photos), *anchors, *output, "--words", *given]) == 0
        records = read_lines(lines)
        assert [r["texts"] for r in records] == [expected] * 3
        assert all(len(r["points"]) == len(r["point_scores"]) == 2 for r in records)
    assert len(list((tmp_path / "out").rglob("*.png"))) == 3


def test_a_label_file_gives_each_image_its_own_words(anchors, photos, tmp_path, capsys):
    size = {"height": 48, "width": 80}
    records = [
        {"file_name": "one.png", "texts": ["hill", "###"], "ignore": [False, True], **size},
        {"file_name": "more/one.png", "texts": ["way"], **size},
    ]
    labels = photos / "labels.jsonl"
    labels.write_text("\n".join(map(json.dumps, records)), encoding="utf-8")
    lines = tmp_path / "found.jsonl"
    argv = [os.path.relpath(photos), *anchors, "--json", str(lines), "--words", str(labels)]
    assert find.main(argv) == 1
    assert [r["texts"] for r in read_lines(lines)] == [["way"], ["hill"]]
    assert "two.png: the label file of --words does not name it" in capsys.readouterr().err


def test_words_that_cannot_be_read_are_refused(anchors, photos, tmp_path, capsys):
    for name, content in (("words.txt", b"\xff\xfe"), ("labels.jsonl", b"{}")):
        (tmp_path / name).write_bytes(content)
        assert find.main([str(photos), *anchors, "--words", str(tmp_path / name)]) == 2
        assert name in capsys.readouterr().err
    assert find.main([str(photos), *anchors, "--words", str(tmp_path / "gone.txt")]) == 2


def test_a_file_of_another_type_is_no_word(anchors, photos, tmp_path, capsys):
    table = tmp_path / "words.csv"
    table.write_text("photo.png,hill\n", encoding="utf-8")
    assert find.main([str(photos), *anchors, "--words", str(table)]) == 2
    assert "words.csv is a file, but neither .txt" in capsys.readouterr().err


def test_words_without_a_letter_of_the_alphabet_are_listed(anchors, photos, capsys):
    assert find.main([str(photos), *anchors, "--words", "hill", "\N{GRINNING FACE}"]) == 0
    error = capsys.readouterr().err
    assert "with words that have no character of the model's alphabet:" in error
    assert ": \N{GRINNING FACE}\n" in error


def test_words_must_be_given_and_thresholds_are_for_reading(capsys):
    for wrong in ([], ["--words", "a", "--threshold", "0.5"]):
        with pytest.raises(SystemExit) as error:
            find.main(["x.png", *wrong])
        assert error.value.code == 2
        assert "wecromcl find" in capsys.readouterr().err
