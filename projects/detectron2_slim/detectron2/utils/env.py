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


def setup_environment() -> None:
    """Turn OpenCL off in OpenCV, then run the user's own set-up.

    ``DETECTRON2_ENV_MODULE`` names it: a ``.py`` file or a module with ``setup_environment()``.
    """
    os.environ["OPENCV_OPENCL_RUNTIME"] = "disabled"
    with contextlib.suppress(ModuleNotFoundError):
        importlib.import_module("cv2").ocl.setUseOpenCL(False)
    custom = os.environ.get("DETECTRON2_ENV_MODULE", "")
    if custom.endswith(".py"):
        runpy.run_path(custom)["setup_environment"]()
    elif custom:
        importlib.import_module(custom).setup_environment()
