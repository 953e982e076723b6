"""Global registries: where the records of a dataset come from and what is known about it."""

from collections import UserDict
from types import SimpleNamespace
from typing import Any


class _Catalog(UserDict):
    """What both registries share: a list of names, and removal."""

    def list(self) -> Any:
        """Names of all entries, in the order of their registration."""
        return [*self.keys()]

    def remove(self, name: str) -> None:
        """Forget the entry `name`; an unknown one is a `KeyError`."""
        del self[name]


class _DatasetCatalog(_Catalog):
    """Dataset name -> function without arguments that returns the dataset's records."""

    def register(self, name: str, func: Any) -> None:
        """Remember `func` as the source of the dataset `name`.

        Args:
            name: a name that is not taken yet (`AssertionError` otherwise).
            func: returns a list of dicts or a torch dataset, the same one on every call.
        """
        assert callable(func), f"dataset '{name}' needs a function, got {func!r}"
        assert name not in self, f"Dataset '{name}' is already registered!"
        self[name] = func

    def get(self, name: str) -> Any:  # type: ignore[override]
        """Call the function of `name` and return its result; nothing is cached."""
        if name not in self:
            raise KeyError(f"Dataset '{name}' is not registered! Available: {', '.join(self)}")
        return self[name]()


class Metadata(SimpleNamespace):
    """Facts about one dataset as attributes that keep their first value."""

    name = "N/A"

    def __getattr__(self, key: str) -> Any:
        raise AttributeError(f"metadata of '{self.name}' has no '{key}', only {[*vars(self)]}")

    def __setattr__(self, key: str, value: Any) -> None:
        old = vars(self).get(key, value)
        assert old is value or old == value, f"'{key}' of '{self.name}' is {old!r} already"
        super().__setattr__(key, value)

    def as_dict(self) -> dict[str, Any]:
        """A shallow copy of all facts, the name included."""
        return dict(vars(self))

    def set(self, **facts: Any) -> "Metadata":
        """Set several facts at once and return the object itself."""
        for key, value in facts.items():
            setattr(self, key, value)
        return self

    def get(self, key: str, default: Any = None) -> Any:
        """The fact `key`, or `default` where it is not known."""
        return getattr(self, key, default)


class _MetadataCatalog(_Catalog):
    """Dataset name -> its one `Metadata`."""

    def get(self, name: str) -> Metadata:  # type: ignore[override]
        """The metadata of `name`, made empty on the first call."""
        assert name, "the name of a dataset cannot be empty"
        return self.setdefault(name, Metadata(name=name))


DatasetCatalog = _DatasetCatalog()
MetadataCatalog = _MetadataCatalog()
