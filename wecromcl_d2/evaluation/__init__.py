"""Evaluators and the protocols behind them."""

from .evaluators import AnchorEvaluator

__all__ = ["AnchorEvaluator"]
