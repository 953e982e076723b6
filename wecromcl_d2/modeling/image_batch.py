"""Batches of images, as every model here makes them."""

from collections.abc import Sequence
from typing import Any

import torch
from detectron2.structures import ImageList
from torch import Tensor


def group_by_size(batched_inputs: Sequence[dict[str, Any]]) -> list[list[int]]:
    """Indices of the inputs whose `image` has one size, group by group.

    A batch of one size needs no padding to a common one, so an image's answer depends on nothing
    but the image.
    """
    groups: dict[tuple[int, ...], list[int]] = {}
    for index, x in enumerate(batched_inputs):
        groups.setdefault(tuple(x["image"].shape[-2:]), []).append(index)
    return list(groups.values())


def normalize_images(
    images: Sequence[Tensor], mean: Tensor, std: Tensor, divisibility: int
) -> ImageList:
    """Normalise and pad right and bottom with zeros, the mean colour.

    Args:
        images: (C, H, W) each, of any number format.
        mean: (C, 1, 1), in the units of the images.
        std: (C, 1, 1).
        divisibility: both sides of the result are multiples of it.
    """
    batch = ImageList.from_tensors([(x.float() - mean) / std for x in images], divisibility)
    # Convolutions on CPU and in mixed precision are faster with the channels last.
    batch.tensor = batch.tensor.contiguous(memory_format=torch.channels_last)
    return batch
