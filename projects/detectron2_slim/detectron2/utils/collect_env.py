"""A short report of versions and devices, for bug reports: ``python -m`` prints it."""

import platform
import sys

import torch
from tabulate import tabulate

_MODULES = ("detectron2", "torch", "numpy", "PIL", "cv2", "fvcore", "iopath", "yaml", "tabulate")


def collect_env_info() -> str:
    """Describe Python, the imported libraries and the GPUs as a table, one line each."""
    rows = [("Python", platform.python_version()), ("platform", platform.platform())]
    rows += [(name, sys.modules[name].__version__) for name in _MODULES if name in sys.modules]
    rows += [(f"GPU {i}", torch.cuda.get_device_name(i)) for i in range(torch.cuda.device_count())]
    return tabulate([*rows, ("CUDA of torch", torch.version.cuda)])


if __name__ == "__main__":
    print(collect_env_info())
