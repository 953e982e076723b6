r"""`wecromcl benchmark anchors`: throughput of labelling relative to that of the bare model.

    wecromcl benchmark anchors --config-file configs/quick/anchors.yaml \
        --weights demo_output/anchors/model_best.pth --dataset synth_scenes_train --images 300

Labelling as by `wecromcl anchors` and the bare model, with images in memory and words encoded, run
in turn on the first images of the dataset; the result is the median of the ratios.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from detectron2.config import CfgNode

from ..data.datasets import Record
from ..engine.precision import prepare_cpu
from ..stage1.anchor_job import AnchorJob, ShardPlan, plan_shards
from ..stage1.generate import load_detector, run_shards
from ..stage1.mapper import AnchorMapper
from .anchor_labels import total_speed
from .anchors import add_model_arguments, make_config
from .status import check_positive, command_parser

TURNS = 5


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The parsed command line."""
    parser = command_parser("benchmark anchors", __doc__)
    add_model_arguments(parser)
    parser.add_argument("--images", type=int, default=300, help="of the dataset (%(default)s)")
    args = parser.parse_args(argv)
    check_positive(parser, args, "images", "batch_size")
    return args


def measure(args: argparse.Namespace, cfg: CfgNode) -> None:
    """Compare the time of labelling with that of the bare model, by turns.

    The result is the ratio of wall times; that of CPU times is less disturbed by other programs.
    """
    prepare_cpu()
    wall, cpu = [], []
    with tempfile.TemporaryDirectory() as folder:
        folders = [Path(folder) / str(turn) for turn in range(TURNS)]
        jobs = [AnchorJob(cfg, args.dataset, args.batch_size, f, args.images) for f in folders]
        records = jobs[0].records()
        shards = plan_shards(records, args.batch_size)
        for job in jobs:
            bare, bare_cpu = time_bare_model(cfg, records, shards, args.batch_size)
            run_shards(job, range(len(shards)), records)
            speed = total_speed(job)
            assert speed is not None
            wall.append(speed["images_per_second"] / bare)
            cpu.append(bare_cpu / max(speed["cpu_seconds"], 1e-9))
            print(
                f"{len(records)} images: bare model {bare:.2f} images/s, labelling "
                f"{speed['images_per_second']:.2f} images/s, ratio {wall[-1]:.3f}, by CPU time "
                f"{cpu[-1]:.3f}, load {os.getloadavg()[0]:.1f}"
            )
    print(f"median ratio {statistics.median(wall):.3f}, by CPU time {statistics.median(cpu):.3f}")


def time_bare_model(
    cfg: CfgNode, records: Sequence[Record], shards: ShardPlan, batch_size: int
) -> tuple[float, float]:
    """Images per second and CPU seconds of the model alone: images in memory, words encoded."""
    model, mapper = load_detector(cfg), AnchorMapper(cfg, False)
    inputs = [mapper(records[index]) for shard in shards for index in shard]
    batches = [inputs[i : i + batch_size] for i in range(0, len(inputs), batch_size)]
    for batch in batches:
        model(batch)
    start, cpu_start = time.perf_counter(), time.process_time()
    for batch in batches:
        model(batch)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return len(inputs) / (time.perf_counter() - start), time.process_time() - cpu_start


def run(argv: Sequence[str] | None) -> None:
    """Measure what the command line asks for."""
    args = parse_args(argv)
    measure(args, make_config(args))
