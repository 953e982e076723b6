"""The user's own modules, whose import registers datasets, models or parts of models."""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from collections.abc import Sequence

# Environment variable with the modules' names, separated by commas; child processes inherit it.
VARIABLE = "WECROMCL_IMPORT"
# Datasets that an error names at most; Detectron2 alone registers some seventy.
MOST_NAMED = 12


def import_own_modules() -> None:
    """Import the modules named in `VARIABLE`."""
    for name in filter(None, os.environ.get(VARIABLE, "").split(",")):
        _import(name)


def add_own_module(name: str) -> None:
    """Import a module, here and in all processes that this one starts.

    Args:
        name: dotted name; modules of the working directory are found.

    Raises:
        ImportError: if there is no such module.
    """
    _import(name)
    known = [*filter(None, os.environ.get(VARIABLE, "").split(","))]
    os.environ[VARIABLE] = ",".join(dict.fromkeys([*known, name]))


def unknown_dataset(name: str, known: Sequence[str]) -> str:
    """Error message for an unknown dataset, with the three ways to name one."""
    near = difflib.get_close_matches(name, known, n=3) or [*sorted(known)[:MOST_NAMED], "..."]
    return (
        f"there is no dataset {name!r}; name a registered one ({', '.join(near)}), or a label file "
        "(FILE.jsonl or FILE.jsonl@IMAGE_ROOT), or give the command --import MODULE with the "
        "module that registers it"
    )


def _import(name: str) -> None:
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.append(os.getcwd())
    importlib.import_module(name)
