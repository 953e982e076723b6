"""Evaluators and the protocols behind them."""

from .counting import Threshold, choose_threshold
from .evaluators import AnchorEvaluator, SpottingEvaluator
from .lexicon import ImageLexicons, Lexicon
from .spotting import SpottingProtocol

__all__ = [
    "AnchorEvaluator",
    "ImageLexicons",
    "Lexicon",
    "SpottingEvaluator",
    "SpottingProtocol",
    "Threshold",
    "choose_threshold",
]
