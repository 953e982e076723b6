import math

import pytest
import torch

from wecromcl_d2.stage1.activation import TextActivation


@pytest.fixture
def module():
    torch.manual_seed(0)
    return TextActivation(in_channels=6, channels=10).double()


def dense(module, text, feature):
    """The attention as the paper writes it, with full-width maps."""
    x = module.channel_proj(feature.flatten(2).transpose(1, 2))
    logits = module.q_proj(text) @ module.k_proj(x).transpose(1, 2) / math.sqrt(10)
    weights = logits.softmax(-1)
    return weights, module.out_proj(weights @ module.v_proj(x))


def test_folded_attention_equals_the_dense_one(module):
    text = torch.randn(2, 5, 10, dtype=torch.float64)
    feature = torch.randn(2, 6, 3, 4, dtype=torch.float64)
    maps = module(module.project_queries(text), feature)
    weights, pooled = dense(module, text, feature)
    torch.testing.assert_close(maps.flatten(2), weights)
    torch.testing.assert_close(module.pool(maps, feature), pooled)


def test_cells_outside_the_image_get_nothing(module):
    text = torch.randn(1, 5, 10, dtype=torch.float64)
    feature = torch.randn(1, 6, 3, 4, dtype=torch.float64)
    valid = torch.zeros(1, 3, 4, dtype=torch.bool)
    valid[:, :2, :3] = True
    maps = module(module.project_queries(text), feature, valid)
    assert (maps[..., 2, :] == 0).all() and (maps[..., 3] == 0).all()
    cut = module(module.project_queries(text), feature[..., :2, :3])
    torch.testing.assert_close(maps[..., :2, :3], cut)


def test_the_same_texts_for_all_images_need_no_copies(module):
    text = torch.randn(5, 10, dtype=torch.float64)
    feature = torch.randn(2, 6, 3, 4, dtype=torch.float64)
    shared = module(module.project_queries(text), feature)
    copied = module(module.project_queries(text.expand(2, -1, -1)), feature)
    torch.testing.assert_close(shared, copied)


def test_a_single_text_keeps_its_dimension(module):
    text = torch.randn(1, 1, 10, dtype=torch.float64)
    feature = torch.randn(1, 6, 3, 4, dtype=torch.float64)
    maps = module(module.project_queries(text), feature)
    assert maps.shape == (1, 1, 3, 4)
    assert module.pool(maps, feature).shape == (1, 1, 10)


def test_the_surroundings_of_a_peak_are_pooled_as_a_map_that_is_zero_elsewhere(module):
    maps = torch.rand(2, 3, 6, 7, dtype=torch.float64)
    feature = torch.randn(2, 6, 6, 7, dtype=torch.float64)
    points = torch.tensor([[0.5, 0.5], [6.5, 2.5], [3.5, 5.5], [3.5, 2.5]]).expand(2, 3, 4, 2)
    pooled = module.pool_windows(maps, feature, points, 3)
    for number, (x, y) in enumerate(points[0, 0].long().tolist()):
        around = torch.zeros_like(maps)
        window = (..., slice(max(y - 1, 0), y + 2), slice(max(x - 1, 0), x + 2))
        around[window] = maps[window]
        around /= around.sum((-2, -1), keepdim=True)
        torch.testing.assert_close(pooled[:, :, number], module.pool(around, feature))
