"""Stage 1: transcriptions -> anchor points.

Importing the package registers its meta-architecture and text encoder.
"""

from .evaluator import AnchorEvaluator
from .mapper import AnchorMapper
from .negatives import NEGATIVE_SAMPLERS
from .retrieval import RetrievalEvaluator
from .sampling import BatchSampler
from .text_encoder import (
    TEXT_ENCODER_REGISTRY,
    CharacterTextEncoder,
    build_charset,
    build_text_encoder,
)
from .trainer import AnchorTrainer
from .wecromcl import WeCromCL

__all__ = [
    "NEGATIVE_SAMPLERS",
    "TEXT_ENCODER_REGISTRY",
    "AnchorEvaluator",
    "AnchorMapper",
    "AnchorTrainer",
    "BatchSampler",
    "CharacterTextEncoder",
    "RetrievalEvaluator",
    "WeCromCL",
    "build_charset",
    "build_text_encoder",
]
