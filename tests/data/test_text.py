import unicodedata

import numpy as np
import pytest
import torch
from detectron2.structures import Instances
from hypothesis import given
from hypothesis import strategies as st

from wecromcl_d2.data.text import Charset, CharsetError, TextList


def test_alnum_labels_start_at_one_and_pad_with_zero():
    charset = Charset.from_name("alnum")
    labels = charset.encode(["0a", "Zz9", ""], 4)
    assert labels.dtype == torch.long
    assert labels.tolist() == [[1, 11, 0, 0], [36, 36, 10, 0], [0, 0, 0, 0]]
    assert charset.decode(labels) == ["0a", "zz9", ""]
    assert len(charset) == 36


def test_published_table_has_its_odd_backslash():
    charset = Charset.from_name("wecromcl")
    assert len(charset) == 69
    assert charset.encode(["0 9", "az!", "&\\'", "[]~"], 3).tolist() == [
        [1, 37, 10],
        [11, 36, 38],
        [43, 44, 45],
        [61, 62, 69],
    ]


def test_ascii_holds_what_can_be_printed_in_order_of_code():
    charset = Charset.from_name("ascii", case_fold=False)
    assert len(charset) == 95
    assert charset.encode([" A~a"], 4).tolist() == [[1, 34, 95, 66]]
    with pytest.raises(CharsetError, match="case folding"):
        Charset.from_name("ascii")


def test_long_words_are_cut():
    assert Charset("abc").encode(["abcabc"], 4).tolist() == [[1, 2, 3, 1]]


def test_unknown_characters_are_dropped_before_the_cut():
    assert Charset("ab").encode(["a-☃-b"], 2).tolist() == [[1, 2]]


def test_texts_of_one_key_have_the_same_labels():
    charset = Charset("abc")
    assert [charset.key(text, 2) for text in ("A-bc", "abd", "ab")] == ["ab"] * 3
    assert charset.encode(["A-bc", "abd", "ab"], 2).tolist() == [[1, 2]] * 3


def test_unknown_characters_can_raise():
    with pytest.raises(CharsetError, match=r"'a-b\\u2603'.*'-' \(U\+002D\).*U\+2603"):
        Charset("ab", unknown="error").normalize("a-b☃")


def test_normalisation_composes_and_folds():
    assert Charset("éß", case_fold=False).normalize("e\u0301ß") == "éß"
    assert Charset("sé").normalize("SE\u0301ß") == "séss"
    assert Charset("aA", case_fold=False).encode(["Aa"], 2).tolist() == [[2, 1]]


@given(st.text())
def test_normalised_text_stays_inside_and_survives_a_round_trip(text):
    charset = Charset.from_name("wecromcl")
    normal = charset.normalize(text)
    assert all(c in charset for c in normal)
    assert charset.normalize(normal) == normal
    assert charset.decode(charset.encode([text], max(1, len(normal)))) == [normal]
    assert normal == charset.normalize(unicodedata.normalize("NFD", text))


@pytest.mark.parametrize(
    ("characters", "message"),
    [
        ("", "at least one"),
        ("aba", "position 2.*twice"),
        ("A", "case folding"),
        ("\ud800", "surrogate"),
        ("\u2126", "NFC"),
    ],
)
def test_bad_characters_are_refused(characters, message):
    with pytest.raises(CharsetError, match=message):
        Charset(characters)


def test_bad_policy_and_length_are_refused():
    with pytest.raises(CharsetError, match=r"'skip'.*'drop' or 'error'"):
        Charset("a", unknown="skip")
    with pytest.raises(ValueError, match="max_length is 0"):
        Charset("a").encode(["a"], 0)


@pytest.mark.parametrize("label", [-1, 3])
def test_labels_outside_are_refused(label):
    with pytest.raises(CharsetError, match=f"label {label} "):
        Charset("ab").decode([[label]])


def test_file_with_mark_crlf_blank_and_decomposed_character(tmp_path):
    path = tmp_path / "chars.txt"
    path.write_bytes("\ufeffa\r\n \r\n\r\ne\u0301\r\n漢\r\n".encode())
    charset = Charset.from_name(str(path))
    assert charset.characters == "a é漢"
    assert charset == Charset("a é漢")
    assert charset != Charset("a é漢", case_fold=False)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a\nbc\n", r"chars\.txt:2: holds 2"),
        (b"a\nb\na\n", r"chars\.txt:3: 'a'.*twice"),
        (b"B\n", r"chars\.txt:1: 'B'.*case_fold=False"),
        (b"\n\n", r"chars\.txt: no character"),
        (b"\xff\n", r"chars\.txt: not UTF-8"),
    ],
)
def test_bad_files_name_the_line(tmp_path, content, message):
    path = tmp_path / "chars.txt"
    path.write_bytes(content)
    with pytest.raises(CharsetError, match=message):
        Charset.from_name(str(path))


def test_missing_file_names_the_presets():
    with pytest.raises(CharsetError, match=r"'latin'.*alnum, wecromcl"):
        Charset.from_name("latin")


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        (slice(1, None), ["b", "c"]),
        (torch.tensor([True, False, True]), ["a", "c"]),
        (torch.tensor([2, 0, 0]), ["c", "a", "a"]),
        (np.array([-1]), ["c"]),
        (np.array([False, False, False]), []),
        ([1], ["b"]),
        ([], []),
        (torch.zeros(0, dtype=torch.long), []),
    ],
)
def test_text_list_indexing(index, expected):
    picked = TextList("abc")[index]
    assert isinstance(picked, TextList)
    assert picked == expected


@pytest.mark.parametrize("index", [1, -2, np.int64(1), torch.tensor(1)])
def test_text_list_integer_gives_a_string(index):
    assert TextList("abc")[index] == "b"


@pytest.mark.parametrize(
    ("index", "error"),
    [
        (3, IndexError),
        (torch.tensor([3]), IndexError),
        (torch.tensor([True]), IndexError),
        (1.0, TypeError),
        (torch.tensor([0.5]), TypeError),
        (torch.tensor(True), TypeError),
        ("a", TypeError),
        (torch.zeros(1, 1, dtype=torch.long), TypeError),
    ],
)
def test_text_list_bad_index(index, error):
    with pytest.raises(error):
        TextList("abc")[index]


def test_text_list_refuses_other_items():
    with pytest.raises(TypeError, match="int: 3"):
        TextList(["a", 3])


def test_text_list_rides_in_instances():
    instances = Instances((10, 20), scores=torch.tensor([0.1, 0.9]), texts=TextList(["a", "b"]))
    assert instances[instances.scores > 0.5].texts == ["b"]
    assert instances[1].texts == ["b"]
    assert Instances.cat([instances, instances[:1]]).texts == TextList(["a", "b", "a"])
    assert instances.to("cpu").texts == ["a", "b"]
