"""The spotters of stage 2.

A checkout keeps each project in a folder of its own below `projects/`; an installed package has
them here.
"""

from pathlib import Path

_CHECKOUT = Path(__file__).resolve().parents[2] / "projects"
__path__ += [str(_CHECKOUT / name) for name in ("SRSTS-A", "SPTS") if (_CHECKOUT / name).is_dir()]

from .spts import add_spts_config  # noqa: E402  found through the path above
from .srsts_a import add_srsts_a_config  # noqa: E402

__all__ = ["add_spts_config", "add_srsts_a_config"]
