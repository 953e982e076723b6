"""Learning rates as functions of the training's progress."""

from typing import Any

from fvcore.common import param_scheduler as schedulers
from torch.optim.lr_scheduler import LRScheduler


class WarmupParamScheduler(schedulers.CompositeParamScheduler):
    """Puts a warmup before another schedule.

    Args:
        scheduler: The other schedule.
        warmup_factor: Start of the warmup relative to the start of the schedule.
        warmup_length: Share of the training, in [0, 1].
        warmup_method: "linear" or "constant".
        rescale_interval: Whether the schedule starts after the warmup, or has run along with it.

    Raises:
        ValueError: For another method.
    """

    def __init__(
        self,
        scheduler: schedulers.ParamScheduler,
        warmup_factor: float,
        warmup_length: float,
        warmup_method: str = "linear",
        rescale_interval: bool = False,
    ) -> None:
        start = warmup_factor * scheduler(0.0)
        end = {"linear": scheduler(0.0 if rescale_interval else warmup_length), "constant": start}
        if warmup_method not in end:
            raise ValueError(f"unknown warmup method '{warmup_method}': linear or constant")
        warmup = schedulers.LinearParamScheduler(start, end[warmup_method])
        scaling = ["rescaled", "rescaled" if rescale_interval else "fixed"]
        super().__init__([warmup, scheduler], [warmup_length, 1 - warmup_length], scaling)


class LRMultiplier(LRScheduler):
    """Multiplies every group's initial learning rate by a schedule.

    Args:
        optimizer: The optimizer.
        multiplier: The schedule, a fvcore ``ParamScheduler``.
        max_iter: Number of iterations; progress is relative to it.
        last_iter: The iteration that was finished last.

    Raises:
        ValueError: If the multiplier is no schedule.
    """

    def __init__(self, optimizer: Any, multiplier: Any, max_iter: int, last_iter: int = -1) -> None:
        if not isinstance(multiplier, schedulers.ParamScheduler):
            raise ValueError(f"multiplier must be a fvcore ParamScheduler, got {multiplier}")
        self._multiplier = multiplier
        self._max_iter = max_iter
        super().__init__(optimizer, last_epoch=last_iter)

    def state_dict(self) -> dict[str, Any]:
        """Return the state; the schedule has none."""
        return {"base_lrs": self.base_lrs, "last_epoch": self.last_epoch}

    def get_lr(self) -> list[Any]:
        """Return the learning rate of each group."""
        factor = self._multiplier(self.last_epoch / self._max_iter)
        return [base_lr * factor for base_lr in self.base_lrs]
