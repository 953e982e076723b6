"""Text encoders of the studies, and the byte pairs of the token-wise one."""

import math

import pytest
import torch

from projects.studies.byte_pairs import learn_merges, merge_pair, split_word
from projects.studies.text_encoders import (
    BagTextEncoder,
    RelativeTextEncoder,
    SineTextEncoder,
    TokenTextEncoder,
    WindowTextEncoder,
    WordwiseTextEncoder,
    cut_windows,
    cut_words,
    sine_positions,
)
from wecromcl_d2.data.text import Charset
from wecromcl_d2.stage1 import CharacterTextEncoder, build_text_encoder
from wecromcl_d2.tasks import load_config

CHARSET = Charset("abcdefgh")
PARTS = {
    "vocabulary": 9,
    "max_length": 6,
    "width": 8,
    "layers": 1,
    "heads": 2,
    "mask_padding": True,
}


def test_pairs_are_merged_by_frequency():
    # a b occurs 5 times, b c 4; after the first merge, ab c occurs 3 times and b c once.
    words = {"abc": 3, "ab": 2, "bc": 1}
    assert learn_merges(words, 3) == [("a", "b"), ("ab", "c"), ("b", "c")]
    assert learn_merges(words, 9) == learn_merges(words, 3)


def test_of_equally_frequent_pairs_the_first_in_the_alphabet_is_merged():
    assert learn_merges({"cd": 1, "ab": 1}, 1) == [("a", "b")]


def test_repeated_characters_are_merged_from_the_left():
    assert merge_pair(list("aaa"), ("a", "a")) == ["aa", "a"]
    assert learn_merges({"aaaa": 1}, 2) == [("a", "a"), ("aa", "aa")]


def test_words_are_split_as_they_were_learned():
    ranks = {("b", "c"): 0, ("a", "bc"): 1, ("a", "b"): 2}
    assert split_word("abc", ranks) == ["abc"]
    assert split_word("abx", ranks) == ["ab", "x"]
    assert split_word("", ranks) == []


@pytest.fixture
def tokens():
    return TokenTextEncoder(charset=CHARSET, merges=[("a", "b"), ("ab", "c"), ("a", "bc")], **PARTS)


def test_labels_become_tokens(tokens):
    labels = CHARSET.encode(["abcab", "ddd", "cab", ""], 6)
    # The characters have the rows 1 to 8, "ab" and "abc" the first two behind them.
    assert tokens.tokenize(labels).tolist() == [
        [10, 9, 0, 0, 0, 0],
        [4, 4, 4, 0, 0, 0],
        [3, 9, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 0],
    ]


def test_tokens_are_encoded_as_characters_are(tokens):
    plain = CharacterTextEncoder(**PARTS | {"vocabulary": 12})
    plain.load_state_dict(tokens.state_dict())
    labels = torch.tensor([[10, 9, 0, 0, 0, 0], [4, 4, 4, 0, 0, 0]])
    assert torch.equal(tokens(CHARSET.encode(["abcab", "ddd"], 6)), plain(labels))


def test_a_bag_has_no_order_and_ours_has():
    labels = CHARSET.encode(["abcd", "dcba", "abce"], 6)
    bag = BagTextEncoder(**PARTS)(labels)
    assert torch.allclose(bag[0], bag[1], atol=1e-6)
    assert not torch.allclose(bag[0], bag[2], atol=1e-3)
    ours = CharacterTextEncoder(**PARTS)(labels)
    assert not torch.allclose(ours[0], ours[1], atol=1e-3)


def test_without_layers_a_bag_is_the_mean_of_its_characters():
    encoder = BagTextEncoder(**PARTS | {"layers": 0})
    first, second, both = encoder(CHARSET.encode(["a", "b", "ab"], 6))
    assert torch.allclose((first + second) / 2, both, atol=1e-6)
    assert not encoder.positional_embedding.requires_grad


def test_the_encoders_are_built_by_name_with_width_and_depth_of_ours():
    sizes = {}
    for name in ("CharacterTextEncoder", "TokenTextEncoder", "BagTextEncoder"):
        cfg = load_config("configs/quick/anchors.yaml", ["MODEL.TEXT_ENCODER.NAME", name])
        encoder = build_text_encoder(cfg)
        assert (encoder.out_channels, len(encoder.layers)) == (128, 2)
        sizes[name] = len(encoder.token_embedding.weight)
    assert sizes == {"CharacterTextEncoder": 37, "TokenTextEncoder": 549, "BagTextEncoder": 37}


def test_sinusoidal_positions():
    found = sine_positions(3, 4)
    rate = 0.01  # 10000 ** (-2 / 4)
    expected = [
        [math.sin(i), math.sin(i * rate), math.cos(i), math.cos(i * rate)] for i in range(3)
    ]
    assert torch.allclose(found, torch.tensor(expected))
    encoder = SineTextEncoder(**PARTS)
    assert torch.allclose(encoder.positional_embedding, 0.05 * sine_positions(6, 8))
    assert not encoder.positional_embedding.requires_grad


def test_windows_overlap_by_half_and_end_with_the_text():
    labels = CHARSET.encode(["abcdefgh", "abcdefg", "abc", "abcd"], 9)
    owners, windows = cut_windows(labels, 4)
    cut = list(zip(owners.tolist(), CHARSET.decode(windows), strict=True))
    assert cut == [
        *((0, "abcd"), (0, "cdef"), (0, "efgh")),
        *((1, "abcd"), (1, "cdef"), (1, "defg")),
        (2, "abc"),
        (3, "abcd"),
    ]


def test_windows_are_averaged_and_short_texts_read_whole():
    encoder = WindowTextEncoder(**PARTS | {"max_length": 12})
    encoder.window = 4
    plain = CharacterTextEncoder(**PARTS | {"max_length": 12})
    plain.load_state_dict(encoder.state_dict())
    found = encoder(CHARSET.encode(["abcdef", "abc"], 12))
    first, second, short = plain(CHARSET.encode(["abcd", "cdef", "abc"], 12))
    assert torch.allclose(found[0], (first + second) / 2, atol=1e-6)
    assert torch.allclose(found[1], short, atol=1e-6)
    # Rows may be shorter than a window.
    assert torch.allclose(encoder(CHARSET.encode(["abc"], 3))[0], short, atol=1e-6)


def test_distances_are_added_to_the_logits_of_the_attention():
    encoder = RelativeTextEncoder(**PARTS)
    encoder.reach = 2
    encoder.distance_bias = torch.nn.Parameter(torch.arange(10.0).view(2, 5))
    seen = torch.tensor([[True, True, True, True], [True, True, False, False]])
    whole, short = encoder.attention_mask(seen).tolist()
    # From place 0 the distances 0, 1, 2 and 3, which counts as 2; from place 3 those before it.
    assert whole[0] == [[2, 3, 4, 4], [1, 2, 3, 4], [0, 1, 2, 3], [0, 0, 1, 2]]
    assert whole[1][3] == [5, 5, 6, 7]
    assert short[0][1] == [1, 2, -math.inf, -math.inf]


def test_relative_positions_know_the_order_and_need_no_position():
    encoder = RelativeTextEncoder(**PARTS | {"max_length": 12})
    torch.nn.init.normal_(encoder.distance_bias)
    labels = CHARSET.encode(["abcd", "dcba"], 12)
    first, second = encoder(labels)
    assert not torch.allclose(first, second, atol=1e-3)
    encoder(labels).sum().backward()
    assert encoder.distance_bias.grad.abs().sum() > 0
    assert not encoder.positional_embedding.any()
    # Without their bias it is a bag.
    torch.nn.init.zeros_(encoder.distance_bias)
    bag = BagTextEncoder(**PARTS | {"max_length": 12})
    bag.load_state_dict(encoder.state_dict(), strict=False)
    assert torch.allclose(encoder(labels), bag(labels), atol=1e-6)


LINE = Charset("abcdefg ")


def test_lines_are_cut_at_their_blanks():
    labels = LINE.encode(["ab cde f", " a", "abc", " "], 9)
    owners, words = cut_words(labels, blank=8)
    cut = list(zip(owners.tolist(), LINE.decode(words), strict=True))
    assert cut == [(0, "ab"), (0, "cde"), (0, "f"), (1, "a"), (2, "abc"), (3, "")]
    assert words.shape == (6, 3)


def test_words_of_a_line_are_averaged_in_any_order():
    encoder = WordwiseTextEncoder(blank=8, **PARTS | {"max_length": 9})
    plain = CharacterTextEncoder(**PARTS | {"max_length": 9})
    plain.load_state_dict(encoder.state_dict())
    line, turned, word = encoder(LINE.encode(["ab cde", "cde ab", "cde"], 9))
    first, second = plain(LINE.encode(["ab", "cde"], 9))
    assert torch.allclose(line, (first + second) / 2, atol=1e-6)
    assert torch.allclose(line, turned, atol=1e-6)
    assert torch.allclose(word, second, atol=1e-6)


def test_lines_need_a_blank_in_the_alphabet():
    own = ["MODEL.TEXT_ENCODER.NAME", "WordwiseTextEncoder"]
    assert build_text_encoder(load_config("projects/studies/configs/lines.yaml", own)).blank == 37
    with pytest.raises(ValueError, match="'alnum' has no blank"):
        build_text_encoder(load_config("configs/quick/anchors.yaml", own))
