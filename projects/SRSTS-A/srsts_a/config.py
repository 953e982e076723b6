"""Configuration keys of SRSTS-A."""

from detectron2.config import CfgNode


def add_srsts_a_config(cfg: CfgNode) -> None:
    """Extend `cfg` in place with the keys of SRSTS-A."""
