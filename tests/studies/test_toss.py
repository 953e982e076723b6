"""Queries that are matched with words by reading alone."""

import math

import pytest
import torch
from detectron2.modeling import build_model

import projects.studies  # noqa: F401  (registers the parts)
from projects.studies.ifl import words_without_points
from projects.studies.toss import match_words, pad_words, read_words
from wecromcl_d2.data.text import Charset
from wecromcl_d2.stage2.spts.vocabulary import Vocabulary
from wecromcl_d2.tasks import load_config

CONFIG = "projects/studies/configs/toss.yaml"
LETTERS = Vocabulary(Charset("abc"), 0)
A, B, C, END = 0, 1, 2, LETTERS.word_end


def chances(*queries):
    """(N, L, V) with 0.7 for the named token of each place and the rest for all others."""
    probs = torch.full((len(queries), len(queries[0]), len(LETTERS)), 0.3 / (len(LETTERS) - 1))
    for query, tokens in zip(probs, queries, strict=True):
        query[torch.arange(len(tokens)), torch.tensor(tokens)] = 0.7
    return probs


def match(probs, *words):
    return match_words(probs.log(), *pad_words(words, LETTERS, probs.shape[1]))


def test_words_are_padded_with_their_end():
    tokens, read = pad_words([[A, B], [C]], LETTERS, 4)
    assert tokens.tolist() == [[A, B, END, END], [C, END, END, END]]
    assert read.tolist() == [[True, True, True, False], [True, True, False, False]]
    assert pad_words([], LETTERS, 4)[0].shape == (0, 4)


def test_each_word_gets_the_query_that_reads_it():
    probs = chances([C, END, END], [LETTERS.eos, END, END], [A, B, END])
    assert match(probs, [C], [A, B]) == [0, 2]
    assert match(probs, [A, B], [C]) == [2, 0]
    assert match(probs) == []


def test_a_query_reads_one_word_and_the_loss_of_all_is_least():
    probs = chances([A, END], [B, END])
    probs[0, 0, :2] = torch.tensor([0.4, 0.3])  # reads "a" and "b"
    probs[1, 0, :2] = torch.tensor([0.01, 0.6])  # reads "b", and hardly "a"
    assert match(probs, [B], [A]) == [1, 0]
    assert match(probs, [A], [A]) in ([0, 1], [1, 0])


def test_what_a_query_reads():
    words, lengths = read_words(chances([B, A, END], [END, END, C], [C, C, C]), LETTERS)
    # A word has a character at least, and ends at the last place.
    assert [word.text for word in words][:1] == ["ba"]
    assert [len(word.text) for word in words] == lengths.tolist() == [2, 1, 2]
    other = 0.3 / (len(LETTERS) - 1)
    expected = [0.7, (other * 0.7) ** 0.5, (0.7 * 0.7 * other) ** (1 / 3)]
    assert [word.rec for word in words] == pytest.approx(expected)
    assert words[0].characters.shape == (2, 3)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return build_model(load_config(CONFIG, ["MODEL.SPTS.MAX_WORDS", "5"]))


def image(seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (3, 64, 96), generator=generator).to(torch.uint8)


def batch(*texts):
    words = [words_without_points(own, (64, 96)) for own in texts]
    return [{"image": image(seed), "instances": own} for seed, own in enumerate(words)]


def test_targets_are_words_or_none(model):
    vocabulary, length = model.vocabulary, model.decoder.length
    log_probs = torch.zeros(5, length, len(vocabulary)).log_softmax(-1)
    word = vocabulary.encode_text("ab", 8)
    log_probs[3, 0, word[0]] += 1
    targets, weights = model.write_targets(log_probs, [word])
    assert targets[3, :3].tolist() == [*word, vocabulary.word_end]
    assert weights[3].tolist() == [1, 1, 1] + [0] * (length - 3)
    others = [0, 1, 2, 4]
    assert (targets[others, 0] == vocabulary.eos).all()
    assert weights[others].tolist() == [[pytest.approx(0.3)] + [0] * (length - 1)] * 4


def test_neither_order_nor_place_of_the_words_counts(model):
    model.train()
    losses = []
    for texts in (["one", "two", "six"], ["six", "one", "two"]):
        inputs = batch(texts, [])
        losses.append(float(model(inputs)["loss_reading"].detach()))
    inputs[0]["instances"].gt_points += 20
    inputs[0]["instances"].gt_located[:] = True
    losses.append(float(model(inputs)["loss_reading"].detach()))
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-5)
    # Before any training a character is as likely as any other.
    assert losses[0] == pytest.approx(math.log(len(model.vocabulary)), rel=0.3)


def test_words_are_read_and_located(model):
    (found,) = model.eval()([{"image": image(0), "height": 128, "width": 192}])
    points = found["instances"].pred_points
    assert points.shape == (5, 2)
    assert ((points >= 0) & (points <= torch.tensor([192, 128]))).all()
    assert all(found["instances"].pred_texts)
    assert ((found["instances"].scores > 0) & (found["instances"].scores <= 1)).all()


def test_it_learns_to_read_an_image():
    torch.manual_seed(0)
    own = build_model(load_config(CONFIG, ["MODEL.SPTS.MAX_WORDS", "3"])).train()
    optimizer = torch.optim.AdamW(own.parameters(), 1e-3)
    (x,) = batch(["one", "six"])
    x["image"] = x["image"][:, :32, :48]
    for _ in range(30):
        optimizer.zero_grad()
        own([x])["loss_reading"].backward()
        optimizer.step()
    read = own.eval()([x])[0]["instances"]
    best = read.scores.topk(2).indices
    assert {*read.pred_texts[best]} == {"one", "six"}
