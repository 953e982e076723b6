"""SPTS, a single-point text spotter that writes words and points as one sequence.

Importing the package registers its meta-architecture.
"""

from .config import add_spts_config
from .spts import SPTS

__all__ = ["SPTS", "add_spts_config"]
