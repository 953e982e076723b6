"""The published start values."""

import math

import pytest
import torch
from detectron2.config import get_cfg
from detectron2.modeling import build_model

from wecromcl_d2 import add_wecromcl_config


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    cfg = get_cfg()
    add_wecromcl_config(cfg)
    cfg.merge_from_file("configs/stage1/official.yaml")
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.RESNETS.DEPTH, cfg.MODEL.RESNETS.RES2_OUT_CHANNELS = 18, 64
    cfg.MODEL.TEXT_ENCODER.LAYERS, cfg.MODEL.IMAGE_ENCODER.LAYERS = 2, 1
    return build_model(cfg)


def spread(weight):
    return weight.detach().std().item()


def fused_convs(model):
    heads = [conv for head in model.image_encoder.heads for conv in head.convs.values()]
    return [*model.backbone.laterals, *heads]


def test_fusing_convolutions_and_their_normalisations(model):
    for conv in fused_convs(model):
        fan_in = conv.weight[0].numel()
        assert spread(conv.weight) == pytest.approx(math.sqrt(2 / fan_in), rel=0.03)
        assert (conv.norm.weight == 1).all()
        assert conv.norm.bias.unique().tolist() == pytest.approx([1e-4])
    for layer in model.backbone.layers:
        for fusion in (*layer.top_down, *layer.bottom_up):
            assert (fusion.weight == 1).all()
            assert spread(fusion.conv.weight) == pytest.approx(math.sqrt(2 / 256), rel=0.03)


def test_deformable_attention_looks_along_eight_rays(model):
    (layer,) = model.image_encoder.encoder.layers
    attention = layer.attention
    assert not attention.sampling_offsets.weight.any()
    assert not attention.attention_weights.weight.any()
    offsets = attention.sampling_offsets.bias.view(8, 2, 4, 2)
    steps = torch.arange(1.0, 5.0)
    torch.testing.assert_close(offsets[0, 0], torch.stack([steps, 0 * steps], 1), atol=1e-5, rtol=0)
    torch.testing.assert_close(offsets[1, 1], torch.stack([steps, steps], 1), atol=1e-5, rtol=0)
    assert torch.allclose(offsets.abs().amax(-1), torch.arange(1.0, 5.0), atol=1e-5)
    assert spread(model.image_encoder.encoder.level_embed) == pytest.approx(1, rel=0.15)


def test_the_text_encoder(model):
    text = model.text_encoder
    wanted = {
        text.token_embedding.weight: 0.02,
        text.positional_embedding: 0.01,
        text.projection.weight: 512**-0.5,
        text.layers[0].qkv.weight: 512**-0.5,
        text.layers[0].mlp_in.weight: 1024**-0.5,
        text.layers[0].mlp_out.weight: (512 * 4) ** -0.5,
    }
    for weight, expected in wanted.items():
        assert spread(weight) == pytest.approx(expected, rel=0.05)
    # 2 * 12 layers of 512 channels; the model of this test has 2.
    assert spread(text.layers[1].attention_out.weight) == pytest.approx((2 * 2 * 512) ** -0.5, 0.05)


def test_the_temperature(model):
    assert model.logit_scale.item() == pytest.approx(math.log(1 / 0.07))
