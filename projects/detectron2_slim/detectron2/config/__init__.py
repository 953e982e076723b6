"""Configuration: the tree of defaults, and the decorator that builds objects from it."""

# ruff: noqa: F401
from .config import CfgNode, configurable, get_cfg, global_cfg, set_global_cfg
