"""Mixed precision of the training step, and denormal numbers on a CPU."""

import logging
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.engine import AMPTrainer, SimpleTrainer
from torch import nn

from ..config import check_choice
from .accumulate import AccumulatingTrainer
from .memory import keep_memory

logger = logging.getLogger(__name__)

# Values of SOLVER.AMP.PRECISION.
PRECISIONS = {"float16": torch.float16, "bfloat16": torch.bfloat16}
# Instruction sets for products of bfloat16 matrices.
BFLOAT16_INSTRUCTIONS = ("avx512_bf16", "amx_bf16")


def check_precision(cfg: CfgNode) -> CfgNode:
    """Turn mixed precision off on a processor that it does not make faster.

    Returns:
        The config, or a frozen copy of it with SOLVER.AMP.ENABLED set to False.

    Raises:
        ValueError: for an unknown SOLVER.AMP.PRECISION.
    """
    keys = cfg.SOLVER.AMP
    check_choice("SOLVER.AMP.PRECISION", keys.PRECISION, PRECISIONS)
    on_gpu = cfg.MODEL.DEVICE.startswith("cuda")
    if not keys.ENABLED or on_gpu or (keys.PRECISION == "bfloat16" and cpu_has_bfloat16()):
        return cfg
    logger.warning(
        "this processor has no instructions for %s; SOLVER.AMP.ENABLED is ignored", keys.PRECISION
    )
    cfg = cfg.clone()
    cfg.defrost()
    cfg.SOLVER.AMP.ENABLED = False
    cfg.freeze()
    return cfg


def check_device(name: str) -> None:
    """Make sure that torch can use MODEL.DEVICE.

    Raises:
        ValueError: if there is no such device.
    """
    try:
        torch.empty(0, device=name)
    except (AssertionError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"MODEL.DEVICE {name!r} cannot be used: {reason}") from error


def prepare_cpu(threads: int | None = None) -> None:
    """Configure torch for inference and training on the CPU, in the calling thread.

    Denormal numbers are flushed to zero: sharp softmax maps consist mostly of them, and they make
    processors several times slower. Memory is kept, see `keep_memory`.

    Args:
        threads: number of torch's threads; None to leave it unchanged.
    """
    keep_memory()
    torch.set_flush_denormal(True)
    if threads is not None:
        torch.set_num_threads(threads)


def cpu_has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 faster than float32."""
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(capabilities.get(name, False) for name in BFLOAT16_INSTRUCTIONS)


def build_step(
    cfg: CfgNode, model: nn.Module, loader: Any, optimizer: torch.optim.Optimizer
) -> SimpleTrainer:
    """Detectron2's training step, or ours for several batches per update, for a checked config.

    Args:
        cfg: see `check_precision`.
        model: the model, wrapped in `DistributedDataParallel` or not.
        loader: of training batches.
        optimizer: of the model.
    """
    on_gpu = cfg.MODEL.DEVICE.startswith("cuda")
    precision = PRECISIONS[cfg.SOLVER.AMP.PRECISION] if cfg.SOLVER.AMP.ENABLED else None
    if precision is not None and not on_gpu:
        _train_in(precision, model)
        precision = None
    # bfloat16 has the range of float32, so gradients need no scaling.
    scaler = torch.amp.GradScaler("cuda", enabled=precision == torch.float16)
    if cfg.SOLVER.ACCUMULATION > 1:
        return AccumulatingTrainer(
            model,
            loader,
            optimizer,
            batches=cfg.SOLVER.ACCUMULATION,
            precision=precision,
            grad_scaler=scaler,
        )
    if precision is None:
        return SimpleTrainer(model, loader, optimizer)
    return AMPTrainer(model, loader, optimizer, grad_scaler=scaler, precision=precision)


def _train_in(precision: torch.dtype, model: nn.Module) -> None:
    """Wrap the forward pass of training in autocast for the CPU.

    Detectron2's `AMPTrainer` requires a GPU.
    """
    forward = model.forward

    def mixed(*args: Any, **kwargs: Any) -> Any:
        with torch.autocast("cpu", precision, enabled=model.training):
            return forward(*args, **kwargs)

    model.forward = mixed
