"""Pictures in, words out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import overload

import numpy as np
from detectron2.structures import Instances

from ..data.images import ColorOrder, ImageInput
from .base import BATCH_SIZE, Predictor
from .images import SINGLE, ImageSource
from .results import Spotting
from .tiling import Tile, TileWords, Tiling


class Spotter(Predictor):
    """Finds and reads the words of pictures.

        spotter = Spotter.from_name("quick")
        result = spotter("street.jpg")
        print(result.words, result.points, result.scores)

    Images are resized as the config says. What is still larger than a tile is cut into overlapping
    tiles, and the words of the tiles are put together.

    Args:
        config_file: see `Predictor`.
        weights: see `Predictor`.
        opts: see `Predictor`.
        device: see `Predictor`.
        threshold: least score of a word; by default TEST.SPOTTING_THRESHOLD of the config.
        tiling: how large images are cut up; None never cuts.
        full_size: do not resize; for small words in large pictures, which then are tiled.

    Raises:
        FileNotFoundError: see `Predictor`.
        WeightsError: see `Predictor`.
        ValueError: see `Predictor`.
    """

    task = "spotting"

    def __init__(
        self,
        config_file: str | os.PathLike[str],
        weights: str | os.PathLike[str],
        opts: Sequence[str] = (),
        *,
        device: str | None = None,
        threshold: float | None = None,
        tiling: Tiling | None = Tiling(),  # noqa: B008  it cannot change
        full_size: bool = False,
    ) -> None:
        super().__init__(config_file, weights, opts, device=device)
        self.threshold = self.cfg.TEST.SPOTTING_THRESHOLD if threshold is None else threshold
        self.tiling, self.full_size = tiling, full_size

    @overload
    def __call__(  # type: ignore[overload-overlap]  # a path is not meant as a list of letters
        self, images: ImageInput, *, color_order: ColorOrder = ..., batch_size: int = ...
    ) -> Spotting: ...

    @overload
    def __call__(
        self, images: Sequence[ImageInput], *, color_order: ColorOrder = ..., batch_size: int = ...
    ) -> list[Spotting]: ...

    def __call__(
        self,
        images: ImageInput | Sequence[ImageInput],
        *,
        color_order: ColorOrder = "RGB",
        batch_size: int = BATCH_SIZE,
    ) -> Spotting | list[Spotting]:
        """Read one picture, or several.

        Args:
            images: a path, a Pillow image or an array, see `read_image`; or a list of them.
            color_order: of the channels of arrays, "RGB" or "BGR".
            batch_size: most images, or tiles, that the model sees at once; they share a batch if
                they have one size. No result depends on it.

        Returns:
            The result of the picture; of a list, a list in the same order.

        Raises:
            ImageError: if a picture cannot be read.
        """
        if isinstance(images, SINGLE):
            return self._spot([ImageSource(images, color_order)], batch_size)[0]
        sources = [ImageSource(picture, color_order) for picture in images]
        results: list[Spotting] = []
        for start in range(0, len(sources), max(1, batch_size)):
            results += self._spot(sources[start : start + batch_size], batch_size)
        return results

    def _spot(self, sources: Sequence[ImageSource], batch_size: int) -> list[Spotting]:
        """Read few enough pictures to hold them all."""
        sizes, resized, cuts, inputs = [], [], [], []
        for source in sources:
            picture = source.read()
            image = self._network_image(picture, not self.full_size)
            tiles = self._tiles(image.shape[:2])
            sizes.append(picture.shape[:2])
            resized.append(image.shape[:2])
            cuts.append(tiles)
            inputs += [_tile_input(image, tile, len(tiles), picture.shape[:2]) for tile in tiles]
        answers = iter(self._run(inputs, batch_size))
        results = []
        for source, size, small, tiles in zip(sources, sizes, resized, cuts, strict=True):
            parts = [_result(next(answers), source, size) for _ in tiles]
            parts = [part.take(np.flatnonzero(part.scores >= self.threshold)) for part in parts]
            whole = parts[0] if len(parts) == 1 else self._join(parts, tiles, small)
            results.append(whole.take(np.argsort(-whole.scores, kind="stable")))
        return results

    def _tiles(self, size: tuple[int, int]) -> list[Tile]:
        """Tiles of a network image of this (height, width)."""
        return [Tile(0, 0, size[1], size[0])] if self.tiling is None else self.tiling.split(size)

    def _join(
        self, parts: Sequence[Spotting], tiles: list[Tile], size: tuple[int, int]
    ) -> Spotting:
        """Put the words of tiles together.

        Args:
            parts: words of each tile, in its own pixels.
            tiles: of an image of this size.
            size: (height, width) of the network image.
        """
        assert self.tiling is not None
        owner = np.repeat(np.arange(len(tiles)), [len(part) for part in parts])
        corners = np.array([[tile.left, tile.top] for tile in tiles], np.float64)[owner]
        points = np.concatenate([part.points for part in parts]) + corners
        # A part without words may not know how many points a line has.
        own = [part.polylines for part in parts if len(part)]
        given = [line for line in own if line is not None]
        lines = np.concatenate(given) + corners[:, None] if given else None
        words = [word for part in parts for word in part.words]
        scores, det_scores, rec_scores = (
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("scores", "det_scores", "rec_scores")
        )
        found = TileWords(tiles, size, owner, words, points, scores, lines)
        first = parts[0]
        scale = np.array([first.width / size[1], first.height / size[0]])
        joined = Spotting(
            words,
            points * scale,
            scores,
            det_scores,
            rec_scores,
            None if lines is None else lines * scale,
            first.height,
            first.width,
            first.source,
        )
        return joined.take(found.distinct(self.tiling.overlap))


def _tile_input(image: np.ndarray, tile: Tile, count: int, size: tuple[int, int]) -> dict:
    """What the model gets of one tile of `count`; its answer is in tile or in image pixels."""
    pixels = image[tile.top : tile.bottom, tile.left : tile.right]
    height, width = size if count == 1 else pixels.shape[:2]
    return {"image": pixels, "height": height, "width": width}


def _result(instances: Instances, source: ImageSource, size: tuple[int, int]) -> Spotting:
    """A model's answer as plain arrays."""
    lines = instances.pred_polylines if instances.has("pred_polylines") else None
    return Spotting(
        list(instances.pred_texts),
        instances.pred_points.double().numpy(),
        instances.scores.double().numpy(),
        instances.det_scores.double().numpy(),
        instances.rec_scores.double().numpy(),
        None if lines is None else lines.double().numpy(),
        size[0],
        size[1],
        source,
    )
