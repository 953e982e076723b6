"""Rendering of images of both kinds of recipes."""

from __future__ import annotations

from .recipe import SceneRecipe
from .scenes import RENDERER_VERSION, Scene
from .scenes import render as render_toy
from .street import STREET_VERSION, StreetRecipe, load_assets, render_street

Recipe = SceneRecipe | StreetRecipe


def render(recipe: Recipe, index: int) -> Scene:
    """Render image `index` of a recipe; the result depends on nothing else.

    Args:
        recipe: what to render.
        index: 0 or more.

    Raises:
        ValueError: for a negative index.
    """
    if isinstance(recipe, StreetRecipe):
        return render_street(recipe, index)
    return render_toy(recipe, index)


def prepare(recipe: Recipe) -> None:
    """Load the files of a recipe; unusable ones are logged and left out.

    Raises:
        ValueError: if nothing usable is left.
        OSError: if a file or folder cannot be read.
    """
    if isinstance(recipe, StreetRecipe):
        load_assets(recipe)


def renderer_version(recipe: Recipe) -> int:
    """Version of the renderer; it changes whenever equal recipes and indices give other images."""
    return STREET_VERSION if isinstance(recipe, StreetRecipe) else RENDERER_VERSION
