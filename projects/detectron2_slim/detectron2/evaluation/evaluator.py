"""Evaluators and the loop that feeds them."""

import logging
import time
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from typing import Any

import torch
from torch import nn

from detectron2.utils.comm import get_world_size, is_main_process
from detectron2.utils.logger import log_every_n_seconds

logger = logging.getLogger(__name__)


class DatasetEvaluator:
    """Collects what a model says about a dataset and turns it into figures."""

    def reset(self) -> None:
        """Forget everything collected."""

    def process(self, inputs: Any, outputs: Any) -> None:
        """Take one batch of the loader and the model's answer to it."""

    def evaluate(self) -> dict[str, Any] | None:
        """Figures as `{task: {metric: number}}`.

        Runs on every process and gathers by itself what the others collected; all but the main
        process may return None.
        """


class DatasetEvaluators(DatasetEvaluator):
    """Several evaluators behind the face of one."""

    def __init__(self, evaluators: list) -> None:
        """Pass everything to `evaluators`, which must report different tasks."""
        self._evaluators = evaluators

    def reset(self) -> None:
        """Reset all."""
        for evaluator in self._evaluators:
            evaluator.reset()

    def process(self, inputs: Any, outputs: Any) -> None:
        """Pass the batch to all."""
        for evaluator in self._evaluators:
            evaluator.process(inputs, outputs)

    def evaluate(self) -> dict[str, Any]:
        """The figures of all in one dict, which is empty off the main process."""
        results: dict[str, Any] = {}
        for evaluator in self._evaluators:
            figures = evaluator.evaluate()
            if is_main_process() and figures is not None:
                assert results.keys().isdisjoint(figures), f"same key: {[*results]}, {[*figures]}"
                results.update(figures)
        return results


def inference_on_dataset(model: Any, data_loader: Any, evaluator: Any) -> dict[str, Any]:
    """Run a model over a loader without gradients and evaluate its answers.

    Args:
        model: batch -> answer; a module is in eval mode meanwhile and gets its mode back.
        data_loader: iterable with a length.
        evaluator: one, a list, or None to measure speed only.

    Returns:
        What the evaluator reports, `{}` in place of None. Times are logged; the first batches
        (up to five) do not count in them.
    """
    total = len(data_loader)
    logger.info(f"Start inference on {total} batches")
    if evaluator is None or isinstance(evaluator, list):
        evaluator = DatasetEvaluators(evaluator or [])
    evaluator.reset()
    warmup = min(5, total - 1)
    start, compute = time.perf_counter(), 0.0
    mode = inference_context(model) if isinstance(model, nn.Module) else nullcontext()
    with mode, torch.no_grad():
        for index, inputs in enumerate(data_loader):
            if index == warmup:
                start, compute = time.perf_counter(), 0.0
            compute -= time.perf_counter()
            outputs = model(inputs)
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            compute += time.perf_counter()
            evaluator.process(inputs, outputs)
            if index >= 2 * warmup:
                pace = (time.perf_counter() - start) / (index + 1 - warmup)
                progress = f"Inference done {index + 1}/{total}. Total: {pace:.4f} s/iter."
                log_every_n_seconds(logging.INFO, progress, n=5)
    each = f"s / iter per device, on {get_world_size()} devices"
    for name, spent in {"time": time.perf_counter() - start, "pure compute time": compute}.items():
        span, batch = timedelta(seconds=int(spent)), spent / (total - warmup)
        logger.info(f"Total inference {name}: {span} ({batch:.6f} {each})")
    results = evaluator.evaluate()
    return {} if results is None else results


@contextmanager
def inference_context(model: nn.Module) -> Any:
    """Eval mode for the time of a `with` block, then the mode the model had before."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)
