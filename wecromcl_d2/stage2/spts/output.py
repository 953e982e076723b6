"""Output of the model: words as `Instances` in pixels of the original image."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from detectron2.structures import Instances

from ...data.text import TextList
from ..suppression import point_nms
from .readers import FoundWord
from .vocabulary import Vocabulary


class ArrayList:
    """Arrays of different shapes as a field of `Instances`, indexable like a tensor's rows."""

    def __init__(self, arrays: Iterable[np.ndarray] = ()):
        self._arrays = list(arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def __iter__(self) -> Iterator[np.ndarray]:
        return iter(self._arrays)

    def __getitem__(self, item: Any) -> Any:
        """One array for an integer, else an `ArrayList`: for a slice, a mask or indices."""
        if isinstance(item, slice):
            return ArrayList(self._arrays[item])
        index = torch.arange(len(self))[item]
        if index.dim() == 0:
            return self._arrays[int(index)]
        return ArrayList(self._arrays[i] for i in index.tolist())

    @staticmethod
    def cat(lists: Sequence["ArrayList"]) -> "ArrayList":
        """Join several lists into a new one."""
        return ArrayList(array for arrays in lists for array in arrays)

    def to(self, *args: Any, **kwargs: Any) -> "ArrayList":
        """This list: NumPy arrays have no device. Accepts the arguments of `torch.Tensor.to`."""
        return self


def to_instances(
    words: Sequence[FoundWord],
    size: tuple[int, int],
    vocabulary: Vocabulary,
    duplicate_distance: float,
    *,
    official: bool = False,
) -> Instances:
    """Words of one image in the order in which they were read.

    Without points (NPTS) all points are the center of the image, and no word is a duplicate.

    Args:
        words: decoded words.
        size: (height, width) of the original image.
        vocabulary: the tokens.
        duplicate_distance: of words with equal texts closer than this share of the image's
            diagonal, the one of highest score is kept.
        official: published points and scores, see MODEL.SPTS.TEST.OFFICIAL.

    Returns:
        Instances with `pred_points` (N, 2) float64 as (x, y), `pred_texts`, `scores`, `det_scores`,
        `rec_scores` (N,) and `char_scores`, per word (length, C) probabilities of the charset's
        characters.
    """
    instances = Instances(size)
    if vocabulary.bins:
        places = torch.tensor([word.place for word in words], dtype=torch.long).view(-1, 2)
        points = vocabulary.decode_points(places, size, official=official)
    else:
        center = torch.tensor([size[1] / 2, size[0] / 2], dtype=torch.float64)
        points = center.expand(len(words), 2)
    instances.pred_points = points
    instances.pred_texts = TextList(word.text for word in words)
    instances.det_scores = torch.tensor([word.det for word in words])
    instances.rec_scores = torch.tensor([word.rec for word in words])
    if official:
        instances.scores = torch.tensor([word.total / word.tokens for word in words])
    else:
        instances.scores = (instances.det_scores * instances.rec_scores).sqrt()
    instances.char_scores = ArrayList(word.characters.numpy() for word in words)
    if not vocabulary.bins:
        return instances
    diagonal = float(np.hypot(*size))
    return instances[
        point_nms(
            instances.pred_points,
            instances.pred_texts,
            instances.scores,
            duplicate_distance * diagonal,
        )
    ]
