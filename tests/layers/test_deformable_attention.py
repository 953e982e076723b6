import math

import pytest
import torch

from wecromcl_d2.layers import deformable_attention
from wecromcl_d2.layers.deformable_attention import (
    DeformableAttention,
    sample_by_grid,
    sample_maps,
    sample_with_embedding_bag,
)
from wecromcl_d2.layers.image_encoder import DeformableEncoder

SIZES = ((5, 7), (3, 2))
BOTH = pytest.mark.parametrize("sample", [sample_by_grid, sample_with_embedding_bag])


def draw(images=2, queries=6, heads=2, points=3, channels=4, spread=3.0):
    """Values, positions (some far outside) and weights in double precision."""
    cells = sum(h * w for h, w in SIZES)
    value = torch.randn(images, cells, heads, channels, dtype=torch.float64)
    positions = torch.randn(images, queries, heads, len(SIZES), points, 2, dtype=torch.float64)
    weights = torch.rand(images, queries, heads, len(SIZES), points, dtype=torch.float64)
    return value, positions * spread + 2, weights


def written_out(value, positions, weights):
    """The definition, cell by cell: a cell gives (1 - |dx|) (1 - |dy|) of its value."""
    n, _, heads, channels = value.shape
    result = torch.zeros(n, positions.shape[1], heads, channels, dtype=value.dtype)
    for index in torch.cartesian_prod(*(torch.arange(s) for s in weights.shape)).tolist():
        image, query, head, level, _ = index
        x, y = positions[tuple(index)].tolist()
        height, width = SIZES[level]
        first = sum(h * w for h, w in SIZES[:level])
        for row in range(height):
            for column in range(width):
                near_x, near_y = 1 - abs(x - column - 0.5), 1 - abs(y - row - 0.5)
                if near_x > 0 and near_y > 0:
                    cell = value[image, first + row * width + column, head]
                    share = near_x * near_y * weights[tuple(index)]
                    result[image, query, head] += share * cell
    return result.flatten(2)


@BOTH
def test_samples_are_bilinear_and_zero_outside(sample):
    value, positions, weights = draw()
    torch.testing.assert_close(
        sample(value, SIZES, positions, weights), written_out(value, positions, weights)
    )


@BOTH
def test_whole_cells_edges_and_far_places(sample):
    value, positions, weights = draw(images=1, queries=7, points=1)
    places = [(0.5, 0.5), (1.5, 2.5), (0.0, 0.0), (-0.5, 1.5), (2.0, 3.0), (1e6, 1.5), (0.5, -1e6)]
    positions[0] = torch.tensor(places, dtype=torch.float64)[:, None, None, None]
    torch.testing.assert_close(
        sample(value, SIZES, positions, weights), written_out(value, positions, weights)
    )


@BOTH
def test_gradients_are_those_of_the_function(sample):
    inputs = [x.requires_grad_() for x in draw(images=2, queries=3, points=2, channels=3)]
    torch.autograd.gradcheck(lambda v, p, w: sample(v, SIZES, p, w), inputs)


def test_both_ways_agree_in_values_and_gradients(monkeypatch):
    monkeypatch.setattr(deformable_attention, "QUERIES_AT_ONCE", 8)
    inputs = draw(images=3, queries=29, heads=4, points=4, channels=5)
    grad = torch.randn(3, 29, 20, dtype=torch.float64)
    found = []
    for sample in (sample_by_grid, sample_with_embedding_bag):
        own = [x.clone().requires_grad_() for x in inputs]
        output = sample(own[0], SIZES, *own[1:])
        output.backward(grad)
        found.append([output.detach(), *(x.grad for x in own)])
    for by_grid, by_bags in zip(*found, strict=True):
        torch.testing.assert_close(by_bags, by_grid)


@pytest.mark.parametrize("place", [math.nan, math.inf, -math.inf])
def test_places_that_are_no_numbers_stay_inside_the_table(place):
    value, positions, weights = draw(images=1)
    positions[0, 0, 0, 0, 0, 0] = place
    positions.requires_grad_()
    output = sample_with_embedding_bag(value, SIZES, positions, weights)
    output.sum().backward()
    assert math.isnan(place) == bool(output[0, 0, :4].isnan().any())
    assert torch.isfinite(output[0, 1:]).all()


def test_half_precision_is_sampled_in_full():
    value, positions, weights = (x.float() for x in draw())
    rounded = value.bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        output = sample_maps(rounded, SIZES, positions, weights)
    expected = sample_by_grid(rounded.float(), SIZES, positions, weights)
    torch.testing.assert_close(output, expected)


def test_heads_must_divide_the_channels():
    with pytest.raises(ValueError, match="10 channels cannot be shared by 4 heads"):
        DeformableAttention(channels=10, heads=4, maps=1, points=1)


def encoder():
    options = {"heads": 4, "points": 2, "feedforward": 32, "dropout": 0.0}
    return DeformableEncoder(channels=32, maps=2, layers=2, **options).double()


def test_the_last_layer_leaves_out_only_what_nobody_reads():
    """The same result and gradients as with all tokens in all layers."""
    model, sizes = encoder(), ((4, 6), (2, 3))
    for layer in model.layers:
        torch.nn.init.normal_(layer.attention.sampling_offsets.weight, std=0.1)
        torch.nn.init.normal_(layer.attention.attention_weights.weight)
    maps = [torch.randn(2, 32, *size, dtype=torch.float64) for size in sizes]
    calls = []
    model.layers[0].register_forward_pre_hook(lambda layer, inputs: calls.append(inputs))
    part = model(maps, [[size] * 2 for size in sizes], None)
    part.square().sum().backward()
    part_grads = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    x, *others = [y.detach() if isinstance(y, torch.Tensor) else y for y in calls[0]]
    for layer in model.layers:
        x = layer(x, *others)
    whole = x[:, -6:].transpose(1, 2).unflatten(2, sizes[-1])
    whole.square().sum().backward()
    torch.testing.assert_close(part, whole)
    for name, parameter in model.layers.named_parameters(prefix="layers"):
        torch.testing.assert_close(part_grads[name], parameter.grad, msg=name)


def test_grids_are_kept_by_size_and_not_above_their_bound(monkeypatch):
    from wecromcl_d2.layers import image_encoder

    kept = image_encoder._kept_grids
    kept.cache_clear()
    model = encoder()

    def run(height, width, images=1, true=None):
        sizes = [(2 * height, 2 * width), (height, width)]
        maps = [torch.randn(images, 32, *size, dtype=torch.float64) for size in sizes]
        extents = [[size] * images for size in sizes]
        if true:
            extents[1][0] = true
        model(maps, extents, None)
        return kept.cache_info()

    assert run(2, 3).misses == 1
    assert run(2, 3).misses == 1 and run(2, 3, images=4).misses == 1
    assert run(3, 2).misses == 2
    assert run(2, 3, images=2, true=(1, 3)).misses == 3
    monkeypatch.setattr(image_encoder, "MOST_TOKENS_KEPT", 10)
    assert run(5, 5).misses == 3
