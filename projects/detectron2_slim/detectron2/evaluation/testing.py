"""Printing, checking and flattening of evaluation results."""

import logging
import math
import sys
from collections.abc import Mapping
from typing import Any

logger = logging.getLogger(__name__)


def print_csv_format(results: Mapping[str, Any]) -> None:
    """Log `{task: {metric: number}}` in lines to copy; metrics with a "-" are left out."""
    assert isinstance(results, Mapping) or not len(results), results
    for task, figures in results.items():
        if not isinstance(figures, Mapping):
            logger.info(f"copypaste: {task}={figures}")
            continue
        shown = {name: value for name, value in figures.items() if "-" not in name}
        logger.info(f"copypaste: Task: {task}")
        logger.info("copypaste: " + ",".join(shown))
        logger.info("copypaste: " + ",".join(f"{value:.4f}" for value in shown.values()))


def verify_results(cfg: Any, results: Mapping[str, Mapping[str, float]]) -> bool:
    """Compare results with `cfg.TEST.EXPECTED_RESULTS`; leaves with status 1 where they differ.

    Args:
        cfg: the key lists (task, metric, expected number, tolerance).
        results: `{task: {metric: number}}`.
    """
    expectations = cfg.TEST.EXPECTED_RESULTS
    for task, metric, expected, tolerance in expectations:
        actual = results[task].get(metric, math.nan)
        if not abs(actual - expected) <= tolerance:  # NaN is a failure, too
            logger.error(f"Result verification failed!\nExpected: {expectations}\nGot: {results}")
            sys.exit(1)
    logger.info(f"Results verification passed: {len(expectations)} figures")
    return True


def flatten_results_dict(results: Mapping[str, Any]) -> dict[str, Any]:
    """`{"a": {"b": 1}}` -> `{"a/b": 1}`, to any depth."""
    flat = {}
    for key, value in results.items():
        if isinstance(value, Mapping):
            flat.update({f"{key}/{k}": v for k, v in flatten_results_dict(value).items()})
        else:
            flat[key] = value
    return flat
