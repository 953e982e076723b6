"""Start of one process per device."""

import socket
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from detectron2.utils import comm


def launch(
    main_func: Any,
    num_gpus_per_machine: int,
    num_machines: int = 1,
    machine_rank: int = 0,
    dist_url: str | None = None,
    args: tuple = (),
    timeout: timedelta = timedelta(minutes=30),
) -> None:
    """Run `main_func(*args)` in every process of a job; a job of one runs in this process.

    Args:
        main_func: importable by name, because several processes are spawned.
        num_gpus_per_machine: processes per machine; without CUDA they run on the CPU.
        num_machines: machines of the job; this function is called on each of them.
        machine_rank: number of this machine, from 0.
        dist_url: meeting point, such as tcp://127.0.0.1:8686, or "auto" on a single machine.
        args: arguments of `main_func`.
        timeout: longest wait of a collective operation.
    """
    world_size = num_machines * num_gpus_per_machine
    if world_size == 1:
        return main_func(*args)
    if dist_url == "auto":
        assert num_machines == 1, 'dist_url="auto" works on a single machine only'
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            dist_url = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    group = {"init_method": dist_url, "world_size": world_size, "timeout": timeout}
    job = main_func, args, num_gpus_per_machine, machine_rank, group
    mp.start_processes(_worker, nprocs=num_gpus_per_machine, args=job)


def _worker(
    local_rank: int, main_func: Any, args: tuple, local_size: int, machine: int, group: dict
) -> None:
    if has_gpu := torch.cuda.is_available():
        assert local_size <= torch.cuda.device_count(), f"fewer GPUs than {local_size} processes"
        torch.cuda.set_device(local_rank)
    rank = machine * local_size + local_rank
    dist.init_process_group("nccl" if has_gpu else "gloo", rank=rank, **group)
    comm.create_local_process_group(local_size)
    comm.synchronize()  # a process must not enter a collective before all have come up
    main_func(*args)
    # A busy interpreter may otherwise end while the group's threads still run, and abort.
    dist.destroy_process_group()
