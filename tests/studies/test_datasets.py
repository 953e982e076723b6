"""Datasets and alphabets of other scripts."""

import unicodedata

import pytest
from detectron2.data import DatasetCatalog

from projects.studies.datasets import ALPHABETS, LINES, SCRIPTS, read_alphabet, reverse_texts
from wecromcl_d2.data.synthetic.scenes import render
from wecromcl_d2.data.text import Charset


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_alphabets_are_charsets_of_their_script(script):
    charset = Charset.from_name(str(ALPHABETS / f"{script}.txt"))
    assert charset.characters == read_alphabet(script)
    names = {unicodedata.name(character).split()[0] for character in charset.characters}
    assert names == {"CJK" if script == "chinese" else script.upper()}
    assert {"arabic": 36, "chinese": 3000}.get(script, len(charset)) == len(charset)


def test_texts_are_reversed_for_the_visual_order():
    record = {"texts": ["ابت", "x"], "file_name": "a.jpg"}
    assert reverse_texts(record) == {"texts": ["تبا", "x"], "file_name": "a.jpg"}
    assert record["texts"][0] == "ابت"


def test_every_open_dataset_is_there_in_each_script():
    known = set(DatasetCatalog.list())
    for script in SCRIPTS:
        names = {name for name in known if name.startswith(f"synth_{script}_")}
        plain = {name for name in names if not name.endswith("_visual")}
        assert len(plain) == 7
        assert f"synth_{script}_scenes_test" in plain
        assert len(names) == (14 if script == "arabic" else 7)


def test_lines_are_read_whole():
    charset = Charset.from_name(str(ALPHABETS / "alnum_and_blank.txt"))
    assert charset.characters == "0123456789abcdefghijklmnopqrstuvwxyz "
    lines = [line for index in range(6) for line in render(LINES, index).texts]
    assert {len(line.split(" ")) for line in lines} >= {1, 2, 5}
    assert max(map(len, lines)) <= 40  # MAX_LENGTH of the config
    assert [charset.normalize(line) for line in lines] == [line.lower() for line in lines]
    assert {"synth_lines_train", "synth_lines_val", "synth_lines_test"} <= {*DatasetCatalog.list()}
