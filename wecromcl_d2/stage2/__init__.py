"""Stage 2: anchor points -> a spotter that finds and reads words in new images.

Importing the package registers the meta-architectures of both spotters.
"""

from .mapper import PointMapper
from .spts import SPTS, add_spts_config
from .srsts_a import SRSTSA, add_srsts_a_config
from .trainer import SpottingTrainer

__all__ = [
    "SPTS",
    "SRSTSA",
    "PointMapper",
    "SpottingTrainer",
    "add_spts_config",
    "add_srsts_a_config",
]
