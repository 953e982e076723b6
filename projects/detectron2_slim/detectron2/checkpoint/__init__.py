"""Saving and loading of models and training states."""

# ruff: noqa: F401
from fvcore.common.checkpoint import Checkpointer, PeriodicCheckpointer

from .detection_checkpoint import DetectionCheckpointer
