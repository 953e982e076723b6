"""WeCromCL for Detectron2: find and read text from images and their words alone.

Importing the package registers its meta-architectures, backbone, text encoder and datasets.
"""

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
from .stage1 import AnchorEvaluator

__version__ = "0.1.0"

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

register_builtin_datasets()
register_benchmarks()
