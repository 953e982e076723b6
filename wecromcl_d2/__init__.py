"""WeCromCL for Detectron2: text spotting learned from images and their words, without positions.

Importing the package registers its meta-architectures, backbone, text encoder and datasets.
"""

import sys
from pathlib import Path

__version__ = "0.1.0"


def _only_lists_commands() -> bool:
    """Whether this process was started as `wecromcl` with no command, for help or the version.

    Such a process skips the imports and registrations below, which take seconds. Any other process,
    including every one that imports the package itself, performs them.
    """
    start = sys.orig_argv[1:]
    if start and start[-1] in ("-h", "--help", "--version"):
        start.pop()
    if len(start) == 1:
        return Path(start[0]).name in ("wecromcl", "wecromcl.exe")
    return start == ["-m", __name__]


if not _only_lists_commands():
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
