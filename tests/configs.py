"""What tests of the recipes ask of configs and schedules."""

from collections.abc import Mapping
from typing import Any

import torch


def flat(cfg: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The values of a config by their full keys."""
    result: dict[str, Any] = {}
    for key, value in cfg.items():
        nested = isinstance(value, Mapping)
        result |= flat(value, f"{prefix}{key}.") if nested else {prefix + key: value}
    return result


def learning_rates(optimizer: torch.optim.Optimizer, schedule: Any, steps: int) -> list[float]:
    """The rate of the first parameter group in each step."""
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return rates
