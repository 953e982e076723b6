import math

import pytest
import torch

from wecromcl_d2.stage2.spts.losses import NEIGHBOUR_SHARES, sequence_loss


def probabilities(*rows):
    return torch.tensor(rows).log()


def test_the_plain_form_is_the_weighted_cross_entropy():
    logits, targets = torch.randn(6, 5), torch.tensor([0, 4, 2, 2, 1, 3])
    a = torch.tensor([1.0, 1.0, 1.0, 1.0, 1.0, 0.01])
    expected = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
    value = sequence_loss(logits, targets, a, 0)
    assert value.item() == pytest.approx(((expected * a).sum() / a.sum()).item(), rel=1e-6)


def test_neighbours_of_a_coordinate_share_its_target():
    assert sum(NEIGHBOUR_SHARES.values()) == pytest.approx(1)
    logits = probabilities([0.1, 0.2, 0.4, 0.1, 0.05, 0.15])
    value = sequence_loss(logits, torch.tensor([2]), torch.ones(1), 5)
    shares = zip((0.1, 0.2, 0.4, 0.2, 0.1), (0.1, 0.2, 0.4, 0.1, 0.05), strict=True)
    assert value.item() == pytest.approx(-sum(s * math.log(p) for s, p in shares), rel=1e-5)


def test_the_outermost_bins_stand_for_those_beyond():
    logits = probabilities([0.5, 0.2, 0.1, 0.1, 0.1])
    value = sequence_loss(logits, torch.tensor([0]), torch.ones(1), 4)
    expected = -(0.7 * math.log(0.5) + 0.2 * math.log(0.2) + 0.1 * math.log(0.1))
    assert value.item() == pytest.approx(expected, rel=1e-5)


def test_other_tokens_are_not_spread():
    logits = probabilities([0.5, 0.2, 0.3])
    value = sequence_loss(logits, torch.tensor([2]), torch.ones(1), 2)
    assert value.item() == pytest.approx(-math.log(0.3), rel=1e-5)


def test_tokens_without_weight_give_no_loss_and_no_gradient():
    logits = torch.randn(3, 4, requires_grad=True)
    value = sequence_loss(logits, torch.tensor([0, 1, 2]), torch.zeros(3), 2)
    value.backward()
    assert value.item() == 0
    assert not logits.grad.any()
