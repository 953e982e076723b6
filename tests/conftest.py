"""Set before any test runs: one thread, and the same random numbers for every test.

`WECROMCL_TEST_SEED` (0) chooses these numbers. With it, and with `ATEN_CPU_CAPABILITY` and
`ONEDNN_MAX_CPU_ISA`, which make this processor round like others, trainings can be repeated
that must not depend on either: `make test ARGS="-m trains"`.
"""

import functools
import os

# The suite's tensors are tiny: on busy cores a second thread makes them slower, not faster.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import random

import numpy as np
import pytest
import torch

SEED = int(os.environ.get("WECROMCL_TEST_SEED", "0"))


@pytest.fixture
def forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `launch` fork its processes, which have everything imported then.

    For tests of what processes do together; `detectron2_contract/test_launch.py` spawns them.
    """
    start = functools.partial(torch.multiprocessing.start_processes, start_method="fork")
    monkeypatch.setattr(torch.multiprocessing, "start_processes", start)


@pytest.fixture
def uninitialised(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the initial values of models, most of the time that large ones take to build.

    For tests of what a config makes; `layers/test_initial_values.py` tests the values.
    """
    for name in dir(torch.nn.init):
        if name.endswith("_") and not name.startswith("_"):
            monkeypatch.setattr(torch.nn.init, name, lambda tensor, *_, **__: tensor)


@pytest.fixture(autouse=True)
def fixed_seed() -> None:
    """Make every test independent of those before it."""
    # What trains or predicts turns denormal numbers off, without which hypothesis refuses to work.
    torch.set_flush_denormal(False)
    random.seed(SEED)
    np.random.seed(SEED)
    torch.manual_seed(SEED)
