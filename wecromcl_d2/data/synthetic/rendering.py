"""One way to render an image of any recipe."""

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
    """Open what a recipe draws on; what cannot be used is logged and left out.

    Raises:
        ValueError: if nothing usable is left.
        OSError: if a file or folder cannot be read.
    """
    if isinstance(recipe, StreetRecipe):
        load_assets(recipe)


def renderer_version(recipe: Recipe) -> int:
    """A number that changes with what the same recipe and index give."""
    return STREET_VERSION if isinstance(recipe, StreetRecipe) else RENDERER_VERSION
