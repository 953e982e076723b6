"""The rules of sequences, told with networks that say what they are told to say."""

import pytest
import torch

from tests.stage2.spts.helpers import tiny_model
from wecromcl_d2.data.text import Charset
from wecromcl_d2.stage2.spts.decoding import GreedyDecoder
from wecromcl_d2.stage2.spts.grammar import Grammar
from wecromcl_d2.stage2.spts.readers import split_words
from wecromcl_d2.stage2.spts.sequence import Layout
from wecromcl_d2.stage2.spts.vocabulary import Vocabulary

# a, b, c are 10, 11, 12; 13 is unknown, 14 ends a word, 15 the sequence, 16 starts, 17 pads
V = Vocabulary(Charset("abc"), 10)
BINS, TEXT, END, EOS = set(range(10)), {10, 11, 12, 13}, {14}, {15}


def allowed(points, padded):
    layout = Layout(points=points, max_length=2, max_words=3, padded=padded)
    v = V if points else Vocabulary(Charset("abc"), 0)
    shift = 0 if points else 10
    rows = Grammar.of_sequences(v, layout).allowed
    return [{i + shift for i, yes in enumerate(row.tolist()) if yes} for row in rows]


@pytest.mark.parametrize(
    ("points", "padded", "expected"),
    [
        (True, True, [BINS | EOS, BINS, TEXT | END, TEXT | END]),
        (True, False, [BINS | EOS, BINS, TEXT | END, TEXT | END, END]),
        (False, True, [TEXT | EOS, TEXT | END]),
        (False, False, [TEXT | EOS, TEXT | END, END]),
    ],
)
def test_each_place_of_a_word_has_its_tokens(points, padded, expected):
    assert allowed(points, padded) == expected


def test_points_and_texts_alone():
    rows = Grammar.of_points(V, 3).allowed
    assert [row.nonzero()[:, 0].tolist() for row in rows] == [[*range(10), 15], [*range(10)]]
    rows = Grammar.of_text(V, 2).allowed
    assert [row.nonzero()[:, 0].tolist() for row in rows] == [[10, 11, 12, 13, 14]] * 2


def test_a_coordinate_is_as_sure_as_its_neighbourhood():
    v = Vocabulary(Charset("a"), 1000)
    grammar = Grammar.of_points(v, 1)
    probabilities = torch.zeros(2, len(v))
    probabilities[:, 95:106] = 0.05
    probabilities[:, 94] = probabilities[:, 106] = 0.2
    probabilities[1, 0] = 0.3
    mass = grammar.coordinate_mass(probabilities.log(), torch.tensor([100, 0]))
    assert mass.tolist() == pytest.approx([0.55, 0.3])


class Scripted(GreedyDecoder):
    """Says given tokens with given probabilities, if the grammar allows them."""

    def __init__(self, model, script, sure=0.9):
        layout = model.layout
        grammar = Grammar.of_sequences(model.vocabulary, layout)
        super().__init__(model.decoder, model.reader._decoder(grammar).grammar)
        self.script, self.sure, self.said = script, sure, 0

    def choose(self, logits, place):
        token = self.script[self.said % len(self.script)]
        self.said += 1
        rest = (1 - self.sure) / (logits.shape[1] - 1)
        log_probs = torch.full_like(logits, rest)
        log_probs[:, token] = self.sure
        assert self.grammar.allowed[place, token].all()
        return torch.full((len(logits),), token), log_probs.log()


def say(model, script, sure=0.9):
    cells = torch.zeros(1, 4, 32)
    memory = model.decoder.remember(cells, cells, torch.ones(1, 4, dtype=torch.bool))
    decoder = Scripted(model, script, sure)
    choices = decoder.decode(memory, model.reader._start(1), torch.tensor([False]))
    return split_words(choices, decoder.grammar)[0], decoder


def test_words_are_cut_out_of_what_was_said():
    model = tiny_model("compact")
    v = model.vocabulary
    a, end, eos = v.first_character + 10, v.word_end, v.eos
    script = [3, 4, a, a + 1, end, 5, 6, end, 1, 2, a, v.unknown, a, a, a, end, eos]
    words, _ = say(model, script)
    assert [(w.place, w.text) for w in words] == [([3, 4], "ab"), ([5, 6], ""), ([1, 2], "aaaa")]
    assert [len(w.characters) for w in words] == [2, 0, 4]
    neighbours = 2 * 0.1 / (len(v) - 1)
    assert words[0].det == pytest.approx(0.9 + neighbours, rel=1e-4)
    assert words[0].rec == pytest.approx(0.9, rel=1e-4)


def test_padded_words_end_early_or_with_their_last_place():
    model = tiny_model("padded")
    v = model.vocabulary
    a, end, eos = v.first_character + 10, v.word_end, v.eos
    words, decoder = say(model, [3, 4, a, end, 5, 6, a, a, a, a, a, 7, 8, end, eos])
    assert [(w.place, w.text) for w in words] == [([3, 4], "a"), ([5, 6], "aaaaa"), ([7, 8], "")]
    assert decoder.said == 15


def test_a_sequence_ends_after_its_most_words():
    model = tiny_model("compact")
    v = model.vocabulary
    words, decoder = say(model, [3, 4, v.first_character, v.word_end])
    assert len(words) == model.layout.max_words == 4
    assert decoder.said == 16


def test_a_weak_word_that_repeats_its_place_ends_the_sequence():
    model = tiny_model("compact")
    script = [3, 4, model.vocabulary.first_character, model.vocabulary.word_end]
    words, _ = say(model, script, sure=0.05)
    assert len(words) == 2
    model_points = [*script, 3, 5, *script[2:]]
    words, _ = say(model, model_points, sure=0.05)
    assert len(words) == 4


def test_a_bias_makes_the_end_likelier():
    model = tiny_model("padded")
    decoder = GreedyDecoder(
        model.decoder, Grammar.of_sequences(model.vocabulary, model.layout), eos_bias=1e4
    )
    logits = torch.randn(1, len(model.vocabulary))
    tokens, _ = decoder.choose(logits, torch.zeros(1, dtype=torch.long))
    assert tokens.tolist() == [model.vocabulary.eos]


def test_published_scores_are_means_over_all_tokens_of_a_word():
    model = tiny_model("padded")
    v = model.vocabulary
    a, end, eos = v.first_character + 10, v.word_end, v.eos
    words, _ = say(model, [3, 4, a, end, 5, 6, a, a, a, a, a, eos])
    # The same tokens, padding included, without any cache.
    inputs = torch.tensor([[v.sos, 3, 4, a, end, end, end, end, 5, 6, a, a, a, a, a]])
    positions = torch.arange(inputs.shape[1])[None]
    cells = torch.zeros(1, 4, 32)
    memory = model.decoder.remember(cells, cells, torch.ones(1, 4, dtype=torch.bool))
    with torch.no_grad():
        states = model.decoder(model.decoder.embed(inputs, positions), positions, memory, None)
        probs = model.decoder.classify(states)[0].softmax(-1)
    said = [float(probs[i, inputs[0, i + 1]]) for i in range(14)]
    # Three tokens of padding follow the first one of the first word.
    assert words[0].total == pytest.approx(sum(said[:4]) + 3, rel=1e-4)
    assert words[1].total == pytest.approx(sum(said[7:14]), rel=1e-4)
    assert [word.tokens for word in words] == [7, 7]


def test_the_published_decoder_has_no_guard_against_loops():
    for official, count in ((False, 2), (True, 4)):
        model = tiny_model("compact", "MODEL.SPTS.TEST.OFFICIAL", official)
        script = [3, 4, model.vocabulary.first_character, model.vocabulary.word_end]
        words, _ = say(model, script, sure=0.05)
        assert len(words) == count
