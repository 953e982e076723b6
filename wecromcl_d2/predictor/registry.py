"""Names of trained models, each for a config and a checkpoint.

Nothing is downloaded: a name stands for files that come with the package, or for files that a
training on this computer has written.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ..files import find_file
from ..shipped_models import shipped_files, shipped_names


@dataclass(frozen=True)
class ModelEntry:
    """Files of a trained model; relative paths are looked up by `find_file`.

    Attributes:
        config_file: YAML file.
        weights: checkpoint.
        made_by: what creates the files, for the error that they are missing; empty if unknown.
    """

    config_file: str
    weights: str
    made_by: str = ""


# By TASK, the model that is used if none is named.
DEFAULT_MODELS = {"spotting": "street", "anchors": "street-anchors"}

_DEMO = (
    "`make demo` in a clone, or elsewhere `wecromcl pipeline --config-file "
    "configs/quick/anchors.yaml --spotter configs/quick/srsts_a.yaml --output demo_output`,"
)
_MODELS = {
    name: ModelEntry(
        f"demo_output/{folder}/config.yaml", f"demo_output/{folder}/model_best.pth", _DEMO
    )
    for name, folder in (("quick", "spotting"), ("quick-anchors", "anchors"))
}


def model_names() -> list[str]:
    """All names that `find_model` knows, sorted."""
    return sorted({*_MODELS, *shipped_names()})


def register_model(
    name: str, config_file: str | os.PathLike[str], weights: str | os.PathLike[str]
) -> None:
    """Give a trained model a name, for this process.

    Raises:
        ValueError: if the name already stands for other files.
    """
    entry = ModelEntry(os.fspath(config_file), os.fspath(weights))
    if name in shipped_names():
        raise ValueError(f"model name {name!r} is taken, by one of this package; use another")
    if _MODELS.setdefault(name, entry) != entry:
        raise ValueError(f"model name {name!r} is taken, by {_MODELS[name].weights}; use another")


def find_model(name: str) -> tuple[Path, Path]:
    """Config and weights that a name stands for.

    Raises:
        ValueError: for an unknown name; the message lists the known ones.
        FileNotFoundError: if one of the files is not there.
    """
    if name in shipped_names():
        return shipped_files(name)
    entry = _MODELS.get(name)
    if entry is None and name in DEFAULT_MODELS.values():
        raise ValueError(
            f"the model {name!r} does not come with this version; name another one, of "
            f"{', '.join(model_names())}, or a model of your own by its config and weights"
        )
    if entry is None:
        raise ValueError(
            f"no model is called {name!r}; there are {', '.join(model_names())}, and "
            "register_model adds one"
        )
    try:
        return find_file(entry.config_file), find_file(entry.weights)
    except FileNotFoundError as error:
        hint = f"; {entry.made_by} makes it" if entry.made_by else ""
        raise FileNotFoundError(f"model {name!r}: {error}{hint}") from None
