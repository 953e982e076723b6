"""Pictures and their words in, the words' places out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

from detectron2.structures import Instances

from ..data.images import ColorOrder, ImageInput
from .base import BATCH_SIZE, Predictor
from .images import SINGLE, ImageSource
from .results import Anchors


class AnchorFinder(Predictor):
    """Finds the anchor points of words that are known to be in pictures.

        finder = AnchorFinder.from_name("quick-anchors")
        result = finder("street.jpg", ["Hill", "Street"])
        print(result.points, result.similarity)

    Every given word gets its most likely place, whether or not the picture shows it; `similarity`
    tells the words that are there from the others. A word's map is compared over the whole picture,
    which therefore is never cut into tiles.

    Args:
        config_file: see `Predictor`.
        weights: see `Predictor`.
        opts: see `Predictor`.
        device: see `Predictor`.

    Raises:
        FileNotFoundError: see `Predictor`.
        WeightsError: see `Predictor`.
        ValueError: see `Predictor`.
    """

    task = "anchors"

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

    def __call__(
        self,
        images: ImageInput | Sequence[ImageInput],
        words: Sequence[str] | Sequence[Sequence[str]],
        *,
        color_order: ColorOrder = "RGB",
        batch_size: int = BATCH_SIZE,
    ) -> Anchors | list[Anchors]:
        """Find the words of one picture, or of several.

        Args:
            images: a path, a Pillow image or an array, see `read_image`; or a list of them.
            words: words of the picture, a word as often as it occurs. With a list of pictures, the
                words of all of them, or a list of words for each.
            color_order: of the channels of arrays, "RGB" or "BGR".
            batch_size: most images that the model sees at once; they share a batch if they have
                one size. No result depends on it.

        Returns:
            The result of the picture; of a list, a list in the same order.

        Raises:
            ImageError: if a picture cannot be read.
            ValueError: if `words` is no such list, or not one for each picture.
        """
        if isinstance(images, SINGLE):
            own = _words_of_each(words, 1)
            return self._find([ImageSource(images, color_order)], own, batch_size)[0]
        sources = [ImageSource(picture, color_order) for picture in images]
        per_image = _words_of_each(words, len(sources))
        results: list[Anchors] = []
        for start in range(0, len(sources), max(1, batch_size)):
            few = slice(start, start + batch_size)
            results += self._find(sources[few], per_image[few], batch_size)
        return results

    def _find(
        self, sources: Sequence[ImageSource], words: Sequence[Sequence[str]], batch_size: int
    ) -> list[Anchors]:
        """Find the words of few enough pictures to hold them all."""
        sizes, inputs = [], []
        for source, texts in zip(sources, words, strict=True):
            picture = source.read()
            height, width = picture.shape[:2]
            image = self._network_image(picture)
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
        """A model's answer as plain arrays; `size` is the (height, width) it saw."""
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
    """The words of each of `count` pictures.

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
            f"{len(words)} entries of words for {count} pictures; give one list of words for all "
            "pictures, or a list of words for each"
        )
    return list(per_image)
