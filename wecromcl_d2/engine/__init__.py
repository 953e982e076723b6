"""Training: loop, checkpoints, optimisers."""

from .checkpoint import AtomicCheckpointer, CheckpointError
from .tasks import AnchorTrainer, SpottingTrainer, results_folder, trainer_class
from .trainer import Trainer

__all__ = [
    "AnchorTrainer",
    "AtomicCheckpointer",
    "CheckpointError",
    "SpottingTrainer",
    "Trainer",
    "results_folder",
    "trainer_class",
]
