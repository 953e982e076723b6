"""Config node with versions, its defaults, and `configurable`."""

import functools
import inspect
import logging
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import yaml
from fvcore.common.config import CfgNode as _CfgNode

from detectron2.utils.file_io import PathManager

_VERSION = 2


class CfgNode(_CfgNode):
    """A fvcore config node that opens files by `PathManager` and checks ``VERSION``."""

    @classmethod
    def _open_cfg(cls, filename: str) -> IO[Any]:
        return open(PathManager.get_local_path(filename), encoding="utf-8")

    def merge_from_file(self, cfg_filename: str, allow_unsafe: bool = True) -> None:
        """Merge a YAML file, ``_BASE_`` files first.

        Args:
            cfg_filename: Path or URL.
            allow_unsafe: Also accept YAML tags that run code.

        Raises:
            AssertionError: If the file is missing or of a newer version.
            ValueError: If it is of version 1.
        """
        assert PathManager.isfile(cfg_filename), f"Config file '{cfg_filename}' does not exist"
        loaded = type(self)(self.load_yaml_with_base(cfg_filename, allow_unsafe=allow_unsafe))
        version = loaded.get("VERSION")
        if version is None:
            logging.getLogger(__name__).warning(
                "Config '%s' has no VERSION; reading it as version %d", cfg_filename, _VERSION
            )
            version = _VERSION
        assert version <= _VERSION, f"'{cfg_filename}' has VERSION {version}, known: {_VERSION}"
        if version < _VERSION:
            raise ValueError(
                f"'{cfg_filename}' has VERSION {version}; detectron2 slim reads version {_VERSION} "
                "only: convert the file with the full Detectron2"
            )
        self.merge_from_other_cfg(loaded)


global_cfg = CfgNode()


@functools.cache
def _defaults() -> CfgNode:
    text = Path(__file__).with_name("defaults.yaml").read_text(encoding="utf-8")
    return CfgNode(yaml.load(text, Loader=yaml.FullLoader))  # the full loader knows tuples


def get_cfg() -> CfgNode:
    """Return a fresh copy of the defaults."""
    return _defaults().clone()


def set_global_cfg(cfg: CfgNode) -> None:
    """Fill `global_cfg` with the content of ``cfg``."""
    global_cfg.clear()
    global_cfg.update(cfg)


def configurable(
    init_func: Callable[..., Any] | None = None,
    *,
    from_config: Callable[..., dict[str, Any]] | None = None,
) -> Callable[..., Any]:
    """Let a constructor or function be called with a config in place of its own arguments.

    On ``__init__`` the class supplies a classmethod ``from_config(cls, cfg, ...)`` that returns
    the arguments; on a function it is given here. Keywords that ``from_config`` does not take
    override what it returns.

    Args:
        init_func: The decorated ``__init__``.
        from_config: For functions, ``from_config(cfg, ...)``.

    Raises:
        AttributeError: At construction, if the class has no ``from_config``.
        TypeError: If ``from_config`` is no classmethod or its first parameter is not ``cfg``.
    """
    if init_func is not None:
        assert inspect.isfunction(init_func) and init_func.__name__ == "__init__", (
            "use @configurable on __init__ or @configurable(from_config=...) on a function"
        )
        return _configurable_init(init_func)
    if from_config is None:
        return configurable
    assert inspect.isfunction(from_config), "from_config must be a function"

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            if _has_config(args, kwargs):
                return function(**_explicit_arguments(from_config, args, kwargs))
            return function(*args, **kwargs)

        wrapped.from_config = from_config  # type: ignore[attr-defined]
        return wrapped

    return decorate


def _configurable_init(init: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(init)
    def wrapped(self: Any, *args: Any, **kwargs: Any) -> None:
        from_config = getattr(type(self), "from_config", None)
        remedy = f"{type(self).__name__} needs a classmethod 'from_config' to be @configurable"
        if from_config is None:
            raise AttributeError(remedy)
        if not inspect.ismethod(from_config):
            raise TypeError(remedy)
        if _has_config(args, kwargs):
            init(self, **_explicit_arguments(from_config, args, kwargs))
        else:
            init(self, *args, **kwargs)

    return wrapped


def _has_config(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    return any(isinstance(value, _CfgNode) for value in (*args[:1], kwargs.get("cfg")))


def _explicit_arguments(
    from_config: Callable[..., dict[str, Any]], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, Any]:
    parameters = inspect.signature(from_config).parameters
    if next(iter(parameters), None) != "cfg":
        raise TypeError(f"{from_config.__qualname__} must take 'cfg' as its first argument")
    if any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters.values()):
        return from_config(*args, **kwargs)
    accepted = {name: value for name, value in kwargs.items() if name in parameters}
    overrides = {name: value for name, value in kwargs.items() if name not in parameters}
    return {**from_config(*args, **accepted), **overrides}
