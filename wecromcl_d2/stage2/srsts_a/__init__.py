"""SRSTS-A: a spotter that samples each word from one anchor and reads it by CTC."""

from .config import add_srsts_a_config
from .srsts_a import SRSTSA

__all__ = ["SRSTSA", "add_srsts_a_config"]
