"""A short report of versions and devices, for bug reports: ``python -m`` prints it."""

import importlib
import platform

import torch
from tabulate import tabulate

__all__ = ["collect_env_info"]

_PACKAGES = ("detectron2", "numpy", "fvcore", "iopath", "cv2", "PIL")


def _version(name: str) -> str:
    try:
        return str(getattr(importlib.import_module(name), "__version__", "unknown"))
    except ImportError:
        return "not installed"


def collect_env_info() -> str:
    """Describe Python, the libraries and the GPUs as a table, one line each."""
    rows = [("platform", platform.platform()), ("Python", platform.python_version())]
    rows += [("PyTorch", torch.__version__), ("CUDA of PyTorch", str(torch.version.cuda))]
    rows += [(f"GPU {i}", torch.cuda.get_device_name(i)) for i in range(torch.cuda.device_count())]
    rows += [(name, _version(name)) for name in _PACKAGES]
    return tabulate(rows)


if __name__ == "__main__":
    print(collect_env_info())
