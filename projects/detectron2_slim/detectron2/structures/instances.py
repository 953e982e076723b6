"""Fields of equal length about the things in one image."""

from typing import Any, NoReturn

import torch
from torch import Tensor


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
