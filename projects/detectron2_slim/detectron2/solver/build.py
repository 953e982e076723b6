"""Optimizer and learning rate schedule from a config."""

import logging
from collections.abc import Callable
from typing import Any

import torch
from fvcore.common.param_scheduler import (
    CosineParamScheduler,
    MultiStepParamScheduler,
    ParamScheduler,
)
from torch import nn
from torch.nn.utils import clip_grad_norm_, clip_grad_value_
from torch.optim import Optimizer

from detectron2.config import CfgNode

from .lr_scheduler import LRMultiplier, LRScheduler, WarmupParamScheduler

_NORM_LAYERS = (
    *(nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm, nn.GroupNorm, nn.LayerNorm),
    *(nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d, nn.LocalResponseNorm),
)


def build_optimizer(cfg: CfgNode, model: nn.Module) -> Optimizer:
    """Build SGD from ``SOLVER``, with gradient clipping if enabled."""
    solver = cfg.SOLVER
    params = get_default_optimizer_params(
        model,
        base_lr=solver.BASE_LR,
        weight_decay_norm=solver.WEIGHT_DECAY_NORM,
        bias_lr_factor=solver.BIAS_LR_FACTOR,
        weight_decay_bias=solver.WEIGHT_DECAY_BIAS,
    )
    sgd = torch.optim.SGD(
        params,
        lr=solver.BASE_LR,
        momentum=solver.MOMENTUM,
        nesterov=solver.NESTEROV,
        weight_decay=solver.WEIGHT_DECAY,
        foreach=True,
    )
    return maybe_add_gradient_clipping(cfg, sgd)


def maybe_add_gradient_clipping(cfg: CfgNode, optimizer: Any) -> Any:
    """Make an optimizer, or a class of them, clip each parameter's gradient before its step.

    Args:
        cfg: ``SOLVER.CLIP_GRADIENTS`` says whether and how.
        optimizer: Optimizer (changed in place) or class.

    Returns:
        The optimizer, or the new class.

    Raises:
        ValueError: For a type other than "value" or "norm".
    """
    node = cfg.SOLVER.CLIP_GRADIENTS.clone()
    if not node.ENABLED:
        return optimizer
    if node.CLIP_TYPE not in ("value", "norm"):
        raise ValueError(f"SOLVER.CLIP_GRADIENTS.CLIP_TYPE '{node.CLIP_TYPE}': value or norm")
    base = type(optimizer) if isinstance(optimizer, Optimizer) else optimizer

    def step(self: Any, closure: Callable[[], float] | None = None) -> Any:
        for group in self.param_groups:
            for parameter in group["params"]:
                if node.CLIP_TYPE == "norm":
                    clip_grad_norm_(parameter, node.CLIP_VALUE, node.NORM_TYPE)
                else:
                    clip_grad_value_(parameter, node.CLIP_VALUE)
        return base.step(self, closure)

    clipped = type(f"{base.__name__}WithGradientClip", (base,), {"step": step})
    if base is optimizer:
        return clipped
    optimizer.__class__ = clipped
    return optimizer


def get_default_optimizer_params(
    model: nn.Module,
    base_lr: float | None = None,
    weight_decay: float | None = None,
    weight_decay_norm: float | None = None,
    bias_lr_factor: float | None = 1.0,
    weight_decay_bias: float | None = None,
    lr_factor_func: Callable[[str], float] | None = None,
    overrides: dict[str, dict[str, float]] | None = None,
) -> list[dict[str, Any]]:
    """Sort the trainable parameters into groups of equal hyperparameters.

    Args:
        model: The model; a shared parameter counts once.
        base_lr: Learning rate; None leaves it to the optimizer.
        weight_decay: Weight decay; None leaves it to the optimizer.
        weight_decay_norm: Weight decay of normalization layers.
        bias_lr_factor: Factor of the learning rate of parameters named ``bias``.
        weight_decay_bias: Weight decay of parameters named ``bias``.
        lr_factor_func: Factor of the learning rate by full parameter name.
        overrides: Hyperparameters by last part of the parameter name.

    Raises:
        ValueError: If a factor comes without ``base_lr``, or ``bias`` has two sources.
    """
    optional = {"lr": base_lr, "weight_decay": weight_decay}
    defaults = {key: value for key, value in optional.items() if value is not None}
    bias: dict[str, float] = {}
    scales_bias = bias_lr_factor is not None and bias_lr_factor != 1.0
    if base_lr is None and (scales_bias or lr_factor_func is not None):
        raise ValueError("bias_lr_factor and lr_factor_func need base_lr")
    if scales_bias:
        bias["lr"] = base_lr * bias_lr_factor  # type: ignore[operator]
    if weight_decay_bias is not None:
        bias["weight_decay"] = weight_decay_bias
    overrides = dict(overrides or {})
    if bias and "bias" in overrides:
        raise ValueError("overrides for 'bias' conflict with the bias arguments")
    if bias:
        overrides["bias"] = bias
    params: dict[nn.Parameter, dict[str, Any]] = {}
    for module_name, module in model.named_modules():
        for name, value in module.named_parameters(recurse=False):
            if not value.requires_grad or value in params:
                continue
            options = dict(defaults)
            if isinstance(module, _NORM_LAYERS) and weight_decay_norm is not None:
                options["weight_decay"] = weight_decay_norm
            if lr_factor_func is not None:
                options["lr"] *= lr_factor_func(f"{module_name}.{name}")
            params[value] = {**options, **overrides.get(name, {}), "params": [value]}
    return reduce_param_groups(list(params.values()))


def reduce_param_groups(params: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Merge groups of equal hyperparameters, in the order they first appear.

    A parameter in several groups takes the hyperparameters of the last.
    """
    options: dict[nn.Parameter, dict[str, Any]] = {}
    for group in params:
        own = {key: value for key, value in group.items() if key != "params"}
        for parameter in group["params"]:
            options.setdefault(parameter, {}).update(own)
    groups: dict[tuple, list[nn.Parameter]] = {}
    for parameter, own in options.items():
        groups.setdefault(tuple(own.items()), []).append(parameter)
    return [{**dict(own), "params": parameters} for own, parameters in groups.items()]


def build_lr_scheduler(cfg: CfgNode, optimizer: Optimizer) -> LRScheduler:
    """Build ``SOLVER.LR_SCHEDULER_NAME`` with warmup.

    Raises:
        ValueError: For a name other than "WarmupMultiStepLR" and "WarmupCosineLR".
    """
    solver = cfg.SOLVER
    schedule: ParamScheduler
    if solver.LR_SCHEDULER_NAME == "WarmupMultiStepLR":
        steps = [step for step in solver.STEPS if step <= solver.MAX_ITER]
        if len(steps) < len(solver.STEPS):
            logging.getLogger(__name__).warning(
                "SOLVER.STEPS %s: those beyond SOLVER.MAX_ITER are ignored", solver.STEPS
            )
        factors = [solver.GAMMA**k for k in range(len(steps) + 1)]
        schedule = MultiStepParamScheduler(factors, milestones=steps, num_updates=solver.MAX_ITER)
    elif solver.LR_SCHEDULER_NAME == "WarmupCosineLR":
        end = solver.BASE_LR_END / solver.BASE_LR
        assert 0 <= end <= 1, f"SOLVER.BASE_LR_END / SOLVER.BASE_LR is {end}, not in [0, 1]"
        schedule = CosineParamScheduler(1, end)
    else:
        raise ValueError(f"unknown SOLVER.LR_SCHEDULER_NAME '{solver.LR_SCHEDULER_NAME}'")
    warmup = WarmupParamScheduler(
        schedule,
        solver.WARMUP_FACTOR,
        min(solver.WARMUP_ITERS / solver.MAX_ITER, 1.0),
        solver.WARMUP_METHOD,
        solver.RESCALE_INTERVAL,
    )
    return LRMultiplier(optimizer, warmup, max_iter=solver.MAX_ITER)
