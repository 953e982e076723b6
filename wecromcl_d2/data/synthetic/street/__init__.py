"""Scenes that carry over to photographs: many fonts, real words, planes in space, a camera."""

from .recipe import STREET_FAMILIES, StreetRecipe
from .scenes import STREET_VERSION, load_assets, render_street

__all__ = ["STREET_FAMILIES", "STREET_VERSION", "StreetRecipe", "load_assets", "render_street"]
