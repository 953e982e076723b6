"""Orders in which the elements of a dataset are taken."""

# ruff: noqa: F401
from .distributed_sampler import InferenceSampler, TrainingSampler
