"""Compose one street scene: background, blocks of text, light and camera."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ..recipe import SPLITS
from ..scenes import Scene
from .camera import jpeg_quality, light, photograph
from .fonts import FontPool
from .grounds import paint_ground
from .layout import Block, Layout
from .photos import PhotoPool
from .recipe import STREET_FAMILIES, StreetRecipe
from .surface import luminance, paint_block
from .texts import TextSource, read_words

# Bump whenever the same recipe and index give other pixels or another truth.
STREET_VERSION = 5

_KEY = 0x57  # sets these random numbers apart from those of other recipes
_PRINTABLE = frozenset(map(chr, range(33, 127)))
_NEARBY = {"words": 1024, "groups": 256, "scenes": 64}  # indices that share decoded photographs
_BUSY = 42.0  # deviation of luminance from which on ink needs a board

logger = logging.getLogger(__name__)

Rng = np.random.Generator


@dataclass(frozen=True)
class Assets:
    """What the scenes of a recipe draw on."""

    fonts: FontPool
    photos: PhotoPool | None
    texts: TextSource


@lru_cache(maxsize=4)
def load_assets(recipe: StreetRecipe) -> Assets:
    """Open the folders and the word list of a recipe; what cannot be used is logged and left out.

    Raises:
        ValueError: if nothing usable is left.
    """
    fonts = FontPool(recipe.fonts)
    wanted, listed = set(_PRINTABLE), []
    if recipe.words is not None:
        listed = read_words(recipe.words)
        for word, _ in listed:
            wanted |= set(word + word.upper())
    allowed = fonts.characters(frozenset(wanted))
    lost = sum(not allowed.issuperset(word + word.upper()) for word, _ in listed)
    if lost:
        logger.warning(
            "%s: %d words have characters that no font shows, such as %r: left out",
            recipe.words, lost, sorted(wanted - allowed)[0],
        )  # fmt: skip
    texts = TextSource(listed, recipe.word_lengths, recipe.split, allowed)
    photos = PhotoPool(recipe.backgrounds, recipe.image_size) if recipe.backgrounds else None
    return Assets(fonts, photos, texts)


def render_street(recipe: StreetRecipe, index: int) -> Scene:
    """Render image `index` of a recipe.

    The result depends on the recipe, its files and the index, and on nothing else.

    Args:
        recipe: what to render.
        index: 0 or more.

    Raises:
        ValueError: for a negative index, or folders and lists of which nothing can be used.
    """
    if index < 0:
        raise ValueError(f"index {index} is negative: images are counted from 0")
    assets = load_assets(recipe)
    head = (_KEY, recipe.seed, SPLITS.index(recipe.split), STREET_FAMILIES.index(recipe.family))
    rng = np.random.default_rng([*head, index])
    near = (*head, index // _NEARBY[recipe.family], 1)
    ground = paint_ground(rng, recipe, assets.photos, near)
    layout = Layout(rng, recipe, assets.fonts, assets.texts, luminance(ground))
    blocks = layout.place_all()
    image, ink = ground.astype(np.float32), np.zeros(ground.shape[:2], np.uint8)
    contrasts = [255.0]
    for block in blocks:
        contrasts.append(_draw_block(rng, recipe, assets, near, layout, block, image, ink))
    outlines = [outline for block in blocks for outline in block.outlines]
    detail = min([_height(outline) for outline in outlines], default=30.0)
    pixels = photograph(rng, light(rng, image), detail, min(contrasts))
    texts = [text for block in blocks for text in block.lettering.texts]
    return Scene(pixels, texts, outlines, ink, jpeg_quality(rng, detail))


def _draw_block(
    rng: Rng,
    recipe: StreetRecipe,
    assets: Assets,
    near: tuple[int, ...],
    layout: Layout,
    block: Block,
    image: np.ndarray,
    ink: np.ndarray,
) -> float:
    """Paint a block into image and ink mask, in place; returns the contrast of its ink."""
    lettering, board = block.lettering, block.board
    mask = lettering.mask
    ground = layout.ground(np.concatenate(block.outlines))
    if board is None and ground[1] > _BUSY:
        board = "sharp"
    photo = None
    if board is not None and assets.photos is not None and rng.random() < 0.2:
        photo = assets.photos.crop(rng, near, mask.shape[:2])
    painted = paint_block(rng, mask, lettering.em, board, ground, photo)
    limits = np.array(image.shape[1::-1])
    reach = block.pose.to_image(_edge(lettering.size), lettering.size) + block.origin
    low = np.clip(np.floor(reach.min(axis=0)) - 1, 0, limits - 1).astype(int)
    high = np.clip(np.ceil(reach.max(axis=0)) + 1, low + 1, limits).astype(int)
    (left, top), (right, bottom) = low.tolist(), high.tolist()
    origin = (float(block.origin[0] - left), float(block.origin[1] - top))
    size = (bottom - top, right - left)
    rgba = block.pose.warp(painted.rgba, origin, size)
    region = image[top:bottom, left:right]
    region *= 1 - rgba[:, :, 3:]
    region += rgba[:, :, :3]
    covered = ink[top:bottom, left:right]
    np.maximum(covered, block.pose.warp(mask, origin, size), out=covered)
    return painted.contrast


def _edge(size: tuple[int, ...]) -> np.ndarray:
    """(36, 2) points along the edge of a canvas of (height, width) pixels."""
    along = np.linspace(0, 1, 9)
    zero, one = np.zeros(9), np.ones(9)
    corners = ((along, zero), (one, along), (along[::-1], one), (zero, along[::-1]))
    return np.concatenate([np.stack(side, axis=1) for side in corners]) * (size[1], size[0])


def _height(outline: np.ndarray) -> float:
    """Mean distance between a word's top and bottom side."""
    half = len(outline) // 2
    return float(np.linalg.norm(outline[:half] - outline[::-1][:half], axis=1).mean())
