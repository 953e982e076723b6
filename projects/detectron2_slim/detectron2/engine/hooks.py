"""Ready-made hooks."""

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from itertools import chain, islice
from typing import Any

from fvcore.common.param_scheduler import ParamScheduler
from fvcore.nn.precise_bn import update_bn_stats

from detectron2 import checkpoint, solver
from detectron2.evaluation.testing import flatten_results_dict
from detectron2.utils import comm
from detectron2.utils.events import EventStorage, EventWriter

from .train_loop import HookBase

logger = logging.getLogger(__name__)


class CallbackHook(HookBase):
    """Functions as a hook."""

    def __init__(self, **callbacks: Callable[[Any], Any]) -> None:
        """Set the functions, each of which gets the trainer.

        Args:
            **callbacks: for `before_train`, `before_step`, `after_step`, `after_train`.
        """
        for moment, callback in callbacks.items():
            assert hasattr(HookBase, moment), f"hooks are not called at {moment}"
            setattr(self, moment, lambda callback=callback: callback and callback(self.trainer))


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
        total, steps = time.perf_counter() - self._start_time, self._in_steps
        count = self.trainer.storage.iter + 1 - self.trainer.start_iter - self._warmup_iter
        spans = [timedelta(seconds=int(seconds)) for seconds in (steps, total, total - steps)]
        if count > 0 and steps > 0:
            speed = f"{count} iterations in {spans[0]} ({steps / count:.4f} s / it)"
            logger.info(f"Overall training speed: {speed}")
        logger.info(f"Total training time: {spans[1]} ({spans[2]} on hooks)")


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
    """Acts every `_period` > 0 steps; what is due after the last step waits for `after_train`."""

    _period: int

    def _act(self) -> None:
        raise NotImplementedError

    def after_step(self) -> None:
        """Act if it is time."""
        done = self.trainer.iter + 1
        if self._period > 0 and done % self._period == 0 and done != self.trainer.max_iter:
            self._act()

    def after_train(self) -> None:
        """Act unless training failed before its last step."""
        if self.trainer.iter + 1 >= self.trainer.max_iter:
            self._act()


class EvalHook(_AtEvaluations):
    """Evaluates every `eval_period` steps and at the end; on all processes or on none."""

    def __init__(
        self, eval_period: int, eval_function: Callable[[], Any], eval_after_train: bool = True
    ) -> None:
        """Set the evaluation.

        Args:
            eval_period: steps, or 0 for the end only.
            eval_function: returns a nested dict of numbers (`ValueError` otherwise), or nothing.
            eval_after_train: whether to evaluate at the end.
        """
        self._period, self._func = eval_period, eval_function
        self._eval_after_train = eval_after_train

    def _act(self) -> None:
        results = self._func()
        if results:
            assert isinstance(results, dict), f"evaluation must return a dict, got {results!r}"
            flat = {k: float(v) for k, v in flatten_results_dict(results).items()}
            self.trainer.storage.put_scalars(**flat, smoothing_hint=False)
        comm.synchronize()  # the next step starts together, however long each one took

    def after_train(self) -> None:
        """Evaluate, and let go of the function: it may hold the trainer."""
        if self._eval_after_train:
            super().after_train()
        self._func = dict


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
        self._period = self.eval_period

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
            scheduler: the trainer's if None; a torch scheduler, or one of fvcore's, which then
                multiplies the optimizer's rates.
        """
        self._optimizer, self._scheduler = optimizer, scheduler

    def before_train(self) -> None:
        """Complete the parts."""
        self._optimizer = self._optimizer or self.trainer.optimizer
        if isinstance(self.scheduler, ParamScheduler):
            parts = self._optimizer, self.scheduler, self.trainer.max_iter, self.trainer.iter - 1
            self._scheduler = solver.LRMultiplier(*parts)

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
        """The state of the scheduler; fvcore's have none."""
        return {} if isinstance(self.scheduler, ParamScheduler) else self.scheduler.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take back what `state_dict` gave."""
        logger.info("Loading scheduler from state_dict ...")
        self.scheduler.load_state_dict(state_dict)


class PreciseBN(HookBase):
    """Replaces the running averages of BN layers by true ones every `period` steps and last."""

    def __init__(self, period: int, model: Any, data_loader: Any, num_iter: int) -> None:
        """Set the source of the averages.

        Args:
            period: steps, or 0 for the end only.
            model: its BN layers in training mode are updated.
            data_loader: gives the batches, one iteration over it serves all updates.
            num_iter: batches per update.
        """
        self._period, self._model, self._num_iter = period, model, num_iter
        self._batches = chain.from_iterable([data_loader])  # asks the loader for data when needed

    def after_step(self) -> None:
        """Update if it is time."""
        done = self.trainer.iter + 1
        if done == self.trainer.max_iter or (self._period > 0 and done % self._period == 0):
            self.update_stats()

    def update_stats(self) -> None:
        """Run the batches through the model; what it logs meanwhile is thrown away."""
        logger.info(f"Running precise-BN for {self._num_iter} iterations...")
        with EventStorage():
            update_bn_stats(self._model, islice(self._batches, self._num_iter), self._num_iter)
