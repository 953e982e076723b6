"""Images of different sizes in one padded tensor."""

from collections.abc import Sequence
from typing import Any

import torch


class ImageList:
    """N images padded at the right and the bottom to one size.

    Args:
        tensor: (N, H, W) or (N, C, ..., H, W).
        image_sizes: True (height, width) of each image.
    """

    def __init__(self, tensor: torch.Tensor, image_sizes: list[tuple[int, int]]) -> None:
        self.tensor = tensor
        self.image_sizes = image_sizes

    def __len__(self) -> int:
        return len(self.image_sizes)

    def __getitem__(self, idx: int) -> torch.Tensor:
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
        tensors: Sequence[torch.Tensor],
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
        assert len(tensors) > 0, "no images to stack"
        shapes = {tensor.shape[:-2] for tensor in tensors}
        assert len(shapes) == 1, f"images differ in more than height and width: {shapes}"
        sizes = [(tensor.shape[-2], tensor.shape[-1]) for tensor in tensors]
        constraints = padding_constraints or {}
        square = constraints.get("square_size", 0)
        largest = [max(side) for side in zip(*sizes, strict=True)]
        wanted = [square, square] if square > 0 else largest
        step = max(constraints.get("size_divisibility", size_divisibility), 1)
        padded = [(side + step - 1) // step * step for side in wanted]
        batch = tensors[0].new_full((len(tensors), *shapes.pop(), *padded), pad_value)
        for target, tensor, (height, width) in zip(batch, tensors, sizes, strict=True):
            target[..., :height, :width].copy_(tensor)
        return ImageList(batch, sizes)
