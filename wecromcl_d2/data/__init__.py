"""Texts, label files, datasets, augmentations and training batches of both stages."""

from .builtin import register_builtin_datasets, register_synthetic
from .datasets import LabelError, read_labels, register_labels, write_labels
from .images import ImageError
from .loader import SamplingError, TrainLoader
from .text import Charset, CharsetError, TextList

__all__ = [
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
