"""Running a model over a dataset and judging what it says."""

# ruff: noqa: F401
from .evaluator import DatasetEvaluator, DatasetEvaluators, inference_context, inference_on_dataset
from .testing import print_csv_format, verify_results
