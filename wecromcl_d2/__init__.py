"""WeCromCL for Detectron2: text spotting learned from images and their words, without positions.

Importing the package registers its meta-architectures, backbone, text encoder and datasets.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__version__ = "0.1.0"


def _command_line() -> list[str] | None:
    """The arguments with which this process was started as `wecromcl`; None for any other one."""
    start = sys.orig_argv[1:]
    if start[:2] == ["-m", __name__]:
        return start[2:]
    is_wecromcl = bool(start) and Path(start[0]).name in ("wecromcl", "wecromcl.exe")
    return start[1:] if is_wecromcl else None


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let a command end without a traceback if it is interrupted while it imports torch."""
    try:
        yield
    except KeyboardInterrupt:
        if _command_line() is None:
            raise
        print("interrupted", file=sys.stderr)
        raise SystemExit(130) from None


# Help and version skip the imports and registrations, which take seconds. Any other process, also
# one that imports the package itself, performs them.
if _command_line() not in ([], ["-h"], ["--help"], ["--version"]):
    with _interruptible():
        try:
            import detectron2 as _detectron2  # noqa: F401
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "wecromcl_d2 needs Detectron2: install it from source, or its slim stand-in with "
                "`pip install ./projects/detectron2_slim` from a clone of wecromcl_d2"
            ) from error

        from . import layers, stage1, stage2
        from .config import add_wecromcl_config
        from .data import register_builtin_datasets, register_labels
        from .data.readers.registry import register_benchmarks
        from .own_modules import import_own_modules
        from .stage1 import AnchorEvaluator

        register_builtin_datasets()
        register_benchmarks()
        import_own_modules()

__all__ = [
    "AnchorEvaluator",
    "__version__",
    "add_wecromcl_config",
    "layers",
    "register_benchmarks",
    "register_builtin_datasets",
    "register_labels",
    "stage1",
    "stage2",
]
