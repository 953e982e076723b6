"""Set before any test runs: one thread, and the same random numbers for every test."""

import os

# The suite's tensors are tiny: on busy cores a second thread makes them slower, not faster.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import random

import numpy as np
import pytest
import torch


@pytest.fixture(autouse=True)
def fixed_seed() -> None:
    """Make every test independent of those before it."""
    # What trains or predicts turns denormal numbers off, without which hypothesis refuses to work.
    torch.set_flush_denormal(False)
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
