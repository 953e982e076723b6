"""Training loops, their hooks, default behaviour of scripts, and process start."""

# ruff: noqa: F401, F403
from . import hooks
from .defaults import *
from .hooks import *
from .launch import launch
from .train_loop import AMPTrainer, HookBase, SimpleTrainer, TrainerBase
