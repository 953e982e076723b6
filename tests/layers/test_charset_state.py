import io

import pytest
import torch
from torch import nn

from wecromcl_d2.data.text import Charset, CharsetError
from wecromcl_d2.layers.charset_state import CharsetState, check_charsets


def model(characters, **options):
    result = nn.Module()
    result.reader = CharsetState(Charset(characters, **options))
    return result


def state_of(characters, **options):
    """Through a file, as it is read without running any code."""
    file = io.BytesIO()
    torch.save(model(characters, **options).state_dict(), file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def test_the_same_alphabet_loads():
    for characters in ("abc", "aé中"):
        model(characters).load_state_dict(state_of(characters))


@pytest.mark.parametrize(
    ("stored", "own", "said"),
    [
        ("abé", "abc", r"only the checkpoint has '\\xe9' \(U\+00E9\); only the config has 'c'"),
        ("abc", "ab", r"only the checkpoint has 'c' \(U\+0063\); set MODEL"),
        ("ab", "abcd", r"only the config has 'c' \(U\+0063\), 'd' \(U\+0064\)"),
        ("abc", "acb", "the order: label 2 is 'b' there and 'c' here"),
        ("0123456789abcdefghi", "z", r"'9' .*and 7 more"),
    ],
)
@pytest.mark.parametrize("before", [True, False])
def test_another_alphabet_is_refused_by_its_characters(stored, own, said, before):
    other, state = model(own), state_of(stored)
    with pytest.raises(CharsetError, match=said):
        check_charsets(other, state) if before else other.load_state_dict(state)


def test_other_case_folding_is_refused():
    with pytest.raises(CharsetError, match="it folds case"):
        model("abc", case_fold=False).load_state_dict(state_of("abc"))


@pytest.mark.parametrize(
    "damage",
    [torch.zeros(0), torch.zeros(3), torch.zeros(2, 2).int(), torch.tensor([1, -5]).int()],
)
def test_a_damaged_alphabet_is_said_to_be_one(damage):
    with pytest.raises(CharsetError, match="damaged"):
        model("abc").load_state_dict({"reader.code_points": damage})


def test_checkpoints_without_an_alphabet_are_complete():
    result = model("abc").load_state_dict({})
    assert (result.missing_keys, result.unexpected_keys) == ([], [])
    check_charsets(model("abc"), {})


def test_number_formats_leave_the_alphabet_alone():
    changed = model("aé").half().double()
    assert changed.state_dict()["reader.code_points"].tolist() == [1, ord("a"), ord("é")]
