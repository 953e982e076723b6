"""Configuration keys of SPTS."""

from detectron2.config import CfgNode


def add_spts_config(cfg: CfgNode) -> None:
    """Extend `cfg` in place with the keys of SPTS."""
