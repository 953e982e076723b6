"""Readers of weights that never run code from a file."""

import pickle
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

# All that a pickle of numpy arrays may import.
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

# Exceptions that reading a damaged file can end in.
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
        """The class or function of a name in `ARRAY_PARTS`.

        Raises:
            UnpicklingError: for any other name, which could be code.
        """
        if (module, name) not in ARRAY_PARTS:
            raise pickle.UnpicklingError(f"it holds {module}.{name}, which is no array")
        return super().find_class(module, name)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn the exceptions of reading a file of weights into `WeightsError`.

    Raises:
        WeightsError: if the file is missing or damaged, or contains code.
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
        UnpicklingError: if it contains anything else.
    """
    with path.open("rb") as file:
        return ArrayUnpickler(file, encoding="latin1").load()


def read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors of a .pth file or of a .pkl of Detectron2, by name.

    Raises:
        WeightsError: if the file is missing or damaged, or contains code or no weights.
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
    """Check that the content of a file is a mapping from names to tensors or arrays.

    Raises:
        WeightsError: if it is something else or empty.
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
