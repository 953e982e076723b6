"""Gradient accumulation: several batches for one update."""

import time
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from detectron2.engine import SimpleTrainer
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel


class AccumulatingTrainer(SimpleTrainer):
    """Averages the gradients of several batches before each update.

    For a loss that is a mean over images this equals one large batch, except for batch statistics,
    in the memory of a small one. For a contrastive loss it does not: accumulation averages losses
    of the small batches and does not enlarge their pools of negatives.

    Args:
        model: batch -> dict of scalar losses; if wrapped in `DistributedDataParallel`, processes
            exchange gradients once per update.
        data_loader: endless batches.
        optimizer: of the model.
        batches: number of batches per update.
        precision: of the forward pass on a GPU, None for full.
        grad_scaler: of the loss on a GPU, None for none.
    """

    def __init__(
        self,
        model: nn.Module,
        data_loader: Any,
        optimizer: torch.optim.Optimizer,
        *,
        batches: int,
        precision: torch.dtype | None = None,
        grad_scaler: torch.amp.GradScaler | None = None,
    ):
        super().__init__(model, data_loader, optimizer)
        self.batches, self.precision = batches, precision
        self.grad_scaler = grad_scaler or torch.amp.GradScaler("cuda", enabled=False)

    def run_step(self) -> None:
        """Forward and backward for each batch, then one update."""
        assert self.model.training, "the model was left in evaluation mode"
        self.optimizer.zero_grad()
        means: dict[str, Tensor] = {}
        waited = 0.0
        for index in range(self.batches):
            start = time.perf_counter()
            data = next(self._data_loader_iter)
            waited += time.perf_counter() - start
            with self._exchange(index == self.batches - 1):
                with torch.autocast("cuda", self.precision, enabled=self.precision is not None):
                    losses = self.model(data)
                self.grad_scaler.scale(sum(losses.values()) / self.batches).backward()
            for name, loss in losses.items():
                means[name] = means.get(name, 0) + loss.detach() / self.batches
        self.after_backward()
        self._write_metrics(means, waited)
        self.grad_scaler.step(self.optimizer)
        self.grad_scaler.update()

    def _exchange(self, is_last: bool) -> AbstractContextManager:
        """Context in which processes exchange gradients only in the last backward pass."""
        if is_last or not isinstance(self.model, DistributedDataParallel):
            return nullcontext()
        return self.model.no_sync()

    def state_dict(self) -> dict[str, Any]:
        """The state of the loop, the optimizer and the scaler."""
        return {**super().state_dict(), "grad_scaler": self.grad_scaler.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load the result of `state_dict`, of this class or of `SimpleTrainer`."""
        super().load_state_dict(state_dict)
        if state_dict.get("grad_scaler"):
            self.grad_scaler.load_state_dict(state_dict["grad_scaler"])
