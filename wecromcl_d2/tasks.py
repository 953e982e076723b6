"""Configs of both stages, and the trainer of each."""

import os
from collections.abc import Sequence
from pathlib import Path

import torch
from detectron2.config import CfgNode, get_cfg

from .config import add_wecromcl_config, check_choice, check_unused_keys
from .engine.trainer import Trainer
from .files import find_file
from .shipped_models import shipped_weights
from .stage1.trainer import AnchorTrainer
from .stage2 import add_spts_config, add_srsts_a_config
from .stage2.trainer import SpottingTrainer

TRAINERS: dict[str, type[Trainer]] = {"anchors": AnchorTrainer, "spotting": SpottingTrainer}


def load_config(config_file: str | os.PathLike[str], opts: Sequence[str] = ()) -> CfgNode:
    """Read a config of either stage; importing this module registers the meta-architectures.

    Args:
        config_file: YAML file; a relative path is looked up by `find_file`.
        opts: KEY VALUE pairs that override it.

    Returns:
        The frozen config; a MODEL.DEVICE of "cuda" is "cpu" on a machine without a GPU, and weights
        `shipped://NAME` are paths, see `shipped_models`.

    Raises:
        FileNotFoundError: if there is no such file, or not the `_BASE_` that it names.
        ValueError: for anything else that is wrong in it or in the overrides.
    """
    cfg = default_config()
    path = find_file(config_file)
    try:
        cfg.merge_from_file(str(path))
    except FileNotFoundError as error:
        raise FileNotFoundError(_missing_base(path, error.filename)) from None
    except AttributeError as error:
        raise ValueError(f"{path} is no config: it has no keys, as YAML files have") from error
    except Exception as error:  # yacs and YAML refuse a config by errors of many types
        raise ValueError(f"{path}: {_one_line(error)}") from error
    try:
        cfg.merge_from_list(list(opts))
    except Exception as error:
        raise ValueError(f"changes of the config: {_one_line(error)}") from error
    check_unused_keys(cfg)
    if cfg.MODEL.DEVICE.startswith("cuda"):
        cfg.MODEL.DEVICE = cfg.MODEL.DEVICE if torch.cuda.is_available() else "cpu"
    cfg.MODEL.WEIGHTS = shipped_weights(cfg.MODEL.WEIGHTS)
    cfg.MODEL.BACKBONE.WEIGHTS = shipped_weights(cfg.MODEL.BACKBONE.WEIGHTS)
    cfg.freeze()
    return cfg


def default_config() -> CfgNode:
    """Detectron2's config with the keys of this package, all at their defaults."""
    cfg = get_cfg()
    add_wecromcl_config(cfg)
    add_srsts_a_config(cfg)
    add_spts_config(cfg)
    return cfg


def _one_line(error: Exception) -> str:
    """The message of an error in one line, of a long one its first and last characters."""
    # The text of a KeyError is its message in quotes.
    message = error.args[0] if isinstance(error, KeyError) and error.args else error
    text = " ".join(str(message).split())
    return text if len(text) <= 300 else f"{text[:200]} ... {text[-100:]}"


def _missing_base(path: Path, base: str | None) -> str:
    """What to say of a config whose `_BASE_` is not there."""
    said = f"{path}: its _BASE_ {base} does not exist; write it as it is reached from the file"
    name = Path(base or "")
    # Paths as the pages write them, from the root of a clone.
    inside = Path(*name.parts[name.parts.index("configs") :]) if "configs" in name.parts else name
    try:
        return f"{said}, or as {find_file(inside).resolve()}"
    except FileNotFoundError:
        return said


def trainer_class(cfg: CfgNode) -> type[Trainer]:
    """The trainer of the config's TASK.

    Raises:
        ValueError: for an unknown TASK.
    """
    check_choice("TASK", cfg.TASK, TRAINERS)
    return TRAINERS[cfg.TASK]
