"""Library switches and random seeds."""

import importlib
import logging
import os
import random
import secrets
from importlib.util import module_from_spec, spec_from_file_location
from types import ModuleType

import numpy as np
import torch

__all__ = ["TORCH_VERSION", "seed_all_rng", "setup_environment"]

TORCH_VERSION = tuple(int(part) for part in torch.__version__.split(".")[:2])


def seed_all_rng(seed: int | None = None) -> None:
    """Seed numpy, torch (every device) and ``random``.

    Args:
        seed: The seed; None draws an unpredictable one and logs it.
    """
    if seed is None:
        seed = secrets.randbits(31)
        logging.getLogger(__name__).info("Using a generated random seed %d", seed)
    np.random.seed(seed)
    random.seed(seed)
    torch.manual_seed(seed)
    os.environ["PYTHONHASHSEED"] = str(seed)


def _load_file(path: str) -> ModuleType:
    spec = spec_from_file_location(f"{__name__}.custom_module", path)
    assert spec is not None and spec.loader is not None, f"'{path}' is not a Python file"
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def setup_environment(custom_module: str | None = None) -> None:
    """Turn OpenCL off in OpenCV, then run the user's own set-up.

    Args:
        custom_module: A ``.py`` file or a module name with a ``setup_environment()`` function;
            normally the value of ``DETECTRON2_ENV_MODULE``.

    Raises:
        AttributeError: If that module has no such function.
    """
    os.environ["OPENCV_OPENCL_RUNTIME"] = "disabled"
    try:
        import cv2

        cv2.ocl.setUseOpenCL(False)
    except ModuleNotFoundError:
        pass
    if custom_module:
        is_file = custom_module.endswith(".py")
        load = _load_file if is_file else importlib.import_module
        load(custom_module).setup_environment()
