"""Training of both stages: loop, checkpoints, optimisers."""

from .checkpoint import AtomicCheckpointer, CheckpointError
from .trainer import Trainer, results_folder

__all__ = [
    "AtomicCheckpointer",
    "CheckpointError",
    "Trainer",
    "results_folder",
]
