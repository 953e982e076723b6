"""The predictor of stage 1: from images and their words to the points of the words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

import numpy as np
from detectron2.structures import Instances

from ..data.images import ColorOrder, ImageInput
from .base import BATCH_SIZE, OnError, Predictor
from .images import ImageSource, sources_of
from .results import Anchors


class AnchorFinder(Predictor):
    """Predictor of the anchor points of given words.

        finder = AnchorFinder.from_name("street-anchors")
        result = finder("street.jpg", ["Hill", "Street"])
        print(result.points, result.similarity)

    Every given word gets the strongest peak of its map, whether or not the image contains the word;
    `similarity` is high only for words that it contains. The map is a softmax over the cells of the
    whole image, so images are never tiled. Arguments and errors are those of `Predictor`.
    """

    task = "anchors"
    pyramid_key = "MODEL.WECROMCL.PYRAMID"

    @overload
    def __call__(  # type: ignore[overload-overlap]  # a path is not meant as a list of letters
        self,
        images: ImageInput,
        words: Sequence[str],
        *,
        color_order: ColorOrder = ...,
        batch_size: int = ...,
    ) -> Anchors: ...

    @overload
    def __call__(
        self,
        images: Sequence[ImageInput],
        words: Sequence[str] | Sequence[Sequence[str]],
        *,
        color_order: ColorOrder = ...,
        batch_size: int = ...,
    ) -> list[Anchors]: ...

    @overload
    def __call__(
        self,
        images: Sequence[ImageInput],
        words: Sequence[str] | Sequence[Sequence[str]],
        *,
        color_order: ColorOrder = ...,
        batch_size: int = ...,
        on_error: OnError,
    ) -> list[Anchors | None]: ...

    def __call__(
        self,
        images: ImageInput | Sequence[ImageInput],
        words: Sequence[str] | Sequence[Sequence[str]],
        *,
        color_order: ColorOrder = "RGB",
        batch_size: int = BATCH_SIZE,
        on_error: OnError = "raise",
    ) -> Anchors | Sequence[Anchors | None]:
        """Find the words of one image, or of several.

        Args:
            images: a path, the bytes of a file, a file object, a Pillow image or an array, see
                `read_image`; or a list of them.
            words: words of the image, each as often as it occurs. With a list of images, the words
                of all of them, or a list of words for each.
            color_order: of the channels of arrays, "RGB" or "BGR".
            batch_size: most images in a forward pass, which takes images of one size. Results do
                not depend on it.
            on_error: what an image of a list does that cannot be read: "raise", or "skip", which
                warns and gives None in its place.

        Returns:
            The anchors of the image; for a list, a list in the same order.

        Raises:
            ImageError: if an image cannot be read.
            ValueError: if `words` is neither a list of words nor one such list for each image.
        """
        sources, single = sources_of(images, color_order)
        per_image = _words_of_each(words, len(sources))
        if single:
            return self._find(sources, [sources[0].read()], per_image, batch_size)[0]

        def find(indices: list[int], originals: list[np.ndarray]) -> list[Anchors]:
            own = [per_image[i] for i in indices]
            return self._find([sources[i] for i in indices], originals, own, batch_size)

        return self._each(sources, find, batch_size, on_error)

    def _find(
        self,
        sources: Sequence[ImageSource],
        originals: Sequence[np.ndarray],
        words: Sequence[Sequence[str]],
        batch_size: int,
    ) -> list[Anchors]:
        """Find the words of a few images, which are in memory at once."""
        sizes, inputs = [], []
        for original, texts in zip(originals, words, strict=True):
            height, width = original.shape[:2]
            image = self._network_image(original)
            sizes.append(image.shape[:2])
            inputs.append({"image": image, "height": height, "width": width, "texts": texts})
        answers = self._run(inputs, batch_size)
        return [self._result(*parts) for parts in zip(answers, sources, words, sizes, strict=True)]

    def _result(
        self,
        instances: Instances,
        source: ImageSource,
        words: Sequence[str],
        size: tuple[int, int],
    ) -> Anchors:
        """`Anchors` from the model's output; `size` is the (height, width) of its input."""
        height, width = instances.image_size
        stride, normalize = self.model.stride, self.model.charset.normalize
        return Anchors(
            words=list(instances.pred_texts),
            points=instances.pred_points.double().numpy(),
            scores=instances.scores.double().numpy(),
            similarity=instances.similarity.double().numpy(),
            maps=instances.pred_maps.float().numpy(),
            cell_size=(stride * height / size[0], stride * width / size[1]),
            unread=[word for word in words if not normalize(word)],
            height=height,
            width=width,
            source=source,
        )


def _words_of_each(
    words: Sequence[str] | Sequence[Sequence[str]], count: int
) -> list[Sequence[str]]:
    """The words of each of `count` images.

    Raises:
        ValueError: see `AnchorFinder.__call__`.
    """
    if isinstance(words, str):
        raise ValueError(f"words is the string {words!r}; give a list of words")
    shared = [word for word in words if isinstance(word, str)]
    if len(shared) == len(words):
        return [shared] * count
    per_image = [list(own) for own in words if not isinstance(own, str)]
    if len(per_image) != len(words) or len(words) != count:
        raise ValueError(
            f"{len(words)} entries of words for {count} images; give one list of words for all "
            "images, or a list of words for each"
        )
    return list(per_image)
