import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.layers import (
    CNNBlockBase,
    Conv2d,
    FrozenBatchNorm2d,
    ShapeSpec,
    get_norm,
)
from detectron2.modeling import (
    BACKBONE_REGISTRY,
    META_ARCH_REGISTRY,
    Backbone,
    build_backbone,
    build_model,
)
from detectron2.modeling.backbone.resnet import BasicBlock, BasicStem, BottleneckBlock, ResNet
from torch import nn
from torch.nn import functional as F

from . import DATA
from .toy import fill_deterministically

STAGES = ["res2", "res3", "res4", "res5"]
# ResNet-50 has one norm for each of its 53 convolutions.
CONVOLUTIONS = 53


def resnet_config(norm="FrozenBN", features=STAGES, **keys):
    cfg = get_cfg()
    cfg.MODEL.RESNETS.NORM = norm
    cfg.MODEL.RESNETS.OUT_FEATURES = list(features)
    for key, value in keys.items():
        cfg.MODEL.RESNETS[key] = value
    return cfg


@pytest.fixture(scope="module")
def resnets():
    return {norm: build_backbone(resnet_config(norm)) for norm in ("FrozenBN", "BN", "GN")}


def test_resnet_weight_names(resnets):
    frozen = set((DATA / "resnet50_names.txt").read_text(encoding="utf-8").split())
    counts = {name.replace("running_mean", "num_batches_tracked") for name in frozen}
    counts = {name for name in counts if name.endswith("num_batches_tracked")}
    statistics = {name for name in frozen if "running_" in name}
    assert (len(frozen), len(counts)) == (265, CONVOLUTIONS)
    assert set(resnets["FrozenBN"].state_dict()) == frozen
    assert set(resnets["BN"].state_dict()) == frozen | counts
    assert set(resnets["GN"].state_dict()) == frozen - statistics
    sizes = [len(model.state_dict()) for model in resnets.values()]
    assert sizes == [265, 318, 159]


def test_resnet_trainable_parameters(resnets):
    counts = [
        sum(p.numel() for p in model.parameters() if p.requires_grad) for model in resnets.values()
    ]
    assert counts == [23_232_512, 23_282_688, 23_282_688]


def test_resnet_shapes_and_frozen_stages(resnets):
    model = resnets["BN"]
    assert {name: shape.stride for name, shape in model.output_shape().items()} == {
        "res2": 4,
        "res3": 8,
        "res4": 16,
        "res5": 32,
    }
    assert model.output_shape()["res5"] == ShapeSpec(channels=2048, stride=32)
    assert model.size_divisibility == 0
    assert model.padding_constraints == {}
    assert isinstance(model.stem.conv1.norm, FrozenBatchNorm2d)
    assert isinstance(model.res2[2].conv3.norm, FrozenBatchNorm2d)
    assert isinstance(model.res3[0].conv1.norm, nn.BatchNorm2d)
    assert not any(p.requires_grad for p in model.res2.parameters())
    assert all(p.requires_grad for p in model.res3.parameters())
    outputs = model(torch.rand(2, 3, 70, 50))
    assert list(outputs) == STAGES
    assert [tuple(x.shape[1:]) for x in outputs.values()] == [
        (256, 18, 13),
        (512, 9, 7),
        (1024, 5, 4),
        (2048, 3, 2),
    ]


def test_the_seed_decides_the_initial_weights():
    torch.manual_seed(0)
    state = build_backbone(get_cfg()).state_dict()
    assert state["stem.conv1.weight"].sum().item() == pytest.approx(-2.58158592, abs=1e-5)
    assert state["res4.5.conv3.weight"].sum().item() == pytest.approx(27.46394113, abs=1e-5)
    assert not any(name.startswith("res5") for name in state)


@torch.no_grad()
def test_default_resnet_computes_the_stored_output():
    model = build_backbone(get_cfg()).eval()
    res4 = model(fill_deterministically(model))["res4"]
    assert res4.sum().item() == pytest.approx(17422.916, rel=1e-4)
    assert res4.abs().mean().item() == pytest.approx(0.70894, rel=1e-4)
    stored = np.load(DATA / "res4_real.npz")["every_16th_channel"]
    np.testing.assert_allclose(res4[:, ::16].numpy(), stored, rtol=1e-4, atol=1e-5)


def test_strides_and_dilation_follow_the_config():
    plain = build_backbone(resnet_config())
    assert (plain.res3[0].conv1.stride, plain.res3[0].conv2.stride) == ((2, 2), (1, 1))
    dilated = build_backbone(resnet_config(STRIDE_IN_1X1=False, RES5_DILATION=2))
    assert (dilated.res3[0].conv1.stride, dilated.res3[0].conv2.stride) == ((1, 1), (2, 2))
    assert dilated.output_shape()["res5"].stride == 16
    assert dilated.res5[1].conv2.dilation == dilated.res5[1].conv2.padding == (2, 2)
    grouped = build_backbone(resnet_config(NUM_GROUPS=32, WIDTH_PER_GROUP=8, features=["res3"]))
    assert tuple(grouped.res3[0].conv2.weight.shape) == (512, 16, 3, 3)
    assert grouped.res3[0].conv2.groups == 32


@pytest.mark.parametrize(("depth", "blocks"), [(18, [2, 2, 2, 2]), (34, [3, 4, 6, 3])])
def test_shallow_resnets(depth, blocks):
    model = build_backbone(resnet_config(DEPTH=depth, RES2_OUT_CHANNELS=64))
    assert [len(model.get_submodule(name)) for name in STAGES] == blocks
    assert [shape.channels for shape in model.output_shape().values()] == [64, 128, 256, 512]
    assert model.res2[0].shortcut is None
    assert model(torch.rand(1, 3, 32, 32))["res5"].shape == (1, 512, 1, 1)
    with pytest.raises(AssertionError, match="RES2_OUT_CHANNELS"):
        build_backbone(resnet_config(DEPTH=depth))


def test_resnet_from_parts():
    stem = BasicStem(in_channels=1, out_channels=8, norm="BN")
    stages = [
        ResNet.make_stage(
            BottleneckBlock,
            2,
            in_channels=8,
            out_channels=16,
            bottleneck_channels=4,
            stride_per_block=[1, 1],
        ),
        ResNet.make_stage(
            BasicBlock, 2, in_channels=16, out_channels=32, stride_per_block=[2, 1], norm="GN"
        ),
    ]
    assert list(ResNet(stem, stages).output_shape()) == ["res3"]
    model = ResNet(stem, stages, out_features=["stem", "res3"], freeze_at=1)
    shapes = {name: tuple(x.shape) for name, x in model(torch.rand(2, 1, 16, 16)).items()}
    assert shapes == {"stem": (2, 8, 4, 4), "res3": (2, 32, 2, 2)}
    assert [name for name, p in model.named_parameters() if not p.requires_grad] == [
        "stem.conv1.weight"
    ]
    with pytest.raises(AssertionError, match=r"(?i)available.*stem"):
        ResNet(stem, stages, out_features=["res7"])


def test_a_residual_block_adds_its_input():
    block = BasicBlock(4, 4, norm="")
    x = torch.rand(1, 4, 5, 5) - 0.5
    expected = F.relu(block.conv2(F.relu(block.conv1(x))) + x)
    assert torch.equal(block(x.clone()), expected)


def test_frozen_batch_norm_equals_batch_norm_in_evaluation():
    norm = nn.BatchNorm2d(3, eps=0.01)
    norm(torch.rand(4, 3, 5, 5) * 3)
    nn.init.uniform_(norm.weight)
    norm.eval()
    frozen = FrozenBatchNorm2d.convert_frozen_batchnorm(norm)
    assert isinstance(frozen, FrozenBatchNorm2d)
    assert frozen.eps == 0.01
    assert not list(frozen.parameters())
    assert set(frozen.state_dict()) == set(norm.state_dict())
    x = torch.rand(2, 3, 4, 4)
    torch.testing.assert_close(frozen(x), norm(x))
    torch.testing.assert_close(frozen(x.clone().requires_grad_()), norm(x))


def test_a_new_frozen_batch_norm_changes_nothing():
    frozen = FrozenBatchNorm2d(2)
    assert torch.allclose(frozen.running_var + frozen.eps, torch.ones(2))
    assert set(frozen.state_dict()) == {"weight", "bias", "running_mean", "running_var"}
    x = torch.rand(1, 2, 3, 3)
    torch.testing.assert_close(frozen(x), x)


def test_statistics_are_filled_in_only_without_version():
    weights = {"weight": torch.ones(2), "bias": torch.zeros(2)}
    plain = FrozenBatchNorm2d(2)
    assert plain.load_state_dict(dict(weights), strict=False).missing_keys == []
    assert plain.running_var.tolist() == [1, 1]
    versioned = FrozenBatchNorm2d(2).state_dict()
    del versioned["running_mean"]
    missing = FrozenBatchNorm2d(2).load_state_dict(versioned, strict=False).missing_keys
    assert missing == ["running_mean"]


def test_conversion_reaches_nested_modules():
    model = nn.Sequential(Conv2d(3, 4, 1, norm=nn.BatchNorm2d(4)), nn.Sequential(nn.BatchNorm2d(4)))
    assert FrozenBatchNorm2d.convert_frozen_batchnorm(model) is model
    assert isinstance(model[0].norm, FrozenBatchNorm2d)
    assert isinstance(model[1][0], FrozenBatchNorm2d)
    block = CNNBlockBase(3, 4, 1)
    block.part = Conv2d(3, 4, 1, norm=nn.BatchNorm2d(4))
    assert block.freeze() is block
    assert not [p for p in block.parameters() if p.requires_grad]
    assert isinstance(block.part.norm, FrozenBatchNorm2d)


def test_get_norm():
    assert get_norm("", 8) is None
    assert get_norm(None, 8) is None
    assert type(get_norm("BN", 8)) is nn.BatchNorm2d
    assert type(get_norm("SyncBN", 8)) is nn.SyncBatchNorm
    assert get_norm("GN", 64).num_groups == 32
    assert get_norm(nn.InstanceNorm2d, 8).num_features == 8
    with pytest.raises(KeyError):
        get_norm("NoSuchNorm", 8)


def test_conv_norm_activation_order():
    conv = Conv2d(2, 3, 1, norm=nn.BatchNorm2d(3), activation=torch.relu)
    x = torch.rand(4, 2, 5, 5)
    plain = F.conv2d(x, conv.weight, conv.bias)
    expected = torch.relu(F.batch_norm(plain, None, None, training=True))
    torch.testing.assert_close(conv(x), expected)
    assert "norm.weight" in conv.state_dict()


class ContractBackbone(Backbone):
    def __init__(self, cfg, input_shape):
        super().__init__()
        self._out_features = ["a"]
        self._out_feature_channels = {"a": input_shape.channels}
        self._out_feature_strides = {"a": 1}

    def forward(self, x):
        return {"a": x}


class ContractModel(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        self.backbone = build_backbone(cfg)


def test_registries_build_what_the_config_names():
    BACKBONE_REGISTRY.register(ContractBackbone)
    META_ARCH_REGISTRY.register(ContractModel)
    cfg = get_cfg()
    cfg.MODEL.BACKBONE.NAME = "ContractBackbone"
    cfg.MODEL.META_ARCHITECTURE = "ContractModel"
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.PIXEL_MEAN = [0.5]
    assert build_model(cfg).backbone.output_shape() == {"a": ShapeSpec(channels=1, stride=1)}
    assert build_backbone(cfg, ShapeSpec(channels=7)).output_shape()["a"].channels == 7
    with pytest.raises(AssertionError):
        BACKBONE_REGISTRY.register(ContractBackbone)
    cfg.MODEL.BACKBONE.NAME = "NoSuchBackbone"
    with pytest.raises(KeyError, match="NoSuchBackbone"):
        build_backbone(cfg)
    with pytest.raises(TypeError):
        Backbone()
