"""The published weights: their names and shapes as their code gives them."""

import argparse
from functools import cache

import pytest
import torch
from detectron2.modeling import build_model

from tests.stage2.spts.helpers import to_official
from tests.stage2.spts.plain import PlainSPTS
from wecromcl_d2.cli import convert as tool
from wecromcl_d2.stage2.spts.official_names import convert, official_names
from wecromcl_d2.tasks import load_config

ATTENTION = {
    "in_proj_weight": (768, 256),
    "in_proj_bias": (768,),
    "out_proj.weight": (256, 256),
    "out_proj.bias": (256,),
}


def linear(stem, outputs, inputs):
    return {f"{stem}.weight": (outputs, inputs), f"{stem}.bias": (outputs,)}


def norm(stem, channels=256):
    return {f"{stem}.weight": (channels,), f"{stem}.bias": (channels,)}


def batch_norm(stem, channels, counted):
    shapes = {f"{stem}.{x}": (channels,) for x in ("weight", "bias", "running_mean", "running_var")}
    return shapes | ({f"{stem}.num_batches_tracked": ()} if counted else {})


def resnet50(counted):
    """Torchvision's, without its classifier."""
    shapes = {"conv1.weight": (64, 3, 7, 7)} | batch_norm("bn1", 64, counted)
    inputs = 64
    for stage, (blocks, width) in enumerate([(3, 64), (4, 128), (6, 256), (3, 512)], start=1):
        for block in range(blocks):
            stem = f"layer{stage}.{block}"
            sides = [(1, inputs, width), (3, width, width), (1, width, 4 * width)]
            for i, (side, before, after) in enumerate(sides, start=1):
                shapes[f"{stem}.conv{i}.weight"] = (after, before, side, side)
                shapes |= batch_norm(f"{stem}.bn{i}", after, counted)
            if block == 0:
                shapes[f"{stem}.downsample.0.weight"] = (4 * width, inputs, 1, 1)
                shapes |= batch_norm(f"{stem}.downsample.1", 4 * width, counted)
            inputs = 4 * width
    return {f"backbone.0.body.{name}": shape for name, shape in shapes.items()}


def blocks(stem):
    return linear(f"{stem}.linear1", 1024, 256) | linear(f"{stem}.linear2", 256, 1024)


@cache
def published_shapes(source):
    tokens, positions = (1100, 1621) if source == "spts" else (1101, 121)
    shapes = resnet50(counted=source == "sptsv2")
    shapes |= {"input_proj.weight": (256, 2048, 1, 1), "input_proj.bias": (256,)}
    stem = "transformer"
    shapes[f"{stem}.embedding.word_embeddings.weight"] = (tokens, 256)
    shapes[f"{stem}.embedding.position_embeddings.weight"] = (positions, 256)
    shapes |= norm(f"{stem}.embedding.LayerNorm") | norm(f"{stem}.decoder.norm")
    for i in range(6):
        layer = f"{stem}.decoder.layers.{i}"
        for attention in ("self_attn", "multihead_attn"):
            shapes |= {f"{layer}.{attention}.{k}": v for k, v in ATTENTION.items()}
        shapes |= blocks(layer)
        for k in (1, 2, 3):
            shapes |= norm(f"{layer}.norm{k}")
        if source == "spts":
            layer = f"{stem}.encoder.layers.{i}"
            shapes |= {f"{layer}.self_attn.{k}": v for k, v in ATTENTION.items()} | blocks(layer)
        else:
            layer = f"{stem}.layers.0.blocks.{i}"
            shapes |= linear(f"{layer}.attn.qkv", 768, 256) | linear(f"{layer}.attn.proj", 256, 256)
            shapes[f"{layer}.attn.relative_position_bias_table"] = (81, 8)
            shapes[f"{layer}.attn.relative_position_index"] = (25, 25)
            shapes |= linear(f"{layer}.mlp.fc1", 1024, 256) | linear(f"{layer}.mlp.fc2", 256, 1024)
        shapes |= norm(f"{layer}.norm1") | norm(f"{layer}.norm2")
    if source == "spts":
        shapes |= norm(f"{stem}.encoder.norm")
    for i, outputs in enumerate((256, 256, tokens)):
        shapes |= linear(f"vocab_embed.layers.{i}", outputs, 256)
    return shapes


def made_weights(source):
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.rand(shape, generator=generator) * 0.1
        for name, shape in published_shapes(source).items()
    }


@cache
def model(source):
    config = {"spts": "Base-SPTS", "sptsv2": "sptsv2_pretrain"}[source]
    return build_model(
        load_config(f"configs/stage2/spts/{config}.yaml", ["MODEL.DEVICE", "cpu"])
    ).eval()


@pytest.mark.parametrize("source", ["spts", "sptsv2"])
def test_every_published_weight_finds_its_place(source):
    conversion = convert(made_weights(source), source)
    assert (conversion.missing, conversion.unused) == ([], [])
    wanted = model(source).state_dict()
    found = {name: value.shape for name, value in conversion.weights.items()}
    counters = {name for name in wanted if name.endswith("num_batches_tracked")}
    assert set(wanted) - set(found) <= counters | {"charset_state.code_points"}
    assert set(found) - set(wanted) <= {n for n in found if n.endswith("num_batches_tracked")}
    assert all(shape == wanted[name].shape for name, shape in found.items() if name in wanted)
    indices = 6 if source == "sptsv2" else 0
    assert len(conversion.idle) == indices


@pytest.mark.parametrize("source", ["spts", "sptsv2"])
def test_there_and_back_again(source):
    weights = made_weights(source)
    back = to_official(convert(weights, source).weights, source)
    left_out = {name for name in weights if name.endswith("relative_position_index")}
    assert set(back) == set(weights) - left_out
    assert all(torch.equal(back[name], weights[name]) for name in back)


def test_the_published_layers_compute_the_same():
    """Encoder, decoder and classifier of SPTS in their published size."""
    ours = model("spts")
    weights = made_weights("spts")
    for value in weights.values():
        if value.dim() > 1:
            value.sub_(0.05)
    ours.load_state_dict(convert(weights, "spts").weights, strict=False)
    plain = PlainSPTS(weights, 8)
    cells = torch.randn(1, 3, 4, 256)
    valid = torch.ones(1, 3, 4, dtype=torch.bool)
    position = torch.randn(1, 3, 4, 256)
    tokens = torch.tensor([1098, 3, 999, 1033, 1096])
    with torch.no_grad():
        flat = position[0].flatten(0, 1)
        memory = plain.encode(cells[0].flatten(0, 1), flat)
        expected = plain.classify(plain.decode(plain.embed(tokens), memory, flat))
        encoded = ours.encoder(cells, position, valid).flatten(1, 2)
        seen = ours.decoder.remember(encoded, position.flatten(1, 2), None)
        places = torch.arange(5)[None]
        states = ours.decoder(ours.decoder.embed(tokens[None], places), places, seen, None)
        logits = ours.decoder.classify(states)[0]
    scale = expected.abs().max()
    torch.testing.assert_close(logits / scale, expected / scale, atol=1e-5, rtol=0)


def test_what_is_missing_or_foreign_is_named():
    weights = made_weights("spts")
    del weights["input_proj.bias"]
    weights["query_embed.weight"] = torch.zeros(1)
    conversion = convert({f"module.{k}": v for k, v in weights.items()}, "spts")
    assert conversion.missing == ["input_proj.bias"]
    assert conversion.unused == ["query_embed.weight"]


def test_other_sources_are_unknown():
    with pytest.raises(KeyError):
        official_names("sptsv3")


def run(tmp_path, content, *options, status=0):
    torch.save(content, tmp_path / "in.pth")
    files = [str(tmp_path / "in.pth"), str(tmp_path / "out.pth")]
    assert tool.main(["--source", "spts", *options, *files]) == status
    if status:
        return None
    return torch.load(tmp_path / "out.pth", weights_only=True)["model"]


def test_the_command_converts_a_checkpoint_and_states_its_terms(tmp_path, capsys):
    content = {
        "model": made_weights("spts"),
        "args": argparse.Namespace(lr=5e-4),
        "epoch": 349,
    }
    converted = run(tmp_path, content)
    output = capsys.readouterr().out
    assert "non-commercial research only" in output
    result = model("spts").load_state_dict(converted, strict=False)
    assert result.unexpected_keys == []
    assert all(name.endswith("num_batches_tracked") for name in result.missing_keys)
    assert converted["charset_state.code_points"].numel() == 96


def test_the_command_refuses_what_does_not_fit(tmp_path, capsys):
    weights = made_weights("spts")
    del weights["transformer.decoder.norm.bias"]
    weights["extra"] = torch.zeros(1)
    run(tmp_path, {"model": weights}, status=2)
    output, error = capsys.readouterr()
    assert "does not fit" in error
    assert "missing: transformer.decoder.norm.bias" in output
    assert "not used: extra" in output
    assert not (tmp_path / "out.pth").exists()
    weights = made_weights("spts")
    weights["transformer.embedding.word_embeddings.weight"] = torch.zeros(1101, 256)
    run(tmp_path, {"model": weights}, status=2)
    assert "(1101, 256), but the model has (1100, 256)" in capsys.readouterr().err
