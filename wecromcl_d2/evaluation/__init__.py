"""Evaluators and the protocols behind them."""

from .counting import Threshold, choose_threshold
from .evaluators import AnchorEvaluator
from .lexicon import ImageLexicons, Lexicon
from .spotting import SpottingProtocol
from .spotting_evaluator import SpottingEvaluator

__all__ = [
    "AnchorEvaluator",
    "ImageLexicons",
    "Lexicon",
    "SpottingEvaluator",
    "SpottingProtocol",
    "Threshold",
    "choose_threshold",
]
