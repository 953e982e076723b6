"""Evaluators and the protocols behind them."""

from .counting import Threshold, choose_threshold
from .evaluator import SpottingEvaluator
from .lexicon import ImageLexicons, Lexicon
from .spotting import SpottingProtocol

__all__ = [
    "ImageLexicons",
    "Lexicon",
    "SpottingEvaluator",
    "SpottingProtocol",
    "Threshold",
    "choose_threshold",
]
