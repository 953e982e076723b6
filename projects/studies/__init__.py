"""Experiments on the paper's questions; importing the package registers their parts."""

from .datasets import register_datasets
from .holistic import HolisticWeCromCL, PooledWeCromCL
from .ifl import AttentionSPTS
from .negatives import CurriculumWeCromCL, MinedWeCromCL
from .points import register_points
from .pseudo_box import PseudoBoxWeCromCL
from .temperature import FixedTemperatureWeCromCL
from .text_encoders import (
    BagTextEncoder,
    RelativeTextEncoder,
    SineTextEncoder,
    TokenTextEncoder,
    WindowTextEncoder,
    WordwiseTextEncoder,
)
from .toss import TOSS

register_datasets()
register_points()

__all__ = [
    "TOSS",
    "AttentionSPTS",
    "BagTextEncoder",
    "CurriculumWeCromCL",
    "FixedTemperatureWeCromCL",
    "HolisticWeCromCL",
    "MinedWeCromCL",
    "PooledWeCromCL",
    "PseudoBoxWeCromCL",
    "RelativeTextEncoder",
    "SineTextEncoder",
    "TokenTextEncoder",
    "WindowTextEncoder",
    "WordwiseTextEncoder",
    "register_datasets",
    "register_points",
]
