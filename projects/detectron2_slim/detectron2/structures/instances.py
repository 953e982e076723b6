"""The things found or annotated in one image."""

import itertools
from typing import Any, NoReturn

import torch


class Instances:
    """Named fields of equal length, one entry per instance.

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
        if name.startswith("_"):
            super().__setattr__(name, value)
        else:
            self.set(name, value)

    def __getattr__(self, name: str) -> Any:
        if name == "_fields" or name not in self._fields:
            raise AttributeError(f"the given Instances have no field '{name}'")
        return self._fields[name]

    def set(self, name: str, value: Any) -> None:
        """Add or replace a field.

        Raises:
            AssertionError: If its length is not that of the other fields.
        """
        if self._fields:
            assert len(value) == len(self), f"'{name}': length {len(value)} is not {len(self)}"
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
        result = Instances(self._image_size)
        for name, value in self._fields.items():
            result.set(name, value.to(*args, **kwargs) if hasattr(value, "to") else value)
        return result

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
        assert all(isinstance(instances, Instances) for instances in instance_lists)
        first = instance_lists[0]
        if len(instance_lists) == 1:
            return first
        sizes = {tuple(instances.image_size) for instances in instance_lists}
        assert len(sizes) == 1, f"instances of differing image sizes: {sizes}"
        result = Instances(first.image_size)
        for name, value in first.get_fields().items():
            values = [instances.get(name) for instances in instance_lists]
            if isinstance(value, torch.Tensor):
                result.set(name, torch.cat(values))
            elif isinstance(value, list):
                result.set(name, list(itertools.chain(*values)))
            elif hasattr(value, "cat"):
                result.set(name, type(value).cat(values))
            else:
                raise ValueError(f"cannot concatenate field '{name}' of {type(value).__name__}")
        return result

    def __repr__(self) -> str:
        height, width = self._image_size
        fields = ", ".join(f"{name}: {value}" for name, value in self._fields.items())
        count = len(self) if self._fields else 0
        sizes = f"num_instances={count}, image_height={height}, image_width={width}"
        return f"Instances({sizes}, fields=[{fields}])"
