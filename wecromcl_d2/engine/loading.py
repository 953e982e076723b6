"""Loading of checkpoints, with an error for any that does not fit."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from torch import nn

from ..data.text import CharsetError
from ..layers.charset_state import check_charsets
from ..shipped_models import check_shipped
from ..weights_file import WeightsError, check_content, read_arrays, reading

# Suffixes of names that a checkpoint may lack or have in excess: the config sets the first two, and
# no model uses the counter.
HARMLESS = ("pixel_mean", "pixel_std", "num_batches_tracked")


class CheckedCheckpointer(DetectionCheckpointer):
    """A checkpointer that raises an error where Detectron2's only warns.

    Refused are damaged files, files with code, which is never run, and weights that are of another
    model, of another alphabet or not finite.

    Args:
        model: module whose weights are loaded.
        save_dir: folder of the checkpoints.
        partial: allow weights that a training starts from, not those it resumes from, to lack
            parts of the model, as those of a plain backbone do, and to have others. Modules may fit
            such weights to their own sizes by a method `resize_weights(weights, prefix)`.
        **checkpointables: other objects with `state_dict` and `load_state_dict`.
    """

    def __init__(
        self, model: nn.Module, save_dir: str = "", *, partial: bool = False, **checkpointables: Any
    ):
        super().__init__(model, save_dir, **checkpointables)
        self.partial = partial
        self._may_be_part = False
        self._file = Path()

    def load(self, path: str, checkpointables: list[str] | None = None) -> dict[str, Any]:
        """Load a checkpoint.

        Args:
            path: file, or "" for none.
            checkpointables: names of the objects to load beside the model; None for all.

        Returns:
            The rest of the file's content.

        Raises:
            WeightsError: if the file cannot be used; see the class.
        """
        check_shipped(path)
        self._may_be_part = self.partial and checkpointables == []
        return super().load(path, checkpointables)

    def _load_file(self, filename: str) -> dict[str, Any]:
        self._file = Path(filename)
        with reading(self._file):
            if self._file.suffix == ".pkl":
                read_arrays(self._file)
            checkpoint = super()._load_file(filename)
        check_content(self._file, checkpoint["model"])
        return checkpoint

    def _torch_load(self, f: str) -> Any:
        """Detectron2 reads a file by this; without `weights_only` old torch versions run code."""
        return torch.load(f, map_location="cpu", weights_only=True)

    def _load_model(self, checkpoint: dict[str, Any]) -> Any:
        weights = checkpoint["model"]
        try:
            check_charsets(self.model, {k.removeprefix("module."): v for k, v in weights.items()})
        except CharsetError as error:
            raise WeightsError(f"{self._file} does not fit: {error}") from error
        if self._may_be_part:
            start = "module." if all(key.startswith("module.") for key in weights) else ""
            for prefix, module in self.model.named_modules():
                if hasattr(module, "resize_weights"):
                    module.resize_weights(weights, f"{start}{prefix}.")
        incompatible = super()._load_model(checkpoint)
        problems = describe_misfit(self.model, incompatible, self._may_be_part)
        if problems:
            raise WeightsError(
                f"{self._file} does not fit the model: {problems}; use the config that it was "
                "trained with, or bring it into our names with `wecromcl convert`"
            )
        check_finite(self.model.state_dict(), self._file)
        return incompatible


def load_model(cfg: CfgNode, weights: str = "") -> Any:
    """A config's model with trained weights, for inference.

    Args:
        cfg: config of either stage.
        weights: checkpoint; "" for MODEL.WEIGHTS.

    Raises:
        ValueError: if no weights are named.
        WeightsError: if they cannot be used, see `CheckedCheckpointer`.
    """
    weights = weights or cfg.MODEL.WEIGHTS
    if not weights:
        raise ValueError("MODEL.WEIGHTS is empty; name the checkpoint of a trained model")
    model = build_model(cfg).eval()
    CheckedCheckpointer(model).load(weights)
    return model


def describe_misfit(model: nn.Module, incompatible: Any, may_be_part: bool) -> str:
    """The mismatches between a model and a checkpoint; empty if there are none.

    Args:
        model: that weights were loaded into.
        incompatible: result of loading: `missing_keys`, `unexpected_keys`, `incorrect_shapes`.
        may_be_part: accept missing and unexpected keys, as long as one weight was loaded.
    """
    missing = [key for key in incompatible.missing_keys if not key.endswith(HARMLESS)]
    unexpected = [key for key in incompatible.unexpected_keys if not key.endswith(HARMLESS)]
    reshaped = [name for name, _, _ in incompatible.incorrect_shapes]
    problems = []
    if {name for name, _ in model.named_parameters()} <= {*missing, *reshaped}:
        problems.append("it holds no weight of the model")
    if reshaped:
        name, theirs, ours = incompatible.incorrect_shapes[0]
        problems.append(
            f"{len(reshaped)} weights have another shape, such as {name}, {theirs} in the file and "
            f"{ours} in the model"
        )
    if missing and not may_be_part:
        problems.append(f"{len(missing)} of the model's are not in it, such as {missing[0]}")
    if unexpected and not may_be_part:
        problems.append(f"{len(unexpected)} are not the model's, such as {unexpected[0]}")
    return "; ".join(problems)


def check_finite(state: Mapping[str, Any], path: Path) -> None:
    """Check that all weights are finite.

    Raises:
        WeightsError: naming the first one that is not finite.
    """
    for name, value in state.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise WeightsError(
                f"{path}: {name} holds values that are not finite; the training broke down, so "
                "take an earlier checkpoint"
            )
