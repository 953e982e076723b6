"""Normalised, padded batches of images, the first step of every model of the package."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from detectron2.structures import ImageList
from torch import Tensor, nn


def group_by_size(shapes: Iterable[Sequence[int]]) -> list[list[int]]:
    """Indices of the images of each size, sizes in the order of their first image.

    Images of one size need no padding to a common size, so the result of an image does not depend
    on the rest of its batch.
    """
    groups: dict[tuple[int, ...], list[int]] = {}
    for index, shape in enumerate(shapes):
        groups.setdefault(tuple(shape), []).append(index)
    return list(groups.values())


def check_finite(values: Tensor, what: str) -> None:
    """Make sure that a model computes with numbers.

    Raises:
        FloatingPointError: if one is not finite.
    """
    if not torch.isfinite(values).all():
        raise FloatingPointError(
            f"the {what} hold values that are not finite: the weights are damaged, or come from a "
            "training that broke down; check the file of MODEL.WEIGHTS"
        )


def check_pyramid(key: str, factors: Sequence[float]) -> None:
    """Make sure that the scales of a pyramid are positive numbers, at least one.

    Args:
        key: name of the config key.
        factors: its value.

    Raises:
        ValueError: naming the key.
    """
    if not factors or not all(0 < factor < math.inf for factor in factors):
        raise ValueError(f"{key} is {list(factors)}; give one or more positive numbers")


def scale_image(image: Tensor, factor: float) -> Tensor:
    """An image (C, H, W) resized bilinearly with antialiasing, uint8; as it is for a factor of 1.

    Args:
        image: uint8, 0 to 255.
        factor: of both sides, which are rounded to whole pixels.
    """
    if factor == 1:
        return image
    size = [max(1, round(side * factor)) for side in image.shape[-2:]]
    resized = F.interpolate(image[None].float(), size, mode="bilinear", antialias=True)[0]
    return resized.round().clamp(0, 255).to(torch.uint8)


def original_size(x: Mapping[str, Any]) -> tuple[int, int]:
    """The `height` and `width` that a model input states, else those of its `image`."""
    height, width = x["image"].shape[-2:]
    return x.get("height", height), x.get("width", width)


class ImageModel(nn.Module):
    """Base of every model of the package: normalises, pads and batches its images.

    Args:
        pixel_mean: per channel, in the units of the input image.
        pixel_std: per channel.
        divisors: sides of the batch are padded to a multiple of each; those below 1 count as 1.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(
        self, pixel_mean: Sequence[float], pixel_std: Sequence[float], divisors: Sequence[int]
    ):
        super().__init__()
        self.size_divisibility = math.lcm(*(max(1, divisor) for divisor in divisors))
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean).view(-1, 1, 1), False)
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(-1, 1, 1), False)

    @property
    def device(self) -> torch.device:
        """Device of the weights, to which images are moved."""
        return self.pixel_mean.device

    def preprocess_images(
        self, batched_inputs: Sequence[dict[str, Any]], factor: float = 1
    ) -> ImageList:
        """Normalise each `image` (C, H, W); pad right and bottom with zeros, the mean colour.

        Args:
            batched_inputs: one dict per image.
            factor: of the images' sides, see `scale_image`.
        """
        images = [scale_image(x["image"], factor).to(self.device) for x in batched_inputs]
        normal = [(x.float() - self.pixel_mean) / self.pixel_std for x in images]
        batch = ImageList.from_tensors(normal, self.size_divisibility)
        # Convolutions on the CPU and in mixed precision are faster in the channels-last layout.
        batch.tensor = batch.tensor.contiguous(memory_format=torch.channels_last)
        return batch

    def infer_by_size(
        self,
        batched_inputs: Sequence[dict[str, Any]],
        infer: Callable[[list[dict[str, Any]]], list[dict[str, Any]]],
    ) -> list[dict[str, Any]]:
        """Results of all images; only those of one size share a batch.

        Padding would let the size of one image change the result of another.

        Args:
            batched_inputs: one dict per image.
            infer: given those of one size, the result of each.
        """
        results: list[Any] = [None] * len(batched_inputs)
        for indices in group_by_size(x["image"].shape for x in batched_inputs):
            found = infer([batched_inputs[i] for i in indices])
            for i, result in zip(indices, found, strict=True):
                results[i] = result
        return results
