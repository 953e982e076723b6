import math

import pytest
import torch

from wecromcl_d2.stage1.losses import cosine_similarity, image_to_text_loss, text_to_image_loss

SCALE = torch.tensor(math.log(2.0))


def cross_entropy(scores, right):
    """Of one list of similarities at twice their size."""
    return math.log(sum(math.exp(2 * s) for s in scores)) - 2 * scores[right]


def test_one_query_per_image_is_the_published_loss():
    similarity = torch.tensor([[0.9, 0.1, -0.2], [0.3, 0.5, 0.4]])  # two queries, one negative
    owner = torch.tensor([0, 1])
    i2t = image_to_text_loss(similarity, SCALE, owner, slice(0, 2))
    expected = cross_entropy([0.9, 0.1, -0.2], 0) + cross_entropy([0.3, 0.5, 0.4], 1)
    assert i2t.item() == pytest.approx(expected, abs=1e-6)
    t2i = text_to_image_loss(similarity[:, :2], SCALE, owner)
    expected = (cross_entropy([0.9, 0.3], 0) + cross_entropy([0.1, 0.5], 1)) / 2
    assert t2i.item() == pytest.approx(expected, abs=1e-6)


def test_queries_of_one_image_are_no_rivals():
    similarity = torch.tensor([[0.9, 0.8, 0.1, -0.2], [0.3, 0.2, 0.5, 0.4]])
    owner = torch.tensor([0, 0, 1])
    i2t = image_to_text_loss(similarity, SCALE, owner, slice(0, 3))
    expected = (
        cross_entropy([0.9, 0.1, -0.2], 0)
        + cross_entropy([0.8, 0.1, -0.2], 0)
        + cross_entropy([0.3, 0.2, 0.5, 0.4], 2)
    )
    assert i2t.item() == pytest.approx(expected, abs=1e-6)
    t2i = text_to_image_loss(similarity[:, :3], SCALE, owner)
    columns = [([0.9, 0.3], 0), ([0.8, 0.2], 0), ([0.1, 0.5], 1)]
    assert t2i.item() == pytest.approx(sum(cross_entropy(*c) for c in columns) / 3, abs=1e-6)


def test_shares_of_two_processes_add_up():
    similarity = torch.randn(4, 9)
    owner = torch.tensor([0, 1, 1, 2, 3, 3, 3])
    whole = image_to_text_loss(similarity, SCALE, owner, slice(0, 7))
    first = image_to_text_loss(similarity[:2], SCALE, owner, slice(0, 3))
    second = image_to_text_loss(similarity[2:], SCALE, owner - 2, slice(3, 7))
    assert (first + second).item() == pytest.approx(whole.item(), rel=1e-6)


def test_cosine_of_nothing_is_finite():
    pooled = torch.zeros(1, 2, 3, requires_grad=True)
    similarity = cosine_similarity(pooled, torch.randn(2, 3), torch.tensor([[0, 1]]))
    similarity.sum().backward()
    assert similarity.tolist() == [[0, 0]]
    assert torch.isfinite(pooled.grad).all()
