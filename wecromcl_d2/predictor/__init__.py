"""Trained models for inference: images in, lists and arrays out."""

from ..data.images import ImageError, read_image
from .anchor_finder import AnchorFinder
from .registry import model_names, register_model
from .results import Anchors, Spotting
from .spotter import Spotter
from .tiling import Tiling

__all__ = [
    "AnchorFinder",
    "Anchors",
    "ImageError",
    "Spotter",
    "Spotting",
    "Tiling",
    "model_names",
    "read_image",
    "register_model",
]
