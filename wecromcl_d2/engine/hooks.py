"""Hooks of the trainer."""

import numpy as np
import torch
from detectron2.engine import HookBase, hooks
from detectron2.utils import comm


class SeedEachIteration(HookBase):
    """Makes every random draw of an iteration a function of (seed, iteration, rank).

    A resumed run then draws the same numbers as an uninterrupted one, without the state of any
    generator in checkpoints.
    """

    def __init__(self, seed: int):
        self.seed = seed

    def before_step(self) -> None:
        """Seed torch; the data loader seeds numpy for each image."""
        entropy = (self.seed, self.trainer.iter, comm.get_rank())
        torch.manual_seed(int(np.random.SeedSequence(entropy).generate_state(1)[0]))


class BestCheckpointer(hooks.BestCheckpointer):
    """Detectron2's hook, with the best value stored in checkpoints and restored on a resume."""

    def state_dict(self) -> dict:
        """The best value so far and its iteration."""
        if self.best_metric is None:
            return {}
        return {"best_metric": float(self.best_metric), "best_iter": self.best_iter}

    def load_state_dict(self, state_dict: dict) -> None:
        """Load a stored best value."""
        self.best_metric, self.best_iter = state_dict["best_metric"], state_dict["best_iter"]
