"""Holistic contrast: what it has in common with the contrast of single words, and what not."""

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.utils.events import EventStorage

import projects.studies  # noqa: F401  (registers the parts)
from projects.studies.holistic import mean_of_words
from wecromcl_d2.tasks import load_config

CONFIG = "configs/quick/anchors.yaml"


def build(name):
    return build_model(load_config(CONFIG, ["MODEL.META_ARCHITECTURE", name]))


def batch(queries):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (len(queries), 3, 32, 48), generator=generator)
    return [
        {"image": image.to(torch.uint8), "queries": own, "negatives": []}
        for image, own in zip(images, queries, strict=True)
    ]


def losses(model, inputs):
    with EventStorage():
        return {name: float(loss.detach()) for name, loss in model(inputs).items()}


def test_words_are_averaged_by_image():
    features = torch.tensor([[1.0, 0.0], [3.0, 2.0], [5.0, 5.0]])
    assert mean_of_words(features, [2, 1]).tolist() == [[2.0, 1.0], [5.0, 5.0]]


def test_one_word_per_image_is_the_contrast_of_words():
    holistic, plain = build("HolisticWeCromCL").train(), build("WeCromCL").train()
    plain.load_state_dict(holistic.state_dict())
    inputs = batch([["one"], ["two"], ["three"]])
    expected = losses(plain, inputs)
    assert losses(holistic, inputs) == pytest.approx(expected, rel=1e-5)


def test_the_order_of_the_words_does_not_count():
    model = build("HolisticWeCromCL").train()
    first = losses(model, batch([["one", "two"], ["three"]]))
    assert losses(model, batch([["two", "one"], ["three"]])) == pytest.approx(first, rel=1e-5)
    other = losses(model, batch([["one", "four"], ["three"]]))
    assert other["loss_t2i"] != pytest.approx(first["loss_t2i"], rel=1e-5)


def test_the_pooled_image_feature_does_not_depend_on_the_words():
    model = build("PooledWeCromCL").train()
    feature = torch.rand(2, model.activation.channel_proj.in_features, 3, 4)
    text = torch.rand(2, 128)
    pooled = model.pool_images(text, feature, None)
    assert pooled.shape == (2, 2, 128)
    assert torch.equal(pooled, model.pool_images(text + 1, feature, None))
    with EventStorage():
        sum(model(batch([["one"], ["two"]])).values()).backward()
    assert model.image_query.grad.any()


def test_maps_of_a_pooled_image_follow_the_similarity_of_its_cells():
    model = build("PooledWeCromCL").eval()
    words = model.encode_words(["one", "two"])
    channels = model.activation.channel_proj.in_features
    query, text = words[:, :channels], words[:, channels:]
    cells = torch.rand(1, channels, 2, 3)
    one_cell_each = torch.eye(6).view(1, 6, 2, 3)
    values = model.activation.pool(one_cell_each, cells)[0]
    by_hand = text @ values.T
    found = query @ cells[0].flatten(1)
    assert torch.allclose(found - found[:, :1], by_hand - by_hand[:, :1], atol=1e-4)


@pytest.mark.parametrize("name", ["HolisticWeCromCL", "PooledWeCromCL"])
def test_words_are_located(name):
    image = {"image": batch([[]])[0]["image"], "texts": ["one", "two", "one"]}
    (found,) = build(name).eval()([image])
    points = found["instances"].pred_points
    assert points.shape == (3, 2)
    assert ((points >= 0) & (points <= torch.tensor([48, 32]))).all()
