"""Library switches and random seeds."""

import contextlib
import importlib
import logging
import os
import random
import runpy

import numpy as np
import torch

TORCH_VERSION = tuple(int(part) for part in torch.__version__.split(".")[:2])


def seed_all_rng(seed: int | None = None) -> None:
    """Seed numpy, torch (every device) and ``random``.

    Args:
        seed: The seed; None draws an unpredictable one and logs it.
    """
    if seed is None:
        seed = int.from_bytes(os.urandom(4), "big")
        logging.getLogger(__name__).info("Using a generated random seed %d", seed)
    np.random.seed(seed)
    random.seed(seed)
    torch.manual_seed(seed)
    os.environ["PYTHONHASHSEED"] = str(seed)


def setup_environment(custom_module: str | None = None) -> None:
    """Turn OpenCL off in OpenCV, then run the user's own set-up.

    Args:
        custom_module: A ``.py`` file or a module name with a ``setup_environment()`` function;
            normally the value of ``DETECTRON2_ENV_MODULE``.
    """
    os.environ["OPENCV_OPENCL_RUNTIME"] = "disabled"
    with contextlib.suppress(ModuleNotFoundError):
        importlib.import_module("cv2").ocl.setUseOpenCL(False)
    if custom_module and custom_module.endswith(".py"):
        runpy.run_path(custom_module)["setup_environment"]()
    elif custom_module:
        importlib.import_module(custom_module).setup_environment()
