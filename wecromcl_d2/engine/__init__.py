"""Training: loop, checkpoints, optimisers."""

from .checkpoint import AtomicCheckpointer, CheckpointError
from .trainer import Trainer

__all__ = ["AtomicCheckpointer", "CheckpointError", "Trainer"]
