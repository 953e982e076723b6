"""Containers for boxes, instances and padded images."""

from collections.abc import Iterator, Sequence
from enum import IntEnum
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor


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
        if isinstance(box, list | tuple):
            return type(box)(BoxMode.convert(np.asarray([box]), from_mode, to_mode)[0].tolist())
        result = box.copy() if isinstance(box, np.ndarray) else box.clone()
        result[:, 2:] += result[:, :2] * (1 if to_mode == BoxMode.XYXY_ABS else -1)
        return result


class Boxes:
    """N boxes (x1, y1, x2, y2) in absolute pixels, as a float32 tensor of (N, 4).

    Args:
        tensor: Anything ``torch.as_tensor`` takes; empty input becomes (0, 4).
    """

    def __init__(self, tensor: Any) -> None:
        tensor = torch.as_tensor(tensor, dtype=torch.float32)
        self.tensor: Tensor = tensor if tensor.numel() else tensor.reshape(-1, 4)
        shape = tuple(self.tensor.shape)
        assert len(shape) == 2 and shape[1] == 4, f"boxes are (N, 4), not {shape}"

    def __len__(self) -> int:
        return len(self.tensor)

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self.tensor)

    def __getitem__(self, item: Any) -> "Boxes":
        return Boxes(self.tensor[item].view(1, -1) if isinstance(item, int) else self.tensor[item])

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

    def area(self) -> Tensor:
        """Areas, (N,)."""
        return (self.tensor[:, 2:] - self.tensor[:, :2]).prod(dim=1)

    def clip(self, box_size: tuple[int, int]) -> None:
        """Limit x to [0, width] and y to [0, height], in place; ``box_size`` is (h, w)."""
        assert torch.isfinite(self.tensor).all(), "boxes contain infinity or NaN"
        upper = self.tensor.new_tensor([box_size[1], box_size[0]] * 2)
        self.tensor = torch.minimum(self.tensor.clamp(min=0), upper)

    def nonempty(self, threshold: float = 0.0) -> Tensor:
        """Tell which boxes have both sides longer than ``threshold``; bool, (N,)."""
        return (self.tensor[:, 2:] - self.tensor[:, :2] > threshold).all(dim=1)

    @classmethod
    def cat(cls, boxes_list: Sequence["Boxes"]) -> "Boxes":
        """Put several sets behind one another."""
        return cls(torch.cat([boxes.tensor for boxes in boxes_list]) if boxes_list else [])


def pairwise_iou(boxes1: Boxes, boxes2: Boxes) -> Tensor:
    """Intersection over union of every pair, (N, M); 0 where nothing is shared."""
    first, second = boxes1.tensor[:, None], boxes2.tensor
    right_bottom = torch.minimum(first[..., 2:], second[:, 2:])
    left_top = torch.maximum(first[..., :2], second[:, :2])
    shared = (right_bottom - left_top).clamp(min=0).prod(dim=2)
    union = boxes1.area()[:, None] + boxes2.area() - shared
    return torch.where(shared > 0, shared / union, 0.0)


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


class Instances:
    """The things found or annotated in one image: named fields of equal length.

    Fields are attributes; names that start with ``_`` are not fields.

    Args:
        image_size: (height, width) of the image.
        kwargs: Fields.
    """

    def __init__(self, image_size: tuple[int, int], **kwargs: Any) -> None:
        self._image_size = image_size
        self._fields: dict[str, Any] = {}
        for name, value in kwargs.items():
            self.set(name, value)

    @property
    def image_size(self) -> tuple[int, int]:
        """The image's (height, width)."""
        return self._image_size

    def __setattr__(self, name: str, value: Any) -> None:
        (super().__setattr__ if name.startswith("_") else self.set)(name, value)

    def __getattr__(self, name: str) -> Any:
        if name == "_fields" or name not in self._fields:
            raise AttributeError(f"the given Instances have no field '{name}'")
        return self._fields[name]

    def set(self, name: str, value: Any) -> None:
        """Add or replace a field.

        Raises:
            AssertionError: If its length is not that of the other fields.
        """
        expected = len(self) if self._fields else len(value)
        assert len(value) == expected, f"'{name}' has {len(value)} entries, others {expected}"
        self._fields[name] = value

    def has(self, name: str) -> bool:
        """Whether there is such a field."""
        return name in self._fields

    def get(self, name: str) -> Any:
        """Return a field."""
        return self._fields[name]

    def remove(self, name: str) -> None:
        """Drop a field."""
        del self._fields[name]

    def get_fields(self) -> dict[str, Any]:
        """Return the fields themselves, not a copy."""
        return self._fields

    def to(self, *args: Any, **kwargs: Any) -> "Instances":
        """Copy, with ``to`` called on the fields that have it."""
        new = {k: v.to(*args, **kwargs) if hasattr(v, "to") else v for k, v in self._fields.items()}
        return Instances(self._image_size, **new)

    def __getitem__(self, item: Any) -> "Instances":
        if isinstance(item, int):
            if not -len(self) <= item < len(self):
                raise IndexError(f"index {item} is out of range for {len(self)} instances")
            item = slice(item, None, len(self))
        fields = {name: value[item] for name, value in self._fields.items()}
        return Instances(self._image_size, **fields)

    def __len__(self) -> int:
        for value in self._fields.values():
            return len(value)
        raise NotImplementedError("Instances without fields have no length")

    def __iter__(self) -> NoReturn:
        raise NotImplementedError("Instances cannot be iterated; index them instead")

    @staticmethod
    def cat(instance_lists: list["Instances"]) -> "Instances":
        """Put instances of one image behind one another.

        Raises:
            ValueError: If a field is neither a tensor nor a list and has no ``cat`` method.
        """
        if len(instance_lists) == 1:
            return instance_lists[0]
        sizes = {tuple(instances.image_size) for instances in instance_lists}
        assert len(sizes) == 1, f"instances must be of one image size: {sizes}"
        result = Instances(instance_lists[0].image_size)
        for name, value in instance_lists[0].get_fields().items():
            values = [instances.get(name) for instances in instance_lists]
            if isinstance(value, list):
                result.set(name, [item for items in values for item in items])
            elif isinstance(value, Tensor) or hasattr(value, "cat"):
                result.set(name, (torch if isinstance(value, Tensor) else type(value)).cat(values))
            else:
                raise ValueError(f"cannot concatenate field '{name}' of {type(value).__name__}")
        return result

    def __repr__(self) -> str:
        fields = "".join(f", {name}={value}" for name, value in self._fields.items())
        return f"Instances({self._image_size}{fields})"
