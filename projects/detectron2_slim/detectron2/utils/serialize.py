"""Pickling of what plain pickle refuses."""

from typing import Any

import cloudpickle


class PicklableWrapper:
    """Wrap a callable, for example a lambda, so that spawned workers can receive it."""

    def __init__(self, obj: Any) -> None:
        self._obj: Any = obj._obj if isinstance(obj, PicklableWrapper) else obj

    def __reduce__(self) -> tuple[Any, ...]:
        return cloudpickle.loads, (cloudpickle.dumps(self._obj),)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the wrapped object."""
        return self._obj(*args, **kwargs)
