"""Synthetic scene text: words and pictures with exact truth, without a download."""

from .cache import build_cache
from .recipe import DIFFICULTIES, FAMILIES, SPLITS, SceneRecipe, parse_difficulty
from .rendering import Recipe, render
from .scenes import RENDERER_VERSION, Scene
from .sheet import contact_sheet
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
    "contact_sheet",
    "parse_difficulty",
    "render",
    "split_of",
]
