"""What tests of the recipes ask of schedules."""

from typing import Any

import torch


def learning_rates(optimizer: torch.optim.Optimizer, schedule: Any, steps: int) -> list[float]:
    """The rate of the first parameter group in each step."""
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return rates
