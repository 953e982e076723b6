"""The training loop and what happens in one step of it."""

import logging
import time
import weakref
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from detectron2.utils import comm
from detectron2.utils.events import EventStorage, get_event_storage

logger = logging.getLogger(__name__)


class HookBase:
    """Something to do at fixed points of the loop; `trainer` is set on registration.

    A hook that must survive a resume returns its state from `state_dict` and takes it back in
    `load_state_dict`. Its class name is the key in the checkpoint.
    """

    trainer: Any = None

    def before_train(self) -> None:
        """Before the first step."""

    def before_step(self) -> None:
        """Before every step; should take no time worth measuring."""

    def after_backward(self) -> None:
        """Between gradients and update of every step."""

    def after_step(self) -> None:
        """After every step."""

    def after_train(self) -> None:
        """After the last step, and after a failure: then `trainer.iter < trainer.max_iter`."""

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps of the hook."""
        return {}


class TrainerBase:
    """A loop of steps with hooks around them.

    Attributes:
        iter: the current step; `max_iter` once all are done.
        start_iter: the first step of this run.
        max_iter: one more than the last step.
        storage: the events of this run.
    """

    def __init__(self) -> None:
        self._hooks: list[HookBase] = []
        self.iter = self.start_iter = 0

    def register_hooks(self, hooks: list) -> None:
        """Add hooks at the end; None is left out. They see the trainer through a weak proxy."""
        for hook in filter(None, hooks):
            hook.trainer = weakref.proxy(self)
            self._hooks.append(hook)

    def train(self, start_iter: int, max_iter: int) -> Any:
        """Run the steps from `start_iter` up to, not including, `max_iter`."""
        logger.info(f"Starting training from iteration {start_iter}")
        self.iter, self.start_iter, self.max_iter = start_iter, start_iter, max_iter
        with EventStorage(start_iter) as self.storage:
            try:
                self.before_train()
                for self.iter in range(start_iter, max_iter):
                    self.before_step()
                    self.run_step()
                    self.after_step()
                self.iter += 1
            except Exception:
                logger.exception("Exception during training:")
                raise
            finally:
                self.after_train()

    def _call_hooks(self, moment: str) -> None:
        for hook in self._hooks:
            getattr(hook, moment)()

    def before_train(self) -> None:
        """Call the hooks."""
        self._call_hooks("before_train")

    def before_step(self) -> None:
        """Bring the storage to the current step and call the hooks."""
        self.storage.iter = self.iter
        self._call_hooks("before_step")

    def run_step(self) -> None:
        """One step; to be written by subclasses."""
        raise NotImplementedError(f"{type(self).__name__} has no run_step")

    def after_backward(self) -> None:
        """Call the hooks."""
        self._call_hooks("after_backward")

    def after_step(self) -> None:
        """Call the hooks."""
        self._call_hooks("after_step")

    def after_train(self) -> None:
        """Bring the storage to the current step and call the hooks."""
        self.storage.iter = self.iter
        self._call_hooks("after_train")

    def state_dict(self) -> dict[str, Any]:
        """The current step and, per class of hook, the state of the first hook that has one."""
        states = [(type(hook).__qualname__, hook.state_dict()) for hook in reversed(self._hooks)]
        hooks = {name: state for name, state in states if state}
        return {"iteration": self.iter, **({"hooks": hooks} if hooks else {})}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take back what `state_dict` gave; state of absent hooks is ignored with a warning."""
        self.iter = state_dict["iteration"]
        hooks: dict[str, Any] = {type(h).__qualname__: h for h in reversed(self._hooks)}
        for name, state in state_dict.get("hooks", {}).items():
            if name in hooks:
                hooks[name].load_state_dict(state)
            else:
                logger.warning(f"Cannot find the hook '{name}', its state_dict is ignored.")


@dataclass(eq=False, repr=False)
class SimpleTrainer(TrainerBase):
    """One model, one optimizer, one endless loader; each step minimises the sum of the losses.

    The model goes into training mode. The loader is first asked for data in the first step.

    Attributes:
        model: batch -> dict of scalar losses, or one loss.
        data_loader: iterable of batches.
        optimizer: over the model's parameters.
        gather_metric_period: steps between two gatherings of the losses of all processes.
    """

    model: Any
    data_loader: Any
    optimizer: Any
    gather_metric_period: int = 1
    grad_scaler = torch.amp.GradScaler("cuda", enabled=False)  # passes everything through

    def __post_init__(self) -> None:
        super().__init__()
        self.model.train()
        self._data_loader_iter_obj: Any = None

    def run_step(self) -> None:
        """Load, forward, backward, log, update."""
        assert self.model.training, f"[{type(self).__name__}] model was changed to eval mode!"
        start = time.perf_counter()
        data = next(self._data_loader_iter)
        data_time = time.perf_counter() - start
        losses = self._forward(data)
        loss_dict = {"total_loss": losses} if isinstance(losses, torch.Tensor) else losses
        self.optimizer.zero_grad()
        total: Any = sum(loss_dict.values())
        self.grad_scaler.scale(total).backward()
        self.after_backward()
        self._write_metrics(loss_dict, data_time)
        self.grad_scaler.step(self.optimizer)
        self.grad_scaler.update()

    def _forward(self, data: Any) -> Any:
        return self.model(data)

    @property
    def _data_loader_iter(self) -> Any:
        if self._data_loader_iter_obj is None:
            self._data_loader_iter_obj = iter(self.data_loader)
        return self._data_loader_iter_obj

    def _write_metrics(self, loss_dict: Any, data_time: float, prefix: str = "") -> None:
        """Put the losses, averaged over the processes, and the loading time in the storage.

        Args:
            loss_dict: scalar tensors, the same keys on every process.
            data_time: seconds spent waiting for data.
            prefix: put before "total_loss".

        Raises:
            FloatingPointError: on the main process, where the total is infinite or NaN.
        """
        if (self.iter + 1) % self.gather_metric_period != 0:
            return
        put = partial(get_event_storage().put_scalar, cur_iter=self.iter)
        put("rank_data_time", data_time)
        losses = {name: loss.detach().cpu().item() for name, loss in loss_dict.items()}
        gathered = comm.gather((losses, data_time))
        if not comm.is_main_process():
            return
        put("data_time", max(seconds for _, seconds in gathered))
        means = {name: np.mean([losses[name] for losses, _ in gathered]) for name in losses}
        total = sum(means.values())
        if not np.isfinite(total):
            raise FloatingPointError(f"Loss became {total} at iteration={self.iter}: {means}")
        put(f"{prefix}total_loss", total)
        for name, value in means.items() if len(means) > 1 else ():
            put(name, value)

    def state_dict(self) -> dict[str, Any]:
        """The state of the loop and the optimizer."""
        return {**super().state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take back what `state_dict` gave."""
        super().load_state_dict(state_dict)
        self.optimizer.load_state_dict(state_dict["optimizer"])


@dataclass(eq=False, repr=False)
class AMPTrainer(SimpleTrainer):
    """A `SimpleTrainer` in automatic mixed precision, for one CUDA device a process.

    Attributes:
        grad_scaler: scales the loss; None makes torch's.
        precision: type of the computation.
    """

    grad_scaler: Any = None
    precision: torch.dtype = torch.float16

    def __post_init__(self) -> None:
        super().__post_init__()
        self.grad_scaler = self.grad_scaler or torch.amp.GradScaler("cuda")

    def _forward(self, data: Any) -> Any:
        assert torch.cuda.is_available(), "[AMPTrainer] CUDA is required for AMP training!"
        with torch.autocast("cuda", dtype=self.precision):
            return self.model(data)

    def state_dict(self) -> dict[str, Any]:
        """The state of the loop, the optimizer and the scaler."""
        return {**super().state_dict(), "grad_scaler": self.grad_scaler.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take back what `state_dict` gave."""
        super().load_state_dict(state_dict)
        self.grad_scaler.load_state_dict(state_dict["grad_scaler"])
