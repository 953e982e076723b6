"""What changes where several processes share a training."""

import logging

import torch
from detectron2.config import CfgNode
from detectron2.engine import DefaultTrainer
from detectron2.utils import comm
from torch import nn

logger = logging.getLogger(__name__)


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
