"""Detectron2 slim: a small pure-Python stand-in for the parts of Detectron2 used here."""

import sys

from detectron2.utils.env import setup_environment

__version__ = "0.6+slim"


class _AbsentNameFinder:
    """Last finder in line: explains why a name of the full package cannot be imported."""

    def find_spec(self, fullname: str, *location: object) -> None:
        """Refuse every ``detectron2.*`` name that no earlier finder knew.

        Raises:
            ModuleNotFoundError: Always, for names inside this package. Its ``name`` stays unset,
                because ``from package import absent`` drops the message when it is set.
        """
        if fullname.startswith(f"{__name__}."):
            remedy = "install Detectron2 from source if you need it"
            raise ModuleNotFoundError(f"{fullname} is not part of detectron2 slim; {remedy}")


sys.meta_path.append(_AbsentNameFinder())
setup_environment()
