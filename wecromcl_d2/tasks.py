"""Configs of both stages, and the trainer of each."""

import os
from collections.abc import Sequence

from detectron2.config import CfgNode, get_cfg

from .config import add_wecromcl_config, check_choice, check_unused_keys
from .engine.trainer import Trainer
from .files import find_file
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
        The frozen config.

    Raises:
        FileNotFoundError: if there is no such file.
        KeyError: for a key that does not exist.
        ValueError: for a key of Detectron2 that has no effect here, if it is set.
    """
    cfg = get_cfg()
    add_wecromcl_config(cfg)
    add_srsts_a_config(cfg)
    add_spts_config(cfg)
    cfg.merge_from_file(str(find_file(config_file)))
    cfg.merge_from_list(list(opts))
    check_unused_keys(cfg)
    cfg.freeze()
    return cfg


def trainer_class(cfg: CfgNode) -> type[Trainer]:
    """The trainer of the config's TASK.

    Raises:
        ValueError: for an unknown TASK.
    """
    check_choice("TASK", cfg.TASK, TRAINERS)
    return TRAINERS[cfg.TASK]
