"""Optimisers and schedules that Detectron2 does not have."""

import logging
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.solver import (
    LRMultiplier,
    WarmupParamScheduler,
    build_lr_scheduler,
    get_default_optimizer_params,
)
from fvcore.common.param_scheduler import ParamScheduler, PolynomialDecayParamScheduler
from torch import nn

from ..config import check_choice

logger = logging.getLogger(__name__)


def build_optimizer(cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
    """SGD or AdamW with Detectron2's parameter groups.

    SOLVER.CLIP_GRADIENTS.CLIP_TYPE "full_model" clips the norm over all parameters; the other types
    clip each parameter separately, as in Detectron2.

    Raises:
        ValueError: for an unknown SOLVER.OPTIMIZER or clip type.
    """
    keys = cfg.SOLVER
    params = get_default_optimizer_params(
        model,
        base_lr=keys.BASE_LR,
        weight_decay=keys.WEIGHT_DECAY,
        weight_decay_norm=keys.WEIGHT_DECAY_NORM,
        bias_lr_factor=keys.BIAS_LR_FACTOR,
        weight_decay_bias=keys.WEIGHT_DECAY_BIAS,
        lr_factor_func=lambda name: keys.BACKBONE_FACTOR if name.startswith("backbone.") else 1.0,
    )
    check_choice("SOLVER.OPTIMIZER", keys.OPTIMIZER, ("SGD", "AdamW"))
    options: dict[str, Any] = {"lr": keys.BASE_LR, "weight_decay": keys.WEIGHT_DECAY}
    if keys.FUSED:
        options["fused"] = True
    if keys.OPTIMIZER == "SGD":
        options |= {"momentum": keys.MOMENTUM, "nesterov": keys.NESTEROV}
        optimizer: torch.optim.Optimizer = torch.optim.SGD(params, **options)
    else:
        optimizer = torch.optim.AdamW(params, **options)
    if keys.CLIP_GRADIENTS.ENABLED:
        optimizer.register_step_pre_hook(_clip_hook(keys.CLIP_GRADIENTS))
    return optimizer


def _clip_hook(keys: CfgNode) -> Any:
    """A hook that clips the gradients before each optimiser step."""

    def clip(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        params = [p for group in optimizer.param_groups for p in group["params"]]
        if keys.CLIP_TYPE == "full_model":
            nn.utils.clip_grad_norm_(params, keys.CLIP_VALUE, norm_type=keys.NORM_TYPE)
        elif keys.CLIP_TYPE == "norm":
            for param in params:
                nn.utils.clip_grad_norm_(param, keys.CLIP_VALUE, norm_type=keys.NORM_TYPE)
        else:
            nn.utils.clip_grad_value_(params, keys.CLIP_VALUE)

    known = ("full_model", "norm", "value")
    check_choice("SOLVER.CLIP_GRADIENTS.CLIP_TYPE", keys.CLIP_TYPE, known)
    return clip


def build_schedule(
    cfg: CfgNode, optimizer: torch.optim.Optimizer
) -> torch.optim.lr_scheduler.LRScheduler:
    """Detectron2's schedules and two more.

    "PolyLR" is the published (1 - t / MAX_ITER) ** POLY_POWER; "WarmupPolyLR" is the same after the
    warm-up that SOLVER.WARMUP_* describe. Neither falls below SOLVER.BASE_LR_END.
    """
    keys = cfg.SOLVER
    if keys.LR_SCHEDULER_NAME not in ("PolyLR", "WarmupPolyLR"):
        return build_lr_scheduler(cfg, optimizer)
    decay = PolynomialDecayParamScheduler(base_value=1.0, power=keys.POLY_POWER)
    if keys.LR_SCHEDULER_NAME == "WarmupPolyLR":
        warmup = min(keys.WARMUP_ITERS / keys.MAX_ITER, 1.0)
        decay = WarmupParamScheduler(decay, keys.WARMUP_FACTOR, warmup, keys.WARMUP_METHOD)
    if keys.BASE_LR_END:
        decay = _Floor(decay, keys.BASE_LR_END / keys.BASE_LR)
    return LRMultiplier(optimizer, decay, keys.MAX_ITER)


class _Floor(ParamScheduler):
    """A schedule that does not fall below a value."""

    def __init__(self, schedule: ParamScheduler, lowest: float):
        self.schedule, self.lowest = schedule, lowest

    def __call__(self, where: float) -> float:
        return max(self.schedule(where), self.lowest)
