"""Checkpoints: one writer, several file formats, matching of names."""

import logging
import pickle
import re
from typing import Any

import torch
from fvcore.common.checkpoint import Checkpointer
from torch import Tensor

from detectron2.utils import comm
from detectron2.utils.file_io import PathManager

_CAFFE2_RULES: list[tuple[str, Any]] = [
    (r"^pred_", "linear_"),
    ("_", "."),
    (r"\.b$", ".bias"),
    (r"\.w$", ".weight"),
    (r"[bg]n\.(s|gamma)$", "norm.weight"),
    (r"[bg]n\.(bias|beta)$", "norm.bias"),
    (r"bn\.(rm|running\.mean)$", "norm.running_mean"),
    (r"bn\.(riv|running\.var)$", "norm.running_var"),
    (r"^(res\.)?conv1\.", "stem.conv1."),
    (r"\.branch1\.", ".shortcut."),
    (r"\.branch2([abc])\.", lambda match: f".conv{'abc'.index(match[1]) + 1}."),
]


class _ArrayUnpickler(pickle.Unpickler):
    """Reads pickles of numpy arrays and refuses everything else."""

    _ROOTS = ("numpy", "collections", "_codecs")
    _NAMES = ("_reconstruct", "_frombuffer", "ndarray", "dtype", "scalar", "OrderedDict", "encode")

    def find_class(self, module: str, name: str) -> Any:
        """Look up a class or function.

        Raises:
            UnpicklingError: If it is not needed for arrays.
        """
        if module.split(".")[0] not in self._ROOTS or name not in self._NAMES:
            raise pickle.UnpicklingError(f"weights must be numpy arrays; found {module}.{name}")
        return super().find_class(module, name)


class DetectionCheckpointer(Checkpointer):
    """Saves on rank 0 only; loads ``.pth`` files and the pickles of Detectron2 and Caffe2.

    Args:
        model: The model, wrapped or not.
        save_dir: Folder of the checkpoints; nothing is saved if empty.
        save_to_disk: Whether this process saves; by default rank 0 does.
        kw: More objects with ``state_dict`` and ``load_state_dict``.
    """

    def __init__(self, model: Any, save_dir: str = "", *, save_to_disk: Any = None, **kw: Any):
        saves = comm.is_main_process() if save_to_disk is None else save_to_disk
        super().__init__(model, save_dir, save_to_disk=saves, **kw)
        self.path_manager = PathManager
        self._query = ""

    def load(self, path: str, checkpointables: list[str] | None = None) -> dict[str, Any]:
        """Load a checkpoint.

        Args:
            path: File, URL or "" (load nothing); ``?matching_heuristics=True`` behind it matches
                weights by the ends of their names.
            checkpointables: Names of what to load besides the model; None is everything.

        Returns:
            What was in the file besides.

        Raises:
            AssertionError: If there is no such file.
            ValueError: For another query.
        """
        path, _, self._query = (path or "").partition("?")
        return super().load(path, checkpointables)

    def _load_file(self, filename: str) -> dict[str, Any]:
        if self._query not in ("", "matching_heuristics=True"):
            raise ValueError(f"'{filename}': '?{self._query}' must be '?matching_heuristics=True'")
        if filename.endswith(".pkl"):
            return self._load_pickle(filename)
        loaded = torch.load(filename, map_location="cpu", weights_only=True)
        return loaded if "model" in loaded else {"model": loaded}

    @staticmethod
    def _load_pickle(filename: str) -> dict[str, Any]:
        with PathManager.open(filename, "rb") as file:
            data = _ArrayUnpickler(file, encoding="latin1").load()
        if "model" in data and "__author__" in data:
            return data
        blobs = data.get("blobs", data)
        weights = {key: blobs[key] for key in blobs if not key.endswith("_momentum")}
        return {"model": weights, "__author__": "Caffe2", "matching_heuristics": True}

    def _load_model(self, checkpoint: dict[str, Any]) -> Any:
        if self._query or checkpoint.get("matching_heuristics", False):
            weights = checkpoint["model"]
            self._convert_ndarray_to_tensor(weights)
            if checkpoint.get("__author__") == "Caffe2":
                weights = {_convert_caffe2_name(name): weights[name] for name in weights}
            checkpoint["model"] = _align_names(self.model.state_dict(), weights)
        incompatible = super()._load_model(checkpoint)
        # The config fills these buffers, so a file without them is complete.
        filled = ("pixel_mean", "pixel_std")
        missing = [key for key in incompatible.missing_keys if key not in filled]
        return incompatible._replace(missing_keys=missing)


def _convert_caffe2_name(name: str) -> str:
    for pattern, replacement in _CAFFE2_RULES:
        name = re.sub(pattern, replacement, name)
    return name


def _align_names(model_state: dict[str, Tensor], weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename weights to the model keys they are a suffix of.

    Each model key takes the longest name that equals it or its end behind a dot. Weights of
    another shape are not taken; weights that nobody takes keep their names.

    Raises:
        ValueError: If two model keys would take the same weight.
    """
    logger = logging.getLogger(__name__)
    taken: dict[str, str] = {}
    for key in sorted(model_state):
        parts = key.split(".")
        suffixes = (".".join(parts[i:]) for i in range(len(parts)))
        name = next((suffix for suffix in suffixes if suffix in weights), "")
        if name and weights[name].shape != model_state[key].shape:
            logger.warning("the shape of '%s' in the checkpoint is not that of %s", name, key)
        elif name in taken:
            raise ValueError(f"'{name}' in the checkpoint fits both '{taken[name]}' and '{key}'")
        elif name:
            taken[name] = key
    log = logger.info if taken else logger.warning
    log("%d of %d weights in the checkpoint match the model", len(taken), len(weights))
    return {taken.get(name, name): value for name, value in weights.items()}
