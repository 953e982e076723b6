"""Simulation of a labelling run on many workers, some of which are slow and all of which may fail.

    python projects/studies/scale/simulate.py --workers 8 80 800 1000

Compares the two ways to share the shards of `wecromcl anchors`: as parts of a job array
(`--shard`), each worker having its own, and as tasks (`--engine ray`), each free worker taking the
next. A worker that fails loses the shard that it works at, and starts again.
"""

import argparse
import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

MEASURED = Path(__file__).with_name("shard_seconds.txt")
HOUR = 3600.0


@dataclass(frozen=True)
class Run:
    """What is simulated; times are in seconds.

    Attributes:
        shards: number of shards.
        seconds: mean time of a shard on a worker of usual speed.
        spread: times of measured shards in units of their mean, from which those of all are drawn.
        slow: share of slow workers, and how many times longer they need.
        failures: mean time between two failures of a worker; infinite for none.
        start: time until a worker, at the beginning and after a failure, begins its first shard.
        again: time until a failed worker is started again.
        merge: time of the merge, on one worker, at the end.
    """

    shards: int
    seconds: float
    spread: np.ndarray
    slow: tuple[float, float] = (0.0, 1.0)
    failures: float = np.inf
    start: float = 0.0
    again: float = 0.0
    merge: float = 0.0


class Worker:
    """One worker: when it is free, and when it will fail next."""

    def __init__(self, run: Run, generator: np.random.Generator):
        self._run, self._generator = run, generator
        share, factor = run.slow
        self._factor = factor if generator.random() < share else 1.0
        self.free = run.start
        self._failure = self._next_failure(0.0)

    def _next_failure(self, now: float) -> float:
        if np.isinf(self._run.failures):
            return np.inf
        return now + self._generator.exponential(self._run.failures)

    def work(self, seconds: float) -> float | None:
        """Work at a shard from `free` on; when it was lost, None if it was finished."""
        end = self.free + seconds * self._factor
        if end < self._failure:
            self.free = end
            return None
        lost = self._failure
        back = lost + self._run.again
        self.free, self._failure = back + self._run.start, self._next_failure(back)
        return lost


def run_tasks(workers: list[Worker], seconds: np.ndarray) -> float:
    """Time when the last shard is written if each free worker takes the next one."""
    waiting = [(worker.free, number) for number, worker in enumerate(workers)]
    heapq.heapify(waiting)
    queue, end = iter(seconds), 0.0
    again: list[tuple[float, float]] = []  # lost shards: when, and their length
    while waiting:
        now, number = heapq.heappop(waiting)
        length = heapq.heappop(again)[1] if again and again[0][0] <= now else next(queue, None)
        if length is None:
            if again:  # there is nothing to do before a failure that is still to come
                heapq.heappush(waiting, (again[0][0], number))
            continue
        worker = workers[number]
        worker.free = max(worker.free, now)
        lost = worker.work(length)
        if lost is None:
            end = max(end, worker.free)
        else:
            heapq.heappush(again, (lost, length))
        heapq.heappush(waiting, (worker.free, number))
    return end


def run_parts(workers: list[Worker], seconds: np.ndarray) -> float:
    """Time when the last shard is written if each worker has its own."""
    for number, worker in enumerate(workers):
        for length in seconds[number :: len(workers)]:
            while worker.work(length) is not None:
                pass
    return max(worker.free for worker in workers)


ENGINES: dict[str, Callable[[list[Worker], np.ndarray], float]] = {
    "tasks": run_tasks,
    "parts": run_parts,
}


def simulate(run: Run, workers: int, engine: str, seed: int) -> float:
    """Wall time of one run in seconds; equal seeds have the same shards and the same workers."""
    generator = np.random.default_rng(seed)
    seconds = run.seconds * generator.choice(run.spread, run.shards)
    crew = [Worker(run, np.random.default_rng((seed, number))) for number in range(workers)]
    return ENGINES[engine](crew, seconds) + run.merge


def rows(run: Run, counts: list[int], seeds: int) -> Iterator[str]:
    """A table: wall time and efficiency, the share of the time that a perfect run would need."""
    yield "| Workers | perfect | tasks | efficiency | parts | efficiency |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for workers in counts:
        perfect = run.shards * run.seconds / workers
        cells = []
        for engine in ENGINES:
            times = [simulate(run, workers, engine, seed) for seed in range(seeds)]
            low, middle, high = (np.quantile(times, q) / HOUR for q in (0, 0.5, 1))
            cells.append(f"{middle:.2f} h ({low:.2f} to {high:.2f})")
            cells.append(f"{perfect / (middle * HOUR):.2f}")
        yield f"| {workers} | {perfect / HOUR:.2f} h | {' | '.join(cells)} |"


def main() -> None:
    """Print the table for the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--workers", type=int, nargs="+", default=[8, 80, 800, 1000], help="%(default)s")
    add("--images", type=int, default=1_000_000, help="%(default)s")
    add("--seconds", type=float, default=3.5, help="of an image (%(default)s)")
    add("--shard-size", type=int, default=64, help="images of a shard (%(default)s)")
    add("--measured", type=Path, default=MEASURED, help="times of shards, one a line")
    add("--slow", type=float, nargs=2, default=(0.02, 3.0), metavar=("SHARE", "FACTOR"),
        help="slow workers (%(default)s)")  # fmt: skip
    add("--failures", type=float, default=500.0, help="hours between a worker's (%(default)s)")
    add("--start", type=float, default=120.0, help="seconds until the first shard (%(default)s)")
    add("--again", type=float, default=300.0, help="seconds until a new start (%(default)s)")
    add("--merge", type=float, default=120.0, help="seconds of the merge (%(default)s)")
    add("--seeds", type=int, default=5, help="runs of each kind (%(default)s)")
    args = parser.parse_args()
    measured = np.loadtxt(args.measured)
    run = Run(
        shards=-(-args.images // args.shard_size),
        seconds=args.seconds * args.shard_size,
        spread=measured / measured.mean(),
        slow=tuple(args.slow),
        failures=args.failures * HOUR,
        start=args.start,
        again=args.again,
        merge=args.merge,
    )
    print("\n".join(rows(run, args.workers, args.seeds)))


if __name__ == "__main__":
    main()
