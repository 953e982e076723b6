"""Places that are read off a reader's attention."""

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.utils.events import EventStorage

import projects.studies  # noqa: F401  (registers the parts)
from wecromcl_d2.tasks import load_config


@pytest.fixture(scope="module")
def model():
    return build_model(load_config("projects/studies/configs/ifl.yaml"))


def image(height=64, width=96):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (3, height, width), generator=generator).to(torch.uint8)


def test_it_learns_from_queries_without_points(model):
    inputs = [
        {"image": image(), "queries": ["one", "two"], "negatives": []},
        {"image": image(), "queries": ["three"], "negatives": []},
    ]
    with EventStorage():
        losses = model.train()(inputs)
    assert list(losses) == ["loss_sequence"]
    losses["loss_sequence"].backward()
    assert model.decoder.layers[-1].cross_attention.q.weight.grad.any()


def test_maps_are_of_each_word_alone(model):
    model.eval()
    with torch.no_grad():
        both = model.attention_maps({"image": image()}, ["ab", "longer"])
        one = model.attention_maps({"image": image()}, ["ab"])
    assert both.shape == (2, 4, 6)
    assert torch.allclose(both.sum((1, 2)), torch.ones(2), atol=1e-5)
    assert torch.allclose(both[0], one[0], atol=1e-6)
    assert not torch.allclose(both[0], both[1], atol=1e-6)


def test_maps_are_the_attention_of_the_last_layer(model):
    """Of a word of one character, by hand from queries and keys."""
    model.eval()
    seen = {}
    cross = model.decoder.layers[-1].cross_attention
    hooks = [
        getattr(cross, name).register_forward_hook(
            lambda module, args, output, name=name: seen.update({name: output[0]})
        )
        for name in ("q", "k")
    ]
    with torch.no_grad():
        (found,) = model.attention_maps({"image": image()}, ["a"])
    for hook in hooks:
        hook.remove()
    query, keys = (seen[name].unflatten(-1, (4, 32)) for name in ("q", "k"))
    by_hand = [(keys[:, head] @ query[0, head] / 32**0.5).softmax(0) for head in range(4)]
    assert torch.allclose(found.flatten(), sum(by_hand) / 4, atol=1e-5)


def test_words_are_located(model):
    x = {"image": image(), "texts": ["one", "two", "one", "?"], "height": 128, "width": 192}
    (found, nothing) = model.eval()([x, x | {"texts": []}])
    points = found["instances"].pred_points
    assert list(found["instances"].pred_texts) == ["one", "two", "one"]
    assert ((points >= 0) & (points <= torch.tensor([192, 128]))).all()
    assert len(nothing["instances"]) == 0
