r"""`wecromcl benchmark read`: throughput of `wecromcl read --bulk` relative to the bare model's.

    wecromcl benchmark read photos/ --images 200

Reading, from files to JSON lines, and the bare model, with its batches in memory, run in turn on
the first images; the result is the median of the ratios.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch

from ..predictor import Spotter, Spotting
from .bulk import Item, list_items, read_batches
from .inputs import add_common_arguments, check_common_arguments, load_predictor, predictor_options
from .status import command_parser

TURNS = 5


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The parsed command line."""
    parser = command_parser("benchmark read", __doc__)
    add_common_arguments(parser, Spotter.task)
    parser.add_argument("--images", type=int, default=200, help="at most (%(default)s)")
    args = parser.parse_args(argv)
    check_common_arguments(parser, args)
    return args


def seconds_of(work: Callable[[], object]) -> tuple[float, float]:
    """Wall time and CPU time of a function."""
    start, cpu_start = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - start, time.process_time() - cpu_start


def measure(spotter: Spotter, items: Sequence[Item], batch_size: int) -> None:
    """Compare the time of reading with that of the bare model on the same batches, by turns."""
    model, batches = spotter.model, []

    def record(batch: list[dict[str, Any]]) -> Any:
        batches.append(batch)
        return model(batch)

    def answer(pixels: list[np.ndarray], _: list[list[str]]) -> list[Spotting]:
        return spotter(pixels, batch_size=batch_size)

    def read() -> None:
        for records in read_batches(answer, iter(items), batch_size):
            json.dumps(records)

    @torch.no_grad()
    def run_bare() -> None:
        for batch in batches:
            model(batch)

    spotter.model = record
    read()
    spotter.model = model
    wall, cpu = [], []
    for _ in range(TURNS):
        bare, whole = seconds_of(run_bare), seconds_of(read)
        wall.append(bare[0] / whole[0])
        cpu.append(bare[1] / whole[1])
        print(
            f"{len(items)} images: bare model {len(items) / bare[0]:.2f} images/s, reading "
            f"{len(items) / whole[0]:.2f} images/s, ratio {wall[-1]:.3f}, by CPU time "
            f"{cpu[-1]:.3f}, load {os.getloadavg()[0]:.1f}"
        )
    print(f"median ratio {statistics.median(wall):.3f}, by CPU time {statistics.median(cpu):.3f}")


def run(argv: Sequence[str] | None) -> None:
    """Measure what the command line asks for.

    Raises:
        UsageError: if there is no image.
    """
    args = parse_args(argv)
    spotter = load_predictor(Spotter, args, tiling=None, **predictor_options(args))
    measure(spotter, list(islice(list_items(args.inputs), args.images)), args.batch_size)
