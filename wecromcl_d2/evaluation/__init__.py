"""Evaluators and the protocols behind them."""

from .anchor_evaluator import AnchorEvaluator
from .counting import Threshold, choose_threshold
from .evaluators import SpottingEvaluator
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
