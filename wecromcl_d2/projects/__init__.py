"""The spotters of stage 2, and the config that knows every key.

A checkout keeps each project in a folder of its own below `projects/`; an installed package has
them here.
"""

from collections.abc import Sequence
from pathlib import Path

from detectron2.config import CfgNode, get_cfg

from ..config import add_wecromcl_config

_CHECKOUT = Path(__file__).resolve().parents[2] / "projects"
__path__ += [str(_CHECKOUT / name) for name in ("SRSTS-A", "SPTS") if (_CHECKOUT / name).is_dir()]

from .spts import add_spts_config  # noqa: E402  found through the path above
from .srsts_a import add_srsts_a_config  # noqa: E402


def load_config(config_file: str | Path, opts: Sequence[str] = ()) -> CfgNode:
    """Read a config of any stage; its meta-architecture is registered.

    Args:
        config_file: YAML file.
        opts: KEY VALUE pairs that override it.

    Returns:
        The frozen config.

    Raises:
        KeyError: for a key that does not exist.
    """
    cfg = get_cfg()
    add_wecromcl_config(cfg)
    add_srsts_a_config(cfg)
    add_spts_config(cfg)
    cfg.merge_from_file(str(config_file))
    cfg.merge_from_list(list(opts))
    cfg.freeze()
    return cfg
