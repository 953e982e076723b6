"""Starting a backbone from another model's weights."""

import pytest
import torch
from torch import nn

from wecromcl_d2.engine.backbone_weights import load_backbone
from wecromcl_d2.weights_file import WeightsError


class Pyramid(nn.Module):
    """A ResNet in name, and levels fused on top of it."""

    def __init__(self, levels):
        super().__init__()
        self.bottom_up = resnet()
        self.laterals = nn.ModuleList(nn.Linear(4, levels) for _ in range(levels))


def resnet():
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def stored(tmp_path, backbone):
    """A checkpoint with a backbone and something else."""
    with torch.no_grad():
        for value in backbone.state_dict().values():
            value.fill_(7)
    weights = {f"backbone.{k}": v for k, v in backbone.state_dict().items()}
    path = tmp_path / "stage1.pth"
    torch.save({"model": weights | {"text_encoder.weight": torch.zeros(2)}}, path)
    return str(path)


def sevens(module):
    return {k for k, v in module.state_dict().items() if (v == 7).all()}


def test_the_same_backbone_is_taken_over_whole(tmp_path):
    backbone = Pyramid(2)
    load_backbone(backbone, stored(tmp_path, Pyramid(2)))
    assert sevens(backbone) == set(backbone.state_dict())


def test_of_another_pyramid_the_resnet_is_taken_alone(tmp_path):
    backbone = Pyramid(3)
    load_backbone(backbone, stored(tmp_path, Pyramid(2)))
    assert sevens(backbone) == {k for k in backbone.state_dict() if k.startswith("bottom_up.")}


def test_a_plain_resnet_takes_the_one_below_a_pyramid(tmp_path):
    backbone = resnet()
    load_backbone(backbone, stored(tmp_path, Pyramid(2)))
    assert sevens(backbone) == set(backbone.state_dict())


def test_a_pyramid_takes_a_plain_resnet(tmp_path):
    backbone = Pyramid(2)
    load_backbone(backbone, stored(tmp_path, resnet()))
    assert sevens(backbone) == {k for k in backbone.state_dict() if k.startswith("bottom_up.")}


def test_a_backbone_of_which_nothing_fits_is_refused(tmp_path):
    other = nn.Sequential(nn.Linear(3, 5))
    with pytest.raises(WeightsError, match="none fits"):
        load_backbone(other, stored(tmp_path, Pyramid(2)))
