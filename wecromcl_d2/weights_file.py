"""Reading files of weights without running any code in them."""

import pickle
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

# What a pickle of numpy arrays is made of.
ARRAY_PARTS = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "scalar"),
    ("collections", "OrderedDict"),
    ("_codecs", "encode"),
}

# What reading a damaged file ends in, wherever the damage is.
DAMAGE = (
    OSError,
    EOFError,
    RuntimeError,
    ValueError,
    LookupError,
    AttributeError,
    struct.error,
)


class WeightsError(ValueError):
    """Weights that cannot be used; the message names the file and the remedy."""


class ArrayUnpickler(pickle.Unpickler):
    """Reads pickles of numpy arrays and refuses everything else."""

    def find_class(self, module: str, name: str) -> Any:
        """Look up a part of an array.

        Raises:
            UnpicklingError: if it is anything else, which could be code.
        """
        if (module, name) not in ARRAY_PARTS:
            raise pickle.UnpicklingError(f"it holds {module}.{name}, which is no array")
        return super().find_class(module, name)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what goes wrong while a file of weights is read into one kind of error.

    Raises:
        WeightsError: if the file is missing, damaged or holds code.
    """
    try:
        yield
    except FileNotFoundError:
        raise WeightsError(f"{path} does not exist") from None
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path} holds other things than weights, perhaps code, or is no such file at all; "
            "nothing in it was run"
        ) from error
    except DAMAGE as error:
        raise WeightsError(f"{path} is damaged or cut off: {error}; fetch it again") from error


def read_arrays(path: Path) -> Any:
    """Content of a pickle of numpy arrays.

    Raises:
        UnpicklingError: if it holds anything else.
    """
    with path.open("rb") as file:
        return ArrayUnpickler(file, encoding="latin1").load()


def read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors of a .pth file or of a .pkl of Detectron2, by name.

    Raises:
        WeightsError: if the file is missing, damaged, holds code or no weights.
    """
    with reading(path):
        if path.suffix == ".pkl":
            content = read_arrays(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    for key in ("model", "state_dict"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    check_content(path, content)
    return {str(name): torch.as_tensor(value) for name, value in content.items()}


def check_content(path: Path, content: Any) -> None:
    """Make sure that what a file holds are tensors or arrays by name.

    Raises:
        WeightsError: if they are not, or there are none.
    """
    if not isinstance(content, Mapping):
        raise WeightsError(f"{path} holds a {type(content).__name__}, not weights by name")
    if not content:
        raise WeightsError(f"{path} holds no weights")
    for name, value in content.items():
        try:
            torch.as_tensor(value)
        except (TypeError, ValueError, RuntimeError) as error:
            raise WeightsError(
                f"{path} holds other things than weights, at {name!a}: {error}"
            ) from error
