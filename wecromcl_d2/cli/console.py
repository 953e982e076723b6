"""The console of a training: its own keys and its device, not all of Detectron2's."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from detectron2.config import CfgNode
from detectron2.utils import comm
from detectron2.utils.logger import setup_logger

from ..tasks import default_config


@contextmanager
def brief_console(output_dir: str) -> Iterator[None]:
    """Let Detectron2's logger write all but warnings to OUTPUT_DIR/log.txt alone."""
    # The same call as in `default_setup`, which finds the logger ready, or has made it.
    handlers = setup_logger(output_dir, distributed_rank=comm.get_rank()).handlers
    console = [h for h in handlers if getattr(h, "stream", None) is sys.stdout]
    levels = [handler.level for handler in console]
    for handler in console:
        handler.setLevel(logging.WARNING)
    try:
        yield
    finally:
        for handler, level in zip(console, levels, strict=True):
            handler.setLevel(level)


def describe_run(cfg: CfgNode) -> str:
    """The device of a run and its own keys, for the console and the log."""
    lines = "".join(f"\n  {key} {value!r}" for key, value in own_keys(cfg).items())
    return (
        f"{_describe_device(cfg.MODEL.DEVICE)}\nkeys that differ from the defaults; all are in "
        f"{cfg.OUTPUT_DIR}/config.yaml, the environment in log.txt:{lines}"
    )


def own_keys(cfg: CfgNode) -> dict[str, object]:
    """The keys of a config that differ from their defaults, with their values."""
    defaults = flatten(default_config())
    return {key: value for key, value in flatten(cfg).items() if value != defaults.get(key)}


def flatten(node: CfgNode, prefix: str = "") -> dict[str, object]:
    """The values of a config by their full keys."""
    flat: dict[str, object] = {}
    for key, value in node.items():
        own = {prefix + key: value}
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, CfgNode) else own
    return flat


def _describe_device(device: str) -> str:
    if device.startswith("cuda"):
        return f"running on {device}, {torch.cuda.get_device_name(device)}"
    if device != "cpu":
        return f"running on {device}, as MODEL.DEVICE says"
    if torch.cuda.is_available():
        return "running on the CPU, as MODEL.DEVICE says"
    return "running on the CPU, since there is no GPU that PyTorch can use"
