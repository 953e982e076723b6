"""Talk between processes; every function also works without a process group."""

import functools
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

_local_group: dist.ProcessGroup | None = None


def _in_group() -> bool:
    return dist.is_available() and dist.is_initialized()


def get_world_size() -> int:
    """Number of processes."""
    return dist.get_world_size() if _in_group() else 1


def get_rank() -> int:
    """Rank among all processes."""
    return dist.get_rank() if _in_group() else 0


def is_main_process() -> bool:
    """Whether this is rank 0."""
    return get_rank() == 0


@functools.cache
def create_local_process_group(num_workers_per_machine: int) -> None:
    """Make one group per machine; every process calls this once after the global group exists."""
    global _local_group
    assert _local_group is None, "there is a local process group already"
    size = get_world_size()
    assert size % num_workers_per_machine == 0, f"{size} processes on unequal machines"
    for start in range(0, size, num_workers_per_machine):
        ranks = list(range(start, start + num_workers_per_machine))
        group = dist.new_group(ranks)
        if get_rank() in ranks:
            _local_group = group


def get_local_process_group() -> dist.ProcessGroup:
    """Return the group of this machine's processes.

    Raises:
        AssertionError: If nobody made it.
    """
    assert _local_group is not None, "use launch(), or call create_local_process_group() first"
    return _local_group


def get_local_rank() -> int:
    """Rank among the processes of this machine."""
    return dist.get_rank(get_local_process_group()) if _in_group() else 0


def get_local_size() -> int:
    """Number of processes on this machine."""
    return dist.get_world_size(get_local_process_group()) if _in_group() else 1


def synchronize() -> None:
    """Wait until all processes are here."""
    if get_world_size() > 1:
        on_gpu = dist.get_backend() == "nccl"
        dist.barrier(device_ids=[torch.cuda.current_device()] if on_gpu else None)


@functools.cache
def _gloo_group() -> Any:
    """Return a CPU group of all ranks, so that pickles need not travel through GPU memory."""
    return dist.new_group(backend="gloo") if dist.get_backend() == "nccl" else dist.group.WORLD


def all_gather(data: Any, group: Any = None) -> list[Any]:
    """Return the picklable objects of all ranks of a group, in rank order."""
    if get_world_size() == 1:
        return [data]
    group = group or _gloo_group()
    output = [None] * dist.get_world_size(group)
    dist.all_gather_object(output, data, group=group)
    return output


def gather(data: Any, dst: int = 0, group: Any = None) -> list[Any]:
    """Like `all_gather` on rank ``dst``; an empty list elsewhere."""
    everything = all_gather(data, group)
    return everything if not _in_group() or dist.get_rank(group) == dst else []


def shared_random_seed() -> int:
    """Draw a number from numpy's global state and return rank 0's; all ranks must call it."""
    return all_gather(np.random.randint(2**31))[0]


def reduce_dict(input_dict: dict[str, Any], average: bool = True) -> dict[str, Any]:
    """Sum or average scalar tensors over the ranks; only rank 0's answer is meaningful.

    Args:
        input_dict: Scalar tensors with the same keys on every rank.
        average: Divide the sum by the number of ranks.
    """
    if get_world_size() == 1:
        return input_dict
    names = sorted(input_dict)
    values = torch.stack([input_dict[name].detach() for name in names])
    dist.reduce(values, dst=0)
    divisor = get_world_size() if average and is_main_process() else 1
    return dict(zip(names, values / divisor, strict=True))
