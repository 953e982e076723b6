import pytest
import torch
from detectron2.config import get_cfg
from detectron2.layers import Conv2d
from detectron2.solver import (
    LRMultiplier,
    WarmupParamScheduler,
    build_lr_scheduler,
    build_optimizer,
    get_default_optimizer_params,
)
from detectron2.solver.build import maybe_add_gradient_clipping, reduce_param_groups
from fvcore.common.param_scheduler import ConstantParamScheduler
from torch import nn

from tests.configs import learning_rates

STEPS = [0, 1, 2, 4, 5, 19, 20, 29, 30, 39]


def solver_config(**keys):
    cfg = get_cfg()
    defaults = {"MAX_ITER": 40, "STEPS": (20, 30), "WARMUP_ITERS": 5, "BASE_LR": 0.1}
    for key, value in {**defaults, **keys}.items():
        cfg.SOLVER[key] = value
    return cfg


def rates_at_steps(cfg):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=cfg.SOLVER.BASE_LR)
    scheduler = build_lr_scheduler(cfg, optimizer)
    rates = learning_rates(optimizer, scheduler, cfg.SOLVER.MAX_ITER)
    return [rates[step] for step in STEPS]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "WarmupMultiStepLR",
            [0.0001, 0.02008, 0.04006, 0.08002, 0.1, 0.1, 0.01, 0.01, 0.001, 0.001],
        ),
        (
            "WarmupCosineLR",
            [
                *(0.0001, 0.0193188, 0.0385376, 0.0769752, 0.096194),
                *(0.053923, 0.05, 0.0175276, 0.0146447, 0.000154133),
            ],
        ),
    ],
)
def test_rates_at_steps(name, expected):
    rates = rates_at_steps(solver_config(LR_SCHEDULER_NAME=name))
    assert rates == pytest.approx(expected, rel=1e-5)


def test_other_warmups():
    constant = rates_at_steps(solver_config(WARMUP_METHOD="constant", WARMUP_FACTOR=0.5))
    assert constant[:5] == pytest.approx([0.05, 0.05, 0.05, 0.05, 0.1])
    rescaled = solver_config(LR_SCHEDULER_NAME="WarmupCosineLR", RESCALE_INTERVAL=True)
    assert rates_at_steps(rescaled)[4] == pytest.approx(0.1)
    assert rates_at_steps(solver_config(WARMUP_ITERS=0))[0] == pytest.approx(0.1)
    with pytest.raises(ValueError, match="magic"):
        WarmupParamScheduler(ConstantParamScheduler(1.0), 0.1, 0.1, "magic")


def test_scheduler_limits():
    assert rates_at_steps(solver_config(STEPS=(20, 50)))[-1] == pytest.approx(0.01)
    with pytest.raises(ValueError, match="NoSuchLR"):
        rates_at_steps(solver_config(LR_SCHEDULER_NAME="NoSuchLR"))
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    with pytest.raises(ValueError, match="ParamScheduler"):
        LRMultiplier(optimizer, multiplier=2.0, max_iter=10)


def test_scheduler_state_is_two_numbers_and_keeps_ratios():
    parameters = [nn.Parameter(torch.zeros(1)) for _ in range(2)]
    groups = [{"params": parameters[:1], "lr": 0.1}, {"params": parameters[1:], "lr": 0.4}]
    optimizer = torch.optim.SGD(groups)
    scheduler = build_lr_scheduler(solver_config(), optimizer)
    optimizer.step()
    scheduler.step()
    assert scheduler.state_dict() == {"base_lrs": [0.1, 0.4], "last_epoch": 1}
    assert scheduler.get_last_lr() == pytest.approx([0.02008, 4 * 0.02008])


def conv_bn():
    return Conv2d(3, 4, 1, norm=nn.BatchNorm2d(4))


def test_conv_and_norm_form_two_groups():
    optimizer = build_optimizer(solver_config(), conv_bn())
    groups = optimizer.param_groups
    assert [len(group["params"]) for group in groups] == [2, 2]
    assert [group["weight_decay"] for group in groups] == [1e-4, 0]
    assert type(optimizer) is torch.optim.SGD
    assert all(group["foreach"] and group["momentum"] == 0.9 for group in groups)


def hyperparameters(model, *args, **kwargs):
    return [
        {key: value for key, value in group.items() if key != "params"}
        for group in get_default_optimizer_params(model, *args, **kwargs)
    ]


def test_bias_and_named_parameters_have_their_own_hyperparameters():
    model = conv_bn()
    assert hyperparameters(model) == [{}]
    found = hyperparameters(model, 0.1, bias_lr_factor=2.0, weight_decay_bias=0.5)
    assert found == [{"lr": 0.1}, {"lr": 0.2, "weight_decay": 0.5}]
    found = hyperparameters(model, weight_decay_norm=0.0, overrides={"bias": {"lr": 3.0}})
    assert found == [{}, {"lr": 3.0}, {"weight_decay": 0.0}, {"weight_decay": 0.0, "lr": 3.0}]
    found = hyperparameters(model, 1.0, lr_factor_func=lambda name: 0.5 if "norm" in name else 1)
    assert found == [{"lr": 1.0}, {"lr": 0.5}]
    with pytest.raises(ValueError, match="base_lr"):
        hyperparameters(model, bias_lr_factor=2.0)
    with pytest.raises(ValueError, match="base_lr"):
        hyperparameters(model, lr_factor_func=lambda name: 1.0)


def test_shared_and_frozen_parameters():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[1].weight = model[0].weight
    model[1].bias.requires_grad = False
    groups = get_default_optimizer_params(model)
    assert len(groups) == 1
    assert groups[0]["params"][0] is model[0].weight
    assert groups[0]["params"][1] is model[0].bias
    assert len(groups[0]["params"]) == 2


def test_groups_merge_in_first_seen_order_and_later_values_win():
    a, b, c = (nn.Parameter(torch.zeros(1)) for _ in range(3))
    groups = reduce_param_groups(
        [{"params": [a, b], "lr": 1.0}, {"params": [c], "lr": 2.0}, {"params": [a], "lr": 2.0}]
    )
    assert [group["lr"] for group in groups] == [2.0, 1.0]
    assert [[id(p) for p in group["params"]] for group in groups] == [[id(a), id(c)], [id(b)]]


def clipped_step(clip_type, clip_value, as_class):
    cfg = solver_config()
    cfg.SOLVER.CLIP_GRADIENTS.ENABLED = True
    cfg.SOLVER.CLIP_GRADIENTS.CLIP_TYPE = clip_type
    cfg.SOLVER.CLIP_GRADIENTS.CLIP_VALUE = clip_value
    parameters = [nn.Parameter(torch.zeros(2)) for _ in range(2)]
    if as_class:
        optimizer = maybe_add_gradient_clipping(cfg, torch.optim.SGD)(parameters, lr=1.0)
    else:
        optimizer = maybe_add_gradient_clipping(cfg, torch.optim.SGD(parameters, lr=1.0))
    assert type(optimizer).__name__ == "SGDWithGradientClip"
    assert isinstance(optimizer, torch.optim.SGD)
    parameters[0].grad = torch.tensor([3.0, 4.0])
    parameters[1].grad = torch.tensor([0.3, -0.4])
    optimizer.step()
    return [(-parameter).tolist() for parameter in parameters]


@pytest.mark.parametrize("as_class", [True, False])
def test_gradients_are_clipped_tensor_by_tensor(as_class):
    by_value = clipped_step("value", 0.35, as_class)
    assert by_value[0] == pytest.approx([0.35, 0.35])
    assert by_value[1] == pytest.approx([0.3, -0.35])
    by_norm = clipped_step("norm", 1.0, as_class)
    assert by_norm[0] == pytest.approx([0.6, 0.8], rel=1e-5)
    assert by_norm[1] == pytest.approx([0.3, -0.4])


def test_clipping_is_off_by_default_and_knows_two_types():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    assert type(maybe_add_gradient_clipping(get_cfg(), optimizer)) is torch.optim.SGD
    with pytest.raises(ValueError, match="sideways"):
        clipped_step("sideways", 1.0, False)
