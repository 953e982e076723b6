"""The simulation of labelling runs, on cases that can be counted by hand."""

import numpy as np
import pytest

from projects.studies.scale.simulate import ENGINES, Run, Worker, simulate

EQUAL = np.ones(1)


@pytest.mark.parametrize("engine", ENGINES)
def test_without_trouble_shards_are_shared_evenly(engine):
    run = Run(shards=10, seconds=7, spread=EQUAL, start=5, merge=3)
    assert simulate(run, 4, engine, seed=0) == 5 + 3 * 7 + 3


class Sure:
    """A generator whose draws are given."""

    def __init__(self, slow, failures):
        self.slow, self.failures = slow, iter(failures)

    def random(self):
        return 0.0 if self.slow else 1.0

    def exponential(self, mean):
        return next(self.failures)


def crew(run, *workers):
    return [Worker(run, Sure(slow, [*failures, np.inf])) for slow, failures in workers]


def test_a_slow_worker_holds_up_its_own_part_alone():
    run = Run(shards=8, seconds=10, spread=EQUAL, slow=(0.5, 3.0))
    seconds = np.full(8, 10.0)
    workers = (False, []), (True, [])
    assert ENGINES["parts"](crew(run, *workers), seconds) == 4 * 30
    # The slow one takes two shards until 60, the other one six of them.
    assert ENGINES["tasks"](crew(run, *workers), seconds) == 60


def test_a_failed_shard_is_run_again():
    run = Run(shards=4, seconds=10, spread=EQUAL, failures=100, start=2, again=20)
    seconds = np.full(4, 10.0)
    # The second worker fails at 17, is back at 37 and begins at 39; the other is free before.
    workers = (False, []), (False, [17])
    assert ENGINES["parts"](crew(run, *workers), seconds) == 39 + 10
    assert ENGINES["tasks"](crew(run, *workers), seconds) == 2 + 10 + 10 + 10


def test_it_is_repeatable():
    run = Run(200, 10, np.array([0.8, 1.0, 1.2]), (0.1, 3.0), 500.0, 5, 20, 3)
    for engine in ENGINES:
        assert simulate(run, 10, engine, 1) == simulate(run, 10, engine, 1)
        assert simulate(run, 10, engine, 1) != simulate(run, 10, engine, 2)
