"""Variables of MATLAB files, read by scipy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ..datasets import LabelError

# Most cells of a variable, far above any published set's: a damaged size could fill the memory.
MAX_CELLS = 10_000_000


def load_variables(source: Path | BinaryIO, names: Sequence[str]) -> list[np.ndarray]:
    """Some variables of a file, each an array.

    Raises:
        LabelError: without the file's name, if the file is damaged, of another version, or lacks a
            variable.
    """
    # Imported here: it costs 0.5 s of CPU, which every command would pay.
    from scipy.io import loadmat, whosmat

    try:
        shapes = {name: shape for name, shape, _ in whosmat(source)}
        for name in names:
            if name not in shapes:
                raise LabelError(f"no variable {name}, only {', '.join(shapes) or 'none'}")
            if math.prod(shapes[name]) > MAX_CELLS:
                raise LabelError(f"{name} is no array of at most {MAX_CELLS} cells")
        if not isinstance(source, Path):
            source.seek(0)
        found = loadmat(source, variable_names=list(names))
        return [np.asarray(found[name]) for name in names]
    except LabelError:
        raise
    except NotImplementedError:
        raise LabelError("not a MATLAB file of version 5 to 7; save it with -v7") from None
    except Exception as error:  # scipy raises errors of any type on damaged files
        raise LabelError(f"not a readable MATLAB file: {error}") from None


def numbers(array: object) -> list[float]:
    """The elements of a numeric array in column-major order; none for an empty array."""
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf":
        raise LabelError("a cell that holds no numbers")
    return array.ravel(order="F").tolist()


def rows(array: object) -> list[str]:
    """The rows of a character array; none for an empty array of any kind."""
    if not isinstance(array, np.ndarray) or (array.size and array.dtype.kind != "U"):
        raise LabelError("a cell that holds no text")
    return [str(row) for row in array.ravel()]
