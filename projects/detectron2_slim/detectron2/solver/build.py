"""Optimizer and learning rate schedule from a config."""

import logging
from collections.abc import Callable
from typing import Any

import torch
from fvcore.common import param_scheduler as schedulers
from torch import nn

from detectron2.config import CfgNode

from .lr_scheduler import LRMultiplier, LRScheduler, WarmupParamScheduler

_NORM_BASES = (nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm)
_NORM_LAYERS = (*_NORM_BASES, nn.GroupNorm, nn.LayerNorm, nn.LocalResponseNorm)


def build_optimizer(cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
    """Build SGD from ``SOLVER``, with gradient clipping if enabled."""
    node = cfg.SOLVER
    bias = {"bias_lr_factor": node.BIAS_LR_FACTOR, "weight_decay_bias": node.WEIGHT_DECAY_BIAS}
    decay = node.WEIGHT_DECAY_NORM
    params = get_default_optimizer_params(model, node.BASE_LR, weight_decay_norm=decay, **bias)
    options = {"weight_decay": node.WEIGHT_DECAY, "nesterov": node.NESTEROV, "foreach": True}
    sgd = torch.optim.SGD(params, lr=node.BASE_LR, momentum=node.MOMENTUM, **options)
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
    base: Any = optimizer if isinstance(optimizer, type) else type(optimizer)

    def step(self: Any, closure: Any = None) -> Any:
        parameters = (p for group in self.param_groups for p in group["params"])
        for parameter in (p for p in parameters if p.grad is not None):
            if node.CLIP_TYPE == "norm":
                nn.utils.clip_grad_norm_(parameter, node.CLIP_VALUE, node.NORM_TYPE)
            else:
                nn.utils.clip_grad_value_(parameter, node.CLIP_VALUE)
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
        ValueError: If a factor comes without ``base_lr``.
        AssertionError: If ``bias`` is overridden twice.
    """
    bias_factor = None if bias_lr_factor == 1.0 else bias_lr_factor
    if base_lr is None and (bias_factor, lr_factor_func) != (None, None):
        raise ValueError("bias_lr_factor and lr_factor_func need base_lr")
    bias_lr = bias_factor and base_lr and bias_factor * base_lr
    bias = _given(lr=bias_lr, weight_decay=weight_decay_bias)
    assert not (bias and "bias" in (overrides or {})), "'bias' has overrides from two sources"
    overrides = {"bias": bias, **(overrides or {})}
    params: dict[nn.Parameter, dict[str, Any]] = {}
    for module_name, module in model.named_modules():
        norm = _given(weight_decay=weight_decay_norm) if isinstance(module, _NORM_LAYERS) else {}
        for name, value in module.named_parameters(recurse=False):
            if value.requires_grad and value not in params:
                options = {**_given(lr=base_lr, weight_decay=weight_decay), **norm}
                if lr_factor_func is not None:
                    options["lr"] *= lr_factor_func(f"{module_name}.{name}")
                params[value] = {**options, **overrides.get(name, {}), "params": [value]}
    return reduce_param_groups(list(params.values()))


def _given(**options: float | None) -> dict[str, Any]:
    return {key: value for key, value in options.items() if value is not None}


def reduce_param_groups(params: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Merge groups of equal hyperparameters, in the order they first appear.

    A parameter in several groups takes the hyperparameters of the last.
    """
    options: dict[nn.Parameter, dict[str, Any]] = {}
    for group in params:
        for parameter in group["params"]:
            options.setdefault(parameter, {}).update(group)
    groups: dict[tuple, list[nn.Parameter]] = {}
    for parameter, own in options.items():
        key = tuple((name, value) for name, value in own.items() if name != "params")
        groups.setdefault(key, []).append(parameter)
    return [{**dict(key), "params": parameters} for key, parameters in groups.items()]


def build_lr_scheduler(cfg: CfgNode, optimizer: torch.optim.Optimizer) -> LRScheduler:
    """Build ``SOLVER.LR_SCHEDULER_NAME`` with warmup.

    Raises:
        ValueError: For a name other than "WarmupMultiStepLR" and "WarmupCosineLR".
    """
    node = cfg.SOLVER
    if node.LR_SCHEDULER_NAME == "WarmupMultiStepLR":
        steps = [step for step in node.STEPS if step <= node.MAX_ITER]
        if len(steps) < len(node.STEPS):
            message = "SOLVER.STEPS %s: those beyond SOLVER.MAX_ITER are ignored"
            logging.getLogger(__name__).warning(message, node.STEPS)
        factors = [node.GAMMA**k for k in range(len(steps) + 1)]
        schedule: Any = schedulers.MultiStepParamScheduler(factors, node.MAX_ITER, steps)
    elif node.LR_SCHEDULER_NAME == "WarmupCosineLR":
        end = node.BASE_LR_END / node.BASE_LR
        assert 0 <= end <= 1, f"SOLVER.BASE_LR_END / SOLVER.BASE_LR is {end}, not in [0, 1]"
        schedule = schedulers.CosineParamScheduler(1, end)
    else:
        raise ValueError(f"unknown SOLVER.LR_SCHEDULER_NAME '{node.LR_SCHEDULER_NAME}'")
    length = min(node.WARMUP_ITERS / node.MAX_ITER, 1.0)
    method, rescale = node.WARMUP_METHOD, node.RESCALE_INTERVAL
    warmup = WarmupParamScheduler(schedule, node.WARMUP_FACTOR, length, method, rescale)
    return LRMultiplier(optimizer, warmup, max_iter=node.MAX_ITER)
