"""Ready-made hooks."""

import logging
import math
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from detectron2 import checkpoint
from detectron2.evaluation.testing import flatten_results_dict
from detectron2.utils import comm
from detectron2.utils.events import EventWriter

from .train_loop import HookBase

logger = logging.getLogger(__name__)


class IterationTimer(HookBase):
    """Puts the seconds of every step in the storage and logs a summary; to be the first hook."""

    def __init__(self, warmup_iter: int = 3) -> None:
        """Leave the first `warmup_iter` steps out."""
        self._warmup_iter = warmup_iter
        self.before_train()

    def before_train(self) -> None:
        """Start to measure."""
        self._start_time, self._in_steps = time.perf_counter(), 0.0

    def before_step(self) -> None:
        """Start to measure the step."""
        self._step_start = time.perf_counter()

    def after_step(self) -> None:
        """Put the time of the step in the storage, or start over during warmup."""
        seconds = time.perf_counter() - self._step_start
        if self.trainer.storage.iter - self.trainer.start_iter + 1 < self._warmup_iter:
            self.before_train()
        else:
            self.trainer.storage.put_scalars(time=seconds)
            self._in_steps += seconds

    def after_train(self) -> None:
        """Log the times."""
        total = time.perf_counter() - self._start_time
        total_span, hooks_span = (
            timedelta(seconds=int(s)) for s in (total, total - self._in_steps)
        )
        logger.info(f"Total training time: {total_span} ({hooks_span} on hooks)")


class PeriodicWriter(HookBase):
    """Lets writers write every `period` steps, after the last one and at the end."""

    def __init__(self, writers: list[EventWriter], period: int = 20) -> None:
        """Serve `writers` in their order."""
        self._writers, self._period = writers, period

    def after_step(self) -> None:
        """Write if it is time."""
        done = self.trainer.iter + 1
        if done % self._period == 0 or done == self.trainer.max_iter:
            for writer in self._writers:
                writer.write()

    def after_train(self) -> None:
        """Write what other hooks have added and close."""
        for writer in self._writers:
            writer.write()
            writer.close()


class PeriodicCheckpointer(checkpoint.PeriodicCheckpointer, HookBase):
    """fvcore's checkpointer as a hook: every `period` steps and after the last one."""

    def before_train(self) -> None:
        """Learn the number of steps."""
        self.max_iter = self.trainer.max_iter

    def after_step(self) -> None:
        """Save if it is time."""
        self.step(self.trainer.iter)


class _AtEvaluations(HookBase):
    """Acts every `eval_period` > 0 steps; what is due after the last waits for `after_train`."""

    eval_period: int

    def _act(self) -> None:
        raise NotImplementedError

    def after_step(self) -> None:
        """Act if it is time."""
        done, period = self.trainer.iter + 1, self.eval_period
        if period > 0 and done % period == 0 and done != self.trainer.max_iter:
            self._act()

    def after_train(self) -> None:
        """Act unless training failed before its last step."""
        if self.trainer.iter + 1 >= self.trainer.max_iter:
            self._act()


@dataclass(eq=False)
class EvalHook(_AtEvaluations):
    """Evaluates periodically and at the end; on all processes or on none.

    Attributes:
        eval_period: steps, or 0 for the end only.
        eval_function: returns a nested dict of numbers (`ValueError` otherwise), or nothing.
    """

    eval_period: int
    eval_function: Any

    def _act(self) -> None:
        if results := self.eval_function():
            flat = {k: float(v) for k, v in flatten_results_dict(results).items()}
            self.trainer.storage.put_scalars(**flat, smoothing_hint=False)
        comm.synchronize()  # the next step starts together, however long each one took


@dataclass(eq=False)
class BestCheckpointer(_AtEvaluations):
    """Saves a checkpoint when a metric improves; belongs after the `EvalHook` of its period.

    The checkpointer then names this file as the last one, so a resume continues from it.

    Attributes:
        eval_period: the period of the `EvalHook`.
        checkpointer: saves the file.
        val_metric: name in the storage, such as "task/metric".
        mode: "max" or "min", the better direction.
        file_prefix: name of the file.
        best_metric: the best finite value so far.
        best_iter: its step.
    """

    eval_period: int
    checkpointer: Any
    val_metric: str
    mode: str = "max"
    file_prefix: str = "model_best"
    best_metric: float | None = None
    best_iter: int | None = None

    def __post_init__(self) -> None:
        assert self.mode in ("max", "min"), f'mode must be "max" or "min", got "{self.mode}"'

    def _act(self) -> None:
        name, best, latest = self.val_metric, self.best_metric, self.trainer.storage.latest()
        if name not in latest:
            return logger.warning(f"No metric {name} in the storage: no best checkpoint.")
        value, step = latest[name]
        better = best is None or (value > best if self.mode == "max" else value < best)
        if not better or not math.isfinite(value):
            return logger.info(f"Not saving: {name} is {value:0.5f}, the best is {best}.")
        self.checkpointer.save(self.file_prefix, iteration=step)
        logger.info(f"Saved best model: {name} is {value:0.5f} @ {step} steps.")
        self.best_metric, self.best_iter = value, step


class LRScheduler(HookBase):
    """Puts the learning rate of a step in the storage, then steps the scheduler."""

    def __init__(self, optimizer: Any = None, scheduler: Any = None) -> None:
        """Set the parts.

        Args:
            optimizer: the trainer's if None.
            scheduler: the trainer's if None.
        """
        self._optimizer, self._scheduler = optimizer, scheduler

    def before_train(self) -> None:
        """Complete the parts."""
        self._optimizer = self._optimizer or self.trainer.optimizer

    def after_step(self) -> None:
        """Log the rate of this step, that of the largest group, and set that of the next."""
        group = max(self._optimizer.param_groups, key=lambda group: len(group["params"]))
        self.trainer.storage.put_scalar("lr", group["lr"], smoothing_hint=False)
        self.scheduler.step()

    @property
    def scheduler(self) -> Any:
        """The scheduler in use."""
        return self._scheduler or self.trainer.scheduler

    def state_dict(self) -> dict[str, Any]:
        """The state of the scheduler."""
        return self.scheduler.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take back what `state_dict` gave."""
        self.scheduler.load_state_dict(state_dict)
