"""SPTS, a single-point text spotter that writes words and points as one sequence."""

from .config import add_spts_config

__all__ = ["add_spts_config"]
