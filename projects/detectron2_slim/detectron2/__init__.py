"""Detectron2 slim: a small pure-Python stand-in for the parts of Detectron2 used here."""

import importlib.abc
import os
import sys
from collections.abc import Sequence

from detectron2.utils.env import setup_environment

__version__ = "0.6+slim"


class _AbsentNameFinder(importlib.abc.MetaPathFinder):
    """Last finder in line: explains why a name of the full package cannot be imported."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: object = None) -> None:
        """Refuse every ``detectron2.*`` name that no earlier finder knew.

        Raises:
            ModuleNotFoundError: Always, for names inside this package. Its ``name`` stays unset,
                because ``from package import absent`` drops the message when it is set.
        """
        if fullname.startswith(f"{__name__}."):
            raise ModuleNotFoundError(
                f"{fullname} is not part of detectron2 slim; install Detectron2 from source "
                "if you need it"
            )


sys.meta_path.append(_AbsentNameFinder())
setup_environment(os.environ.get("DETECTRON2_ENV_MODULE"))
