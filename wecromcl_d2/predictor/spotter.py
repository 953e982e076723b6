"""The predictor of stage 2: from images to their words."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import overload

import numpy as np
from detectron2.structures import Instances

from ..data.images import ColorOrder, ImageInput
from .base import BATCH_SIZE, OnError, Predictor
from .images import ImageSource, sources_of
from .results import Spotting
from .tiling import Tile, TileWords, Tiling


class Spotter(Predictor):
    """Predictor of the words of an image: points, texts and scores.

        spotter = Spotter.from_name("street")
        result = spotter("street.jpg")
        print(result.words, result.points, result.scores)

    Images are resized as the config says. An image that is still larger than a tile is cut into
    overlapping tiles; words found in several tiles are merged. Errors and further arguments are
    those of `Predictor`.

    Args:
        threshold: least score of a word; by default TEST.SPOTTING_THRESHOLD of the config.
        tiling: how large images are cut into tiles; None for never.
        full_size: do not resize; for small words in large images, which are tiled then.
        max_side: see `Predictor`, like `scales`.
    """

    task = "spotting"
    pyramid_key = "MODEL.SRSTS_A.TEST.PYRAMID"

    def __init__(
        self,
        config_file: str | os.PathLike[str],
        weights: str | os.PathLike[str],
        opts: Sequence[str] = (),
        *,
        device: str | None = None,
        threshold: float | None = None,
        tiling: Tiling | None = Tiling(),  # noqa: B008  frozen
        full_size: bool = False,
        max_side: int | None = None,
        scales: Sequence[float] | None = None,
    ) -> None:
        if threshold is not None and not 0 <= threshold <= 1:
            raise ValueError(f"threshold is {threshold:g}; scores of words are from 0 to 1")
        super().__init__(
            config_file, weights, opts, device=device, max_side=max_side, scales=scales
        )
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

    @overload
    def __call__(
        self,
        images: Sequence[ImageInput],
        *,
        color_order: ColorOrder = ...,
        batch_size: int = ...,
        on_error: OnError,
    ) -> list[Spotting | None]: ...

    def __call__(
        self,
        images: ImageInput | Sequence[ImageInput],
        *,
        color_order: ColorOrder = "RGB",
        batch_size: int = BATCH_SIZE,
        on_error: OnError = "raise",
    ) -> Spotting | Sequence[Spotting | None]:
        """Read one image, or several.

        Args:
            images: a path, the bytes of a file, a file object, a Pillow image or an array, see
                `read_image`; or a list of them.
            color_order: of the channels of arrays, "RGB" or "BGR".
            batch_size: most images, or tiles, in a forward pass, which takes images of one size.
                Results do not depend on it.
            on_error: what an image of a list does that cannot be read: "raise", or "skip", which
                warns and gives None in its place.

        Returns:
            The words of the image; for a list, a list in the same order.

        Raises:
            ImageError: if an image cannot be read.
        """
        sources, single = sources_of(images, color_order)
        if single:
            return self._spot(sources, [sources[0].read()], batch_size)[0]

        def spot(indices: list[int], originals: list[np.ndarray]) -> list[Spotting]:
            return self._spot([sources[i] for i in indices], originals, batch_size)

        return self._each(sources, spot, batch_size, on_error)

    def _spot(
        self, sources: Sequence[ImageSource], originals: Sequence[np.ndarray], batch_size: int
    ) -> list[Spotting]:
        """Read a few images, which are in memory at once."""
        sizes, resized, cuts, inputs = [], [], [], []
        for original in originals:
            image = self._network_image(original, not self.full_size)
            size = image.shape[:2]
            tiles = (
                [Tile(0, 0, size[1], size[0])] if self.tiling is None else self.tiling.split(size)
            )
            sizes.append(original.shape[:2])
            resized.append(size)
            cuts.append(tiles)
            for tile in tiles:
                pixels = image[tile.top : tile.bottom, tile.left : tile.right]
                # Points are in pixels of the tile; of a single tile, in those of the original.
                height, width = original.shape[:2] if len(tiles) == 1 else pixels.shape[:2]
                inputs.append({"image": pixels, "height": height, "width": width})
        answers = iter(self._run(inputs, batch_size))
        results = []
        for source, size, small, tiles in zip(sources, sizes, resized, cuts, strict=True):
            parts = [_result(next(answers), source, size) for _ in tiles]
            parts = [part.take(np.flatnonzero(part.scores >= self.threshold)) for part in parts]
            whole = parts[0] if len(parts) == 1 else self._join(parts, tiles, small)
            ranked = whole.take(np.argsort(-whole.scores, kind="stable"))
            results.append(replace(ranked, seen_size=small))
        return results

    def _join(
        self, parts: Sequence[Spotting], tiles: list[Tile], size: tuple[int, int]
    ) -> Spotting:
        """The words of all tiles in pixels of the original image, duplicates removed.

        Args:
            parts: words of each tile, in its own pixels.
            tiles: of the network input.
            size: (height, width) of the network input.
        """
        assert self.tiling is not None
        owner = np.repeat(np.arange(len(tiles)), [len(part) for part in parts])
        corners = np.array([[tile.left, tile.top] for tile in tiles], np.float64)[owner]
        points = np.concatenate([part.points for part in parts]) + corners
        # Parts without words are skipped: their lines may have another number of points.
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


def _result(instances: Instances, source: ImageSource, size: tuple[int, int]) -> Spotting:
    """`Spotting` from the model's output."""
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
