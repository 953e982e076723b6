"""Images of several sizes in one tensor."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


class ImageList:
    """N images padded at the right and the bottom to one size.

    Args:
        tensor: (N, H, W) or (N, C, ..., H, W).
        image_sizes: True (height, width) of each image.
    """

    def __init__(self, tensor: Tensor, image_sizes: list[tuple[int, int]]) -> None:
        self.tensor = tensor
        self.image_sizes = image_sizes

    def __len__(self) -> int:
        return len(self.image_sizes)

    def __getitem__(self, idx: int) -> Tensor:
        height, width = self.image_sizes[idx]
        return self.tensor[idx, ..., :height, :width]

    @property
    def device(self) -> torch.device:
        """Device of the images."""
        return self.tensor.device

    def to(self, *args: Any, **kwargs: Any) -> "ImageList":
        """Copy to a device or type."""
        return ImageList(self.tensor.to(*args, **kwargs), self.image_sizes)

    @staticmethod
    def from_tensors(
        tensors: Sequence[Tensor],
        size_divisibility: int = 0,
        pad_value: float = 0.0,
        padding_constraints: dict[str, int] | None = None,
    ) -> "ImageList":
        """Pad and stack images.

        Args:
            tensors: Each (..., H, W), equal but for the last two sizes.
            size_divisibility: The padded height and width are multiples of it.
            pad_value: Value of the padding.
            padding_constraints: May hold ``size_divisibility``, which then counts, and
                ``square_size``: if positive, the size to pad to instead of the largest image's.
        """
        shapes = {tensor.shape[:-2] for tensor in tensors}
        assert len(shapes) == 1, f"images must agree in all but height and width: {shapes}"
        sizes = [(tensor.shape[-2], tensor.shape[-1]) for tensor in tensors]
        constraints = padding_constraints or {}
        square = max(constraints.get("square_size", 0), 0)
        step = max(constraints.get("size_divisibility", size_divisibility), 1)
        padded = [-(-(square or max(side)) // step) * step for side in zip(*sizes, strict=True)]
        batch = tensors[0].new_full((len(tensors), *shapes.pop(), *padded), pad_value)
        for i, (height, width) in enumerate(sizes):
            batch[i, ..., :height, :width].copy_(tensors[i])
        return ImageList(batch, sizes)
