import pytest
import torch

from wecromcl_d2.data.text import Charset
from wecromcl_d2.stage2.spts.vocabulary import Vocabulary

ASCII = Charset.from_name("ascii", case_fold=False)
TINY = Vocabulary(Charset("abc"), 10)


@pytest.mark.parametrize(
    ("bins", "noise", "size", "marks"),
    [
        (1000, False, 1100, (1000, 1095, 1096, 1097, 1098, 1099)),
        (1000, True, 1101, (1000, 1095, 1096, 1097, 1098, 1100)),
        (0, False, 100, (0, 95, 96, 97, 98, 99)),
    ],
)
def test_ids_are_the_published_ones(bins, noise, size, marks):
    v = Vocabulary(ASCII, bins, noise=noise)
    assert len(v) == size
    assert (v.first_character, v.unknown, v.word_end, v.eos, v.sos, v.padding) == marks


def test_texts_become_tokens_and_back():
    v = Vocabulary(ASCII, 1000)
    assert v.encode_text(" A~", 25) == [1000, 1033, 1094]
    assert v.decode_text([1000, 1033, 1095, 1094]) == " A~"
    assert TINY.encode_text("CAxB!c", 3) == [12, 10, 11]
    assert TINY.decode_text([]) == ""


def test_points_fall_into_bins_whose_middles_come_back():
    points = torch.tensor([[0.0, 0.0], [99.99, 10.0], [100.0, 49.9], [130.0, -5.0]])
    tokens = TINY.encode_points(points, (50, 100))
    assert tokens.tolist() == [[0, 0], [9, 2], [9, 9], [9, 0]]
    back = TINY.decode_points(tokens[:2], (100, 200))
    assert back.dtype == torch.float64
    assert back.tolist() == [[10.0, 5.0], [190.0, 25.0]]


@pytest.mark.parametrize("size", [(1, 1), (7, 4000)])
def test_bins_fit_images_of_any_size(size):
    tokens = TINY.encode_points(torch.tensor([[size[1] / 2, size[0] / 2]]), size)
    assert tokens.tolist() == [[5, 5]]


def test_what_cannot_be_divided_is_refused():
    with pytest.raises(ValueError, match="BINS is 1"):
        Vocabulary(Charset("abc"), 1)
    with pytest.raises(ValueError, match=r"\(0, 5\)"):
        TINY.encode_points(torch.zeros(1, 2), (0, 5))
    with pytest.raises(ValueError, match="finite"):
        TINY.encode_points(torch.tensor([[1.0, float("nan")]]), (5, 5))
