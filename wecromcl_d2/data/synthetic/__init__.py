"""Synthetic scene text: images of words with exact ground truth, without a download."""

from .cache import build_cache
from .recipe import DIFFICULTIES, FAMILIES, SPLITS, SceneRecipe, parse_difficulty
from .rendering import Recipe, prepare, render
from .scenes import RENDERER_VERSION, Scene
from .street import STREET_FAMILIES, StreetRecipe
from .vocabulary import Vocabulary, split_of

__all__ = [
    "DIFFICULTIES",
    "FAMILIES",
    "RENDERER_VERSION",
    "SPLITS",
    "STREET_FAMILIES",
    "Recipe",
    "Scene",
    "SceneRecipe",
    "StreetRecipe",
    "Vocabulary",
    "build_cache",
    "parse_difficulty",
    "prepare",
    "render",
    "split_of",
]
