import math

import pytest
import torch

from tests.stage2.spts.plain import PlainSPTS
from wecromcl_d2.stage2.spts.encoder import GlobalEncoder, WindowEncoder, sine_position


def test_positions_count_valid_cells_as_one_turn():
    valid = torch.zeros(1, 4, 6, dtype=torch.bool)
    valid[:, :2, :3] = True
    position = sine_position(valid, 8)
    # cell (1, 2) is the last one down and right: y and x are a whole turn
    expected = [math.sin(2 * math.pi), math.cos(2 * math.pi)]
    slow = 2 * math.pi / 10000**0.5
    expected += [math.sin(slow), math.cos(slow)]
    assert position[0, 1, 2].tolist() == pytest.approx(expected * 2, abs=1e-4)
    # cell (0, 0) lies half a turn down and a third right
    assert position[0, 0, 0, 0].item() == pytest.approx(math.sin(math.pi), abs=1e-4)
    assert position[0, 0, 0, 4].item() == pytest.approx(math.sin(2 * math.pi / 3), abs=1e-4)


def encoders():
    torch.manual_seed(0)
    yield GlobalEncoder(16, 4, 2, 24, 0.0)
    yield WindowEncoder(16, 4, 4, 24, 0.0, drop_path=0.0)


@pytest.mark.parametrize("index", [0, 1])
@pytest.mark.parametrize("size", [(4, 7), (10, 5), (11, 13)])
def test_padding_changes_nothing(index, size):
    encoder = list(encoders())[index].eval()
    x = torch.randn(1, *size, 16)
    valid = torch.ones(1, *size, dtype=torch.bool)
    alone = encoder(x, sine_position(valid, 16), valid)
    large = torch.randn(1, 17, 18, 16)
    large[:, : size[0], : size[1]] = x
    valid = torch.zeros(1, 17, 18, dtype=torch.bool)
    valid[:, : size[0], : size[1]] = True
    padded = encoder(large, sine_position(valid, 16), valid)[:, : size[0], : size[1]]
    torch.testing.assert_close(padded, alone, atol=1e-5, rtol=0)
    assert torch.isfinite(padded).all()


def test_window_attention_is_the_one_written_down():
    """One layer, cell by cell: whom it sees, and the bias of their offset."""
    torch.manual_seed(1)
    encoder = WindowEncoder(8, 2, 2, 12, 0.0, drop_path=0.0, window=3).eval()
    layer = encoder.layers[1]
    assert layer.shift == 1
    height, width = 5, 4
    x, valid = torch.randn(1, height, width, 8), torch.ones(1, height, width, dtype=torch.bool)
    own, y = layer.attention, layer.norm1(x)
    q, k, v = (p(y).unflatten(-1, (2, 4)) for p in (own.q, own.k, own.v))
    cells = [(i, j) for i in range(height) for j in range(width)]

    def window(i, j):
        return (i - 1) // 3, (j - 1) // 3

    mixed = torch.zeros(1, height, width, 8)
    for i, j in cells:
        seen = [c for c in cells if window(*c) == window(i, j)]
        for head in range(2):
            score = torch.stack(
                [
                    q[0, i, j, head] @ k[0, a, b, head] / 2
                    + layer.bias[(i - a + 2) * 5 + (j - b + 2), head]
                    for a, b in seen
                ]
            )
            values = torch.stack([v[0, a, b, head] for a, b in seen])
            mixed[0, i, j, 4 * head : 4 * head + 4] = score.softmax(0) @ values
    expected = x + own.out(mixed)
    expected = expected + layer.feedforward(layer.norm2(expected))
    torch.testing.assert_close(layer(x, valid), expected, atol=1e-5, rtol=0)


def test_global_attention_is_the_published_one():
    encoder = GlobalEncoder(16, 4, 2, 24, 0.0).eval()
    weights = {}
    for i, layer in enumerate(encoder.layers):
        stem = f"transformer.encoder.layers.{i}"
        parts = (layer.attention.q, layer.attention.k, layer.attention.v)
        weights[f"{stem}.self_attn.in_proj_weight"] = torch.cat([p.weight for p in parts])
        weights[f"{stem}.self_attn.in_proj_bias"] = torch.cat([p.bias for p in parts])
        for theirs, ours in {
            "self_attn.out_proj": layer.attention.out,
            "linear1": layer.feedforward.inner,
            "linear2": layer.feedforward.outer,
            "norm1": layer.norm1,
            "norm2": layer.norm2,
        }.items():
            weights[f"{stem}.{theirs}.weight"] = ours.weight
            weights[f"{stem}.{theirs}.bias"] = ours.bias
    weights["transformer.encoder.norm.weight"] = encoder.norm.weight
    weights["transformer.encoder.norm.bias"] = encoder.norm.bias
    x, valid = torch.randn(1, 3, 4, 16), torch.ones(1, 3, 4, dtype=torch.bool)
    valid[:, :, 3] = False
    position = sine_position(valid, 16)
    plain = PlainSPTS(weights, 4).encode(
        x[0].flatten(0, 1), position[0].flatten(0, 1), ~valid.flatten()
    )
    ours = encoder(x, position, valid)[0].flatten(0, 1)
    seen = valid.flatten()
    torch.testing.assert_close(ours[seen], plain[seen], atol=1e-5, rtol=0)


def test_layers_are_skipped_in_training_alone():
    encoder = WindowEncoder(8, 2, 3, 12, 0.0, drop_path=0.5, window=3)
    assert [layer.drop_path for layer in encoder.layers] == [0.0, 0.25, 0.5]
    x, valid = torch.randn(2, 3, 3, 8), torch.ones(2, 3, 3, dtype=torch.bool)
    assert torch.equal(encoder.eval()(x, x, valid), encoder(x, x, valid))
    encoder.train()
    assert not torch.equal(encoder(x, x, valid), encoder(x, x, valid))
