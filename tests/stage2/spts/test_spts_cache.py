"""Decoding with a cache gives what the whole sequence, run again for each token, gives."""

import copy

import pytest
import torch

from tests.stage2.spts.helpers import (
    KINDS,
    TRAINED,
    make_image,
    tiny_model,
    to_official,
    trained_model,
    training_batch,
)
from tests.stage2.spts.plain import PlainSPTS, sequence_rule
from wecromcl_d2.stage2.spts import decoding
from wecromcl_d2.stage2.spts.decoding import GreedyDecoder
from wecromcl_d2.stage2.spts.grammar import Grammar

SIZES = [(48, 64), (33, 80), (64, 20), (48, 65)]
SEQUENCES = [kind for kind in KINDS if kind != "iad_prd"]
TOLERANCE = 1e-4


def inputs():
    return [{"image": make_image(*size, seed)} for seed, size in enumerate(SIZES)]


class Watched(GreedyDecoder):
    """Keeps the masked logits of every choice."""

    def __init__(self, *args):
        super().__init__(*args)
        self.log_probs = []

    def choose(self, logits, place):
        tokens, log_probs = super().choose(logits, place)
        self.log_probs.append((tokens, log_probs))
        return tokens, log_probs


def plain(model):
    source = "sptsv2" if model.vocabulary.padding - model.vocabulary.sos == 2 else "spts"
    heads = model.decoder.layers[0].self_attention.heads
    return PlainSPTS(to_official(model.state_dict(), source), heads)


def encoded(model, x):
    """Cells, positions and padding of one image."""
    with torch.no_grad():
        cells, position, valid = model.encode_images(model.preprocess_images([x]))
    return cells[0], position[0], ~valid[0]


def grammar_and_rule(model):
    v, layout = model.vocabulary, model.layout
    rule = sequence_rule(v, layout.places, layout.coordinates, layout.padded, layout.max_words)
    return Grammar.of_sequences(v, layout), rule


def without_forced_padding(tokens, logits, layout, end):
    """Leave out the padding of a word after its first, which only the plain loop chooses."""
    kept = []
    for i, token in enumerate(tokens):
        place = i % layout.places
        forced = layout.padded and token == end and place > layout.coordinates
        if not (forced and tokens[i - 1] == end):
            kept.append((token, logits[i]))
    return kept


@pytest.mark.parametrize("kind", SEQUENCES)
def test_same_tokens_and_logits_in_a_batch_of_four_sizes(kind):
    for seed in range(2):
        assert_same_choices(tiny_model(kind, seed=seed), inputs())


@pytest.mark.trains
@pytest.mark.parametrize("kind", TRAINED)
def test_same_tokens_and_logits_with_trained_weights(kind):
    """Sequences of no word, one and more, words of one letter and more."""
    model = trained_model(kind)
    batch = training_batch()
    if kind == "iad_prd":
        assert_same_words(model, batch)
    else:
        assert len(set(assert_same_choices(model, batch))) > 1


def assert_same_choices(model, batch):
    """Returns the numbers of tokens chosen."""
    grammar, rule = grammar_and_rule(model)
    reference, layout = plain(model), model.layout
    memory, skipped = model.remember_images(batch)
    start = model.reader._start(len(batch))
    choices = GreedyDecoder(model.decoder, grammar).decode(memory, start, skipped)
    start = reference.embed(torch.tensor([model.vocabulary.sos]))
    for row, x in enumerate(batch):
        tokens, logits, _ = reference.generate(start, *encoded(model, x), rule, layout.max_inputs)
        kept = without_forced_padding(tokens, logits, layout, model.vocabulary.word_end)
        count = int(choices.lengths[row])
        assert choices.tokens[row, :count].tolist() == [token for token, _ in kept]
        wanted = torch.stack([logit.log_softmax(-1)[token] for token, logit in kept])
        assert (choices.log_probs[row, :count] - wanted).abs().max() < TOLERANCE
    return choices.lengths.tolist()


@pytest.mark.parametrize("kind", SEQUENCES)
def test_all_logits_agree_for_one_image(kind):
    model = tiny_model(kind)
    grammar, rule = grammar_and_rule(model)
    memory, skipped = model.remember_images(inputs()[:1])
    decoder = Watched(model.decoder, grammar)
    decoder.decode(memory, model.reader._start(1), skipped)
    reference = plain(model)
    start = reference.embed(torch.tensor([model.vocabulary.sos]))
    tokens, logits, _ = reference.generate(
        start, *encoded(model, inputs()[0]), rule, model.layout.max_inputs
    )
    kept = without_forced_padding(tokens, logits, model.layout, model.vocabulary.word_end)
    assert len(kept) == len(decoder.log_probs)
    for (token, logit), (chosen, log_probs) in zip(kept, decoder.log_probs, strict=True):
        assert token == int(chosen)
        torch.testing.assert_close(log_probs[0], logit.log_softmax(-1), atol=TOLERANCE, rtol=0)


def test_parallel_reading_is_the_published_one():
    for seed in range(2):
        assert_same_words(tiny_model("iad_prd", seed=seed), inputs())


def assert_same_words(model, batch):
    """Points by the plain loop, then each text by itself."""
    memory, skipped = model.remember_images(batch)
    for words, x in zip(model.reader.read(memory, skipped), batch, strict=True):
        wanted = read_in_turn(model, x)
        assert [(w.place, w.text) for w in words] == [(p, t) for p, t, _ in wanted]
        confidence = [r for _, _, r in wanted]
        assert [w.rec for w in words] == pytest.approx(confidence, abs=TOLERANCE)


def read_in_turn(model, x):
    """Places, texts and confidences of an image's words by the plain loop."""
    v, reference, image = model.vocabulary, plain(model), encoded(model, x)

    def text_rule(tokens):
        if v.word_end in tokens or len(tokens) == model.layout.max_length:
            return None
        allowed = torch.zeros(len(v), dtype=torch.bool)
        allowed[v.first_character : v.word_end + 1] = True
        return allowed

    points_rule = sequence_rule(v, 2, 2, False, model.layout.max_words)
    start = reference.embed(torch.tensor([v.sos]))
    points, _, states = reference.generate(start, *image, points_rule, 99)
    words = []
    for k in range(len(points) // 2):
        pair = points[2 * k : 2 * k + 2]
        start = reference.embed(torch.tensor(pair)) + torch.stack(states[2 * k : 2 * k + 2])
        tokens, logits, _ = reference.generate(start, *image, text_rule, 99)
        chosen = [logit.log_softmax(-1)[t] for t, logit in zip(tokens, logits, strict=True)]
        text = v.decode_text([t for t in tokens if t != v.word_end])
        if text:
            words.append((pair, text, torch.stack(chosen).mean().exp().item()))
    return words


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_batch_gives_what_its_images_give_alone(kind):
    model = tiny_model(kind)
    together = model(inputs())
    for x, output in zip(inputs(), together, strict=True):
        (alone,) = model([x])
        a, b = output["instances"], alone["instances"]
        assert a.pred_texts == b.pred_texts
        torch.testing.assert_close(a.pred_points, b.pred_points)
        torch.testing.assert_close(a.scores, b.scores, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", list(KINDS))
def test_looking_rarely_at_who_is_done_changes_nothing(kind, request):
    """The padding of words then goes in blocks of fixed width."""
    model = tiny_model(kind)
    often = model(inputs())
    request.getfixturevalue("look_rarely")
    for a, b in zip(often, model(inputs()), strict=True):
        assert a["instances"].pred_texts == b["instances"].pred_texts
        torch.testing.assert_close(a["instances"].scores, b["instances"].scores, atol=1e-5, rtol=0)


def test_what_the_memory_of_the_cache_held_before_does_not_matter(monkeypatch):
    from wecromcl_d2.stage2.spts.transformer import Cache

    models = [tiny_model(kind) for kind in KINDS]
    expected = [model(inputs()) for model in models]
    create = Cache.__init__

    def dirty(self, *args):
        create(self, *args)
        for kept in (*self.keys, *self.values):
            kept.fill_(torch.nan)

    monkeypatch.setattr(Cache, "__init__", dirty)
    for model, images in zip(models, expected, strict=True):
        for a, b in zip(images, model(inputs()), strict=True):
            assert a["instances"].pred_texts == b["instances"].pred_texts
            torch.testing.assert_close(a["instances"].scores, b["instances"].scores)


def test_finished_sequences_leave_the_batch(monkeypatch):
    model = tiny_model("compact")
    memory, _ = model.remember_images(inputs())
    (alone,) = model.reader.read(memory.select(torch.tensor([1])), torch.tensor([False]))
    seen = []
    read = decoding._Run._read

    def watch(self):
        seen.append((len(self.rows), len(self.memory.keys[0])))
        return read(self)

    monkeypatch.setattr(decoding._Run, "_read", watch)
    found = model.reader.read(memory, torch.tensor([True, False, True, True]))
    assert set(seen) == {(1, 1)}
    assert [len(words) for words in found] == [0, len(alone), 0, 0]
    assert [word.text for word in found[1]] == [word.text for word in alone]


def test_an_empty_memory_gives_no_word():
    for kind in KINDS:
        model = tiny_model(kind)
        cells = torch.zeros(2, 0, 32)
        memory = model.decoder.remember(cells, cells, torch.zeros(2, 0, dtype=torch.bool))
        assert model.reader.read(memory, torch.tensor([True, True])) == [[], []]
        none = model.decoder.remember(cells[:0], cells[:0], torch.zeros(0, 0, dtype=torch.bool))
        assert model.reader.read(none, torch.zeros(0, dtype=torch.bool)) == []


def test_an_image_without_a_valid_cell_has_no_words_and_disturbs_none():
    model = tiny_model("padded")
    with torch.no_grad():
        cells, position, valid = model.encode_images(model.preprocess_images(inputs()[:2]))
    expected = model.reader.read(
        model.decoder.remember(cells, position, valid), torch.tensor([False, False])
    )
    valid[1] = False
    memory = model.decoder.remember(cells, position, valid)
    found = model.reader.read(memory, ~valid.any(1))
    assert found[1] == []
    assert [word.text for word in found[0]] == [word.text for word in expected[0]]


@pytest.fixture
def look_rarely(monkeypatch):
    """Decode as on devices where a look costs time."""
    start = decoding._Run.__init__

    def rarely(self, *args):
        start(self, *args)
        self.checks_always = False

    monkeypatch.setattr(decoding._Run, "__init__", rarely)


def test_no_look_at_the_device_between_the_planned_ones(monkeypatch, look_rarely):
    """Where looking costs time, a step asks the device for nothing."""
    model = tiny_model("padded")
    looks = []
    look = decoding._Run._check_finished

    def count(self):
        looks.append(self.steps)
        return look(self)

    monkeypatch.setattr(decoding._Run, "_check_finished", count)
    model(inputs())
    assert looks == list(range(0, 8 * len(looks), 8))
    monkeypatch.setattr(decoding._Run, "_check_finished", lambda self: self.steps < 16)
    memory, skipped = model.remember_images(inputs())
    monkeypatch.setattr(torch.Tensor, "item", refuse)
    monkeypatch.setattr(torch.Tensor, "tolist", refuse)
    monkeypatch.setattr(torch.Tensor, "__bool__", refuse)
    monkeypatch.setattr(torch.Tensor, "__int__", refuse)
    monkeypatch.setattr(torch.Tensor, "__float__", refuse)
    GreedyDecoder(model.decoder, grammar_and_rule(model)[0]).decode(
        memory, model.reader._start(4), skipped
    )


def refuse(*_):
    raise AssertionError("the host waits for the device")


def test_a_copied_model_reads_with_its_own_weights():
    model = tiny_model("padded")
    other = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert other.reader.decoder is other.decoder
    assert other.decoder.logits.weight.any()
