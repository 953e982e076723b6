"""Axis-aligned boxes (x1, y1, x2, y2)."""

from collections.abc import Iterator, Sequence
from enum import IntEnum
from typing import Any

import numpy as np
import torch


class BoxMode(IntEnum):
    """What the four (or five) numbers of a box mean; only the first two can be converted."""

    XYXY_ABS = 0
    XYWH_ABS = 1
    XYXY_REL = 2
    XYWH_REL = 3
    XYWHA_ABS = 4

    @staticmethod
    def convert(box: Any, from_mode: "BoxMode", to_mode: "BoxMode") -> Any:
        """Convert one box (list or tuple) or N boxes (array or tensor of (N, 4)).

        Returns:
            The boxes, of the type that was given; the input stays as it is.

        Raises:
            NotImplementedError: For other modes than ``XYXY_ABS`` and ``XYWH_ABS``.
        """
        if from_mode == to_mode:
            return box
        if {from_mode, to_mode} != {BoxMode.XYXY_ABS, BoxMode.XYWH_ABS}:
            raise NotImplementedError(f"cannot convert boxes from {from_mode!r} to {to_mode!r}")
        sign = 1 if from_mode == BoxMode.XYWH_ABS else -1
        if isinstance(box, list | tuple):
            assert len(box) == 4, f"a box has 4 numbers, got {len(box)}"
            x, y, a, b = box
            numbers = (x, y, a + sign * x, b + sign * y)
            return list(numbers) if isinstance(box, list) else numbers
        result = box.copy() if isinstance(box, np.ndarray) else box.clone()
        result[:, 2:] += sign * result[:, :2]
        return result


class Boxes:
    """N boxes as a float32 tensor of (N, 4), in absolute pixels.

    Args:
        tensor: Anything ``torch.as_tensor`` takes; empty input becomes (0, 4).
    """

    def __init__(self, tensor: Any) -> None:
        tensor = torch.as_tensor(tensor, dtype=torch.float32)
        if tensor.numel() == 0:
            tensor = tensor.reshape(-1, 4)
        assert tensor.dim() == 2 and tensor.size(-1) == 4, f"not (N, 4): {tuple(tensor.shape)}"
        self.tensor: torch.Tensor = tensor

    def __len__(self) -> int:
        return self.tensor.shape[0]

    def __iter__(self) -> Iterator[torch.Tensor]:
        yield from self.tensor

    def __getitem__(self, item: Any) -> "Boxes":
        if isinstance(item, int):
            return Boxes(self.tensor[item].view(1, -1))
        selected = self.tensor[item]
        assert selected.dim() == 2, f"indexing boxes with {item} gives no matrix"
        return Boxes(selected)

    def __repr__(self) -> str:
        return f"Boxes({self.tensor})"

    @property
    def device(self) -> torch.device:
        """Device of the numbers."""
        return self.tensor.device

    def clone(self) -> "Boxes":
        """Copy."""
        return Boxes(self.tensor.clone())

    def to(self, device: torch.device | str) -> "Boxes":
        """Copy to a device; the type stays float32."""
        return Boxes(self.tensor.to(device=device))

    def area(self) -> torch.Tensor:
        """Areas, (N,)."""
        width, height = (self.tensor[:, 2:] - self.tensor[:, :2]).unbind(1)
        return width * height

    def clip(self, box_size: tuple[int, int]) -> None:
        """Limit x to [0, width] and y to [0, height], in place; ``box_size`` is (h, w)."""
        assert torch.isfinite(self.tensor).all(), "boxes contain infinity or NaN"
        height, width = box_size
        upper = self.tensor.new_tensor([width, height, width, height])
        self.tensor = torch.minimum(self.tensor.clamp(min=0), upper)

    def nonempty(self, threshold: float = 0.0) -> torch.Tensor:
        """Tell which boxes have both sides longer than ``threshold``; bool, (N,)."""
        return (self.tensor[:, 2:] - self.tensor[:, :2] > threshold).all(dim=1)

    def inside_box(self, box_size: tuple[int, int], boundary_threshold: int = 0) -> torch.Tensor:
        """Tell which boxes lie in an image of (h, w), give or take the threshold; bool, (N,)."""
        height, width = box_size
        upper = self.tensor.new_tensor([width, height]) + boundary_threshold
        starts_inside = self.tensor[:, :2] >= -boundary_threshold
        return (starts_inside & (self.tensor[:, 2:] < upper)).all(dim=1)

    def get_centers(self) -> torch.Tensor:
        """Centres (x, y), (N, 2)."""
        return (self.tensor[:, :2] + self.tensor[:, 2:]) / 2

    def scale(self, scale_x: float, scale_y: float) -> None:
        """Multiply the coordinates, in place."""
        self.tensor[:, 0::2] *= scale_x
        self.tensor[:, 1::2] *= scale_y

    @classmethod
    def cat(cls, boxes_list: Sequence["Boxes"]) -> "Boxes":
        """Put several sets behind one another."""
        assert all(isinstance(boxes, Boxes) for boxes in boxes_list), "cat takes Boxes only"
        return cls(torch.cat([boxes.tensor for boxes in boxes_list]) if boxes_list else [])


def pairwise_intersection(boxes1: Boxes, boxes2: Boxes) -> torch.Tensor:
    """Shared areas of every pair, (N, M)."""
    first, second = boxes1.tensor[:, None], boxes2.tensor
    right_bottom = torch.minimum(first[..., 2:], second[:, 2:])
    left_top = torch.maximum(first[..., :2], second[:, :2])
    return (right_bottom - left_top).clamp(min=0).prod(dim=2)


def pairwise_iou(boxes1: Boxes, boxes2: Boxes) -> torch.Tensor:
    """Intersection over union of every pair, (N, M); 0 where nothing is shared."""
    shared = pairwise_intersection(boxes1, boxes2)
    union = boxes1.area()[:, None] + boxes2.area() - shared
    return torch.where(shared > 0, shared / union, shared.new_zeros(1))
