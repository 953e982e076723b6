"""Experiments on the paper's questions; importing the package registers their parts."""

from .holistic import HolisticWeCromCL, PooledWeCromCL
from .negatives import CurriculumWeCromCL, MinedWeCromCL
from .text_encoders import BagTextEncoder, TokenTextEncoder

__all__ = [
    "BagTextEncoder",
    "CurriculumWeCromCL",
    "HolisticWeCromCL",
    "MinedWeCromCL",
    "PooledWeCromCL",
    "TokenTextEncoder",
]
