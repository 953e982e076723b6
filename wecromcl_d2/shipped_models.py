"""Trained models that come with the package, and the check that their files are whole.

Each is a folder `models/NAME` with the config and the weights of inference, the checksum of the
weights as `sha256sum` writes it, and a card that says what the model learned from.
"""

import hashlib
import os
from pathlib import Path

from .weights_file import WeightsError

CONFIG, WEIGHTS, CHECKSUM, CARD = "config.yaml", "model.pth", "model.sha256", "card.md"
# Start of a config's MODEL.WEIGHTS or MODEL.BACKBONE.WEIGHTS that names such a model.
SCHEME = "shipped://"


def models_folder() -> Path:
    """The folder of all models that come with the package."""
    return Path(__file__).resolve().parent / "models"


def shipped_names() -> list[str]:
    """Names of the models that come with the package, sorted."""
    return sorted(path.name for path in models_folder().glob("*") if path.is_dir())


def shipped_weights(path: str) -> str:
    """The file of weights that a config names: of `shipped://NAME` the model's, else `path`."""
    if not path.startswith(SCHEME):
        return path
    return str(models_folder() / path.removeprefix(SCHEME) / WEIGHTS)


def shipped_files(name: str) -> tuple[Path, Path]:
    """Config and weights of a model that comes with the package; loading checks the weights.

    Raises:
        FileNotFoundError: if one of them is not there.
    """
    folder = models_folder() / name
    for path in (folder / CONFIG, folder / WEIGHTS):
        if not path.is_file():
            raise FileNotFoundError(f"{path} does not exist; {_remedy(folder)}")
    return folder / CONFIG, folder / WEIGHTS


def check_shipped(path: str | os.PathLike[str]) -> None:
    """Check that weights in `models_folder` are those that were shipped; others pass.

    Raises:
        WeightsError: if they are not there, or their SHA-256 is another one.
    """
    weights = Path(os.path.abspath(path))
    folder = weights.parent
    if folder.parent != models_folder():
        return
    if not folder.is_dir():
        known = ", ".join(shipped_names()) or "none"
        raise WeightsError(f"no model {folder.name!r} comes with this version; there are: {known}")
    try:
        wanted = (folder / CHECKSUM).read_text(encoding="utf-8").split()
        found = hashlib.sha256(weights.read_bytes()).hexdigest()
    except OSError as error:
        raise WeightsError(f"{error.filename} cannot be read; {_remedy(folder)}") from error
    if wanted[:1] != [found]:
        raise WeightsError(
            f"{weights} is damaged: its SHA-256 is not that of {CHECKSUM}; {_remedy(folder)}"
        )


def write_checksum(folder: Path) -> str:
    """Write the checksum of a model's weights beside them; returns it."""
    checksum = hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
    (folder / CHECKSUM).write_text(f"{checksum}  {WEIGHTS}\n", encoding="utf-8")
    return checksum


def _remedy(folder: Path) -> str:
    return f"install the package again, or in a clone run `git checkout -- {folder}`"
