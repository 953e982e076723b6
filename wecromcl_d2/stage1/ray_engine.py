"""Shards of a labelling run as tasks of a Ray cluster (https://www.ray.io).

Each task writes one shard. All machines see the images, the weights and the folder of the shards
under the same paths, and have the package installed. A task whose worker or machine dies runs again
elsewhere; what dies with the driver is continued by the same command.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import socket
from collections.abc import Sequence
from typing import Any

import torch
from tqdm import tqdm

from ..files import replace_file
from ..own_modules import VARIABLE, import_own_modules
from .anchor_job import AnchorJob, ShardPlan
from .generate import ShardRunner

# Times that a shard may lose its worker before the run gives up.
RETRIES = 5
# Tasks that wait for a free processor, for each processor of the cluster.
TASKS_PER_CPU = 2
# Longest wait for the cluster's port.
CONNECT_SECONDS = 10
# What a worker's process has to know of the environment of the driver.
INHERITED = (VARIABLE, "DETECTRON2_DATASETS")

_runners: dict[str, ShardRunner] = {}  # the one of this worker's process, by the run's folder


def run_on_ray(
    job: AnchorJob, shards: ShardPlan, pending: Sequence[int], address: str | None
) -> None:
    """Write the missing shards.

    Args:
        job: what to run.
        shards: all of it.
        pending: numbers of the missing shards.
        address: of a running cluster, such as "auto" or "10.0.0.1:6379"; None starts one here.

    Raises:
        ValueError: if Ray is not installed; see also `ShardRunner`.
        ConnectionError: if there is no cluster at the address, or a shard has lost its worker
            too often.
        OSError: see `ShardRunner.run`.
        FloatingPointError: likewise.
    """
    try:
        ray: Any = importlib.import_module("ray")
    except ImportError as error:
        raise ValueError(
            "--engine ray needs a package that is not installed: pip install 'wecromcl_d2[ray]'"
        ) from error
    if address is not None:
        _check_reachable(address)
    ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    try:
        _follow(ray, job, shards, pending)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
    except ray.exceptions.RayError as error:
        reason = str(error).splitlines()[0]
        raise ConnectionError(
            f"the Ray cluster has lost a shard {RETRIES} times: {reason}"
        ) from error
    finally:
        ray.shutdown()


def _check_reachable(address: str) -> None:
    """See that something listens at HOST:PORT; Ray itself would try for most of a minute.

    Raises:
        ConnectionError: if nothing does.
    """
    match = re.fullmatch(r"([\w.-]+):(\d+)", address)
    if match is None:  # "auto" and the like, which Ray looks up
        return
    try:
        socket.create_connection((match[1], int(match[2])), CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise ConnectionError(
            f"there is no Ray cluster at {address} ({error}); `ray status` on one of its machines "
            "says where it is"
        ) from error


def _follow(ray: Any, job: AnchorJob, shards: ShardPlan, pending: Sequence[int]) -> None:
    """Keep the cluster busy until all shards are written."""
    threads = int(os.environ.get("OMP_NUM_THREADS", 1))
    on_gpu = job.cfg.MODEL.DEVICE.startswith("cuda")
    task = ray.remote(_run_task).options(
        num_cpus=threads,
        num_gpus=1 if on_gpu else 0,
        max_retries=RETRIES,
        scheduling_strategy="SPREAD",
    )
    known = {name: os.environ[name] for name in INHERITED if name in os.environ}
    own = ray.put((job, os.getcwd(), known, threads))
    waiting: dict[Any, int] = {}
    numbers = iter(pending)
    with tqdm(
        total=sum(len(shards[number]) for number in pending), desc="anchors, Ray", unit="image"
    ) as bar:
        while True:
            most = max(1, int(TASKS_PER_CPU * ray.cluster_resources().get("CPU", 1)))
            while len(waiting) < most and (number := next(numbers, None)) is not None:
                waiting[task.remote(own, number)] = number
            if not waiting:
                return
            for reference in ray.wait(list(waiting))[0]:
                ray.get(reference)
                bar.update(len(shards[waiting.pop(reference)]))


def _run_task(own: tuple[AnchorJob, str, dict[str, str], int], number: int) -> None:
    """Write a shard in a worker's process, which keeps the model for its next one."""
    job, folder, known, threads = own
    runner = _runners.get(str(job.folder))
    if runner is None:
        os.chdir(folder)
        os.environ.update(known)
        import_own_modules()
        torch.set_num_threads(threads)
        runner = _runners[str(job.folder)] = ShardRunner(job, os.getpid())
    speed = runner.run([number])
    with replace_file(job.speed_file(f"ray-{os.uname().nodename}-{os.getpid()}")) as file:
        file.write(json.dumps(vars(speed)).encode())
