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
            AssertionError: If the file is missing or of another version than 2.
        """
        assert PathManager.isfile(cfg_filename), f"Config file '{cfg_filename}' does not exist"
        loaded = type(self)(self.load_yaml_with_base(cfg_filename, allow_unsafe=allow_unsafe))
        version = loaded.get("VERSION")
        if version is None:
            message = "Config '%s' has no VERSION; reading it as version 2"
            logging.getLogger(__name__).warning(message, cfg_filename)
        readable = f"'{cfg_filename}' has VERSION {version}; detectron2 slim reads VERSION 2"
        assert version in (None, 2), readable
        self.merge_from_other_cfg(loaded)


global_cfg = CfgNode()


@functools.cache
def _defaults() -> CfgNode:
    text = Path(__file__).with_name("defaults.yaml").read_text(encoding="utf-8")
    return CfgNode(yaml.load(text, Loader=yaml.FullLoader))  # which knows tuples


def get_cfg() -> CfgNode:
    """Return a fresh copy of the defaults."""
    return _defaults().clone()


def set_global_cfg(cfg: CfgNode) -> None:
    """Fill `global_cfg` with the content of ``cfg``."""
    global_cfg.clear()
    global_cfg.update(cfg)


def configurable(init_func: Any = None, *, from_config: Any = None) -> Any:
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
        usage = "use @configurable on __init__ or @configurable(from_config=...) on a function"
        assert inspect.isfunction(init_func) and init_func.__name__ == "__init__", usage
        return _wrap(init_func, None)
    if from_config is None:
        return configurable
    return functools.partial(_wrap, from_config=from_config)


def _wrap(function: Callable[..., Any], from_config: Any) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        instance, args = ((), args) if from_config else (args[:1], args[1:])
        translate = from_config or type(instance[0]).from_config
        if instance and not inspect.ismethod(translate):
            raise TypeError(f"'from_config' of {type(instance[0]).__name__} is no classmethod")
        if any(isinstance(value, _CfgNode) for value in (*args[:1], kwargs.get("cfg"))):
            return function(*instance, **_explicit_arguments(translate, args, kwargs))
        return function(*instance, *args, **kwargs)

    wrapped.from_config = from_config  # type: ignore[attr-defined]
    return wrapped


def _explicit_arguments(from_config: Any, args: tuple, kwargs: dict[str, Any]) -> dict[str, Any]:
    parameters = inspect.signature(from_config).parameters
    if next(iter(parameters), None) != "cfg":
        raise TypeError(f"{from_config.__qualname__} must take 'cfg' as its first argument")
    takes_all = any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters.values())
    others = [name for name in kwargs if not takes_all and name not in parameters]
    overrides = {name: kwargs.pop(name) for name in others}
    return {**from_config(*args, **kwargs), **overrides}
