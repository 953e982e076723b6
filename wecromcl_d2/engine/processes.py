"""What changes where several processes share a training."""

import logging
import os
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from detectron2.config import CfgNode
from detectron2.engine import DefaultTrainer, launch
from detectron2.utils import comm
from torch import nn

logger = logging.getLogger(__name__)

# What torch says in a process whose peer has died, by backend and kind of failure.
LOST = ("closed by peer", "reset by peer", "Broken pipe", "imed out", "NCCL error")


def start_processes(function: Callable[..., Any], options: Namespace, args: tuple) -> None:
    """Run a function in each process of a job that Detectron2's options or `torchrun` describe.

    Args:
        function: what to run; importable by name.
        options: of Detectron2's `default_argument_parser`.
        args: of the function.

    Raises:
        ValueError: if the options ask for more processes than `torchrun` has started.
        ConnectionError: if another process of the job has died.
    """
    if not dist.is_torchelastic_launched():
        launch(
            _run,
            options.num_gpus,
            num_machines=options.num_machines,
            machine_rank=options.machine_rank,
            dist_url=options.dist_url,
            args=(function, args),
        )
        return
    if (options.num_gpus, options.num_machines) != (1, 1):
        raise ValueError("torchrun starts the processes: leave out --num-gpus and --num-machines")
    if on_gpu := torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if on_gpu else "gloo")
    comm.create_local_process_group(int(os.environ["LOCAL_WORLD_SIZE"]))
    comm.synchronize()
    _run(function, args)
    dist.destroy_process_group()


def _run(function: Callable[..., Any], args: tuple) -> Any:
    with name_lost_process():
        return function(*args)


@contextmanager
def name_lost_process() -> Iterator[None]:
    """Say what it means where a collective operation fails because another process is gone.

    Raises:
        ConnectionError: in place of torch's error.
    """
    try:
        yield
    except RuntimeError as error:
        if comm.get_world_size() == 1 or not any(sign in str(error) for sign in LOST):
            raise
        raise ConnectionError(
            "another process of this run has died or cannot be reached, its own output says why; "
            "start all of them again with --resume, which continues from the last checkpoint "
            f"(torch: {str(error).splitlines()[0]})"
        ) from error


def scale_to_processes(cfg: CfgNode, processes: int) -> CfgNode:
    """Adapt a config that was tuned for SOLVER.REFERENCE_WORLD_SIZE processes to another number.

    Batches and rates are multiplied by the ratio and numbers of iterations divided by it, as
    Detectron2 does, those of SOLVER.CURRICULUM included: each process has as many images as before,
    and the schedule is the same in images.

    Returns:
        A changed copy; `cfg` itself where the reference is 0 or equals `processes`.

    Raises:
        ValueError: if the reference does not divide a batch.
    """
    reference, keys = cfg.SOLVER.REFERENCE_WORLD_SIZE, cfg.SOLVER.CURRICULUM
    if reference in (0, processes):
        return cfg
    for size in (cfg.SOLVER.IMS_PER_BATCH, *keys.IMS_PER_BATCH):
        if size % reference:
            raise ValueError(
                f"SOLVER.REFERENCE_WORLD_SIZE is {reference}, which does not divide a batch of "
                f"{size} images"
            )
    scale = processes / reference
    scaled = DefaultTrainer.auto_scale_workers(cfg, processes).clone()
    scaled.defrost()
    scaled.SOLVER.BASE_LR_END *= scale
    scaled.SOLVER.CURRICULUM.ITERS = [round(count / scale) for count in keys.ITERS]
    scaled.SOLVER.CURRICULUM.IMS_PER_BATCH = [round(size * scale) for size in keys.IMS_PER_BATCH]
    scaled.freeze()
    return scaled


def check_gpus(processes: int) -> None:
    """Make sure that each process has a GPU of its own, unless there is none at all.

    Raises:
        ValueError: naming the number of GPUs.
    """
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if 0 < gpus < processes:
        raise ValueError(
            f"--num-gpus is {processes}, more than the GPUs of this machine; give {gpus} at most"
        )


def check_batches(cfg: CfgNode, processes: int) -> None:
    """Make sure that all processes get equal shares of each batch.

    Raises:
        ValueError: naming the batch and the remedy.
    """
    for size in (*cfg.SOLVER.CURRICULUM.IMS_PER_BATCH, cfg.SOLVER.IMS_PER_BATCH):
        if size % processes:
            raise ValueError(
                f"a batch of {size} images cannot be shared by {processes} processes; set "
                "SOLVER.IMS_PER_BATCH to a multiple, or SOLVER.REFERENCE_WORLD_SIZE to the number "
                "of processes that it is meant for, and batches and rates grow with the processes"
            )


def synchronize_norms(cfg: CfgNode, model: nn.Module) -> nn.Module:
    """With MODEL.SYNC_BN, let BatchNorm see the images of all processes; GPUs alone can."""
    if not cfg.MODEL.SYNC_BN or comm.get_world_size() == 1:
        return model
    if not cfg.MODEL.DEVICE.startswith("cuda"):
        logger.warning("MODEL.SYNC_BN is ignored: only GPUs synchronise BatchNorm")
        return model
    return nn.SyncBatchNorm.convert_sync_batchnorm(model)
