"""Texts, label files, datasets and the way from a record to a training batch."""

from .builtin import register_builtin_datasets, register_synthetic
from .dataset_mapper import AnchorMapper
from .datasets import LabelError, read_labels, register_labels, write_labels
from .images import ImageError
from .loader import SamplingError, TrainLoader
from .sampling import FALSE_TEXT_SAMPLERS, BatchSampler
from .text import Charset, CharsetError, TextList

__all__ = [
    "FALSE_TEXT_SAMPLERS",
    "AnchorMapper",
    "BatchSampler",
    "Charset",
    "CharsetError",
    "ImageError",
    "LabelError",
    "SamplingError",
    "TextList",
    "TrainLoader",
    "read_labels",
    "register_builtin_datasets",
    "register_labels",
    "register_synthetic",
    "write_labels",
]
