"""Base class of both predictors: loads a trained model and runs it on images."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import transforms as T
from detectron2.structures import Instances

from ..data.augmentation import build_augmentations
from ..data.images import image_to_tensor
from ..engine.loading import load_model
from ..engine.precision import prepare_cpu
from ..files import find_file
from ..layers.image_batch import group_by_size
from ..tasks import load_config
from .registry import find_model

BATCH_SIZE = 8

Self = TypeVar("Self", bound="Predictor")


class Predictor:
    """A trained model with its config.

    On a CPU predictions flush denormal numbers in the calling thread: sharp activation maps consist
    mostly of them, and they make the CPU several times slower.

    Args:
        config_file: YAML file; a relative path is looked up by `find_file`.
        weights: checkpoint of the same model; looked up likewise.
        opts: KEY VALUE pairs that override the config.
        device: such as "cpu" or "cuda:1"; by default the config's, or the CPU if there is no GPU.

    Raises:
        FileNotFoundError: if a file is missing.
        WeightsError: if the weights are damaged, of another model or of another alphabet.
        ValueError: if the config is one of the other stage.
    """

    task: ClassVar[str]

    def __init__(
        self,
        config_file: str | os.PathLike[str],
        weights: str | os.PathLike[str],
        opts: Sequence[str] = (),
        *,
        device: str | None = None,
    ) -> None:
        self.cfg = _config_for(load_config(config_file, opts), device)
        if self.task != self.cfg.TASK:
            raise ValueError(
                f"{os.fspath(config_file)} is a config for TASK {self.cfg.TASK!r}, but "
                f"{type(self).__name__} needs one for {self.task!r}"
            )
        self.model: Any = load_model(self.cfg, str(find_file(weights)))
        self._resize = T.AugmentationList(build_augmentations(self.cfg, False))

    @classmethod
    def from_name(cls: type[Self], name: str, *, device: str | None = None, **options: Any) -> Self:
        """Load the model that a name stands for, see `register_model`.

        Raises:
            ValueError: for an unknown name; see also the class.
            FileNotFoundError: if the model has not been made yet.
        """
        config_file, weights = find_model(name)
        return cls(config_file, weights, device=device, **options)

    def _network_image(self, pixels: np.ndarray, resize: bool = True) -> np.ndarray:
        """An RGB image in the size and channel order of the network's input."""
        image = pixels[..., ::-1] if self.cfg.INPUT.FORMAT == "BGR" else pixels
        if not resize:
            return image
        aug_input = T.AugInput(np.ascontiguousarray(image))
        self._resize(aug_input)
        return aug_input.image

    def _run(self, inputs: Sequence[dict[str, Any]], batch_size: int) -> list[Instances]:
        """Run the model, on images of one size at a time.

        Args:
            inputs: inputs of the model, but with `image` a (h, w, 3) array.
            batch_size: most images at once.

        Returns:
            The model's outputs in the order of the inputs, on the CPU.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; use 1 or more")
        answers: dict[int, Instances] = {}
        if self.cfg.MODEL.DEVICE == "cpu":
            prepare_cpu()
        for indices in group_by_size(x["image"].shape for x in inputs):
            for start in range(0, len(indices), batch_size):
                batch = indices[start : start + batch_size]
                own = [inputs[i] | {"image": image_to_tensor(inputs[i]["image"])} for i in batch]
                with torch.no_grad():
                    outputs = self.model(own)
                for i, output in zip(batch, outputs, strict=True):
                    answers[i] = output["instances"].to("cpu")
        return [answers[index] for index in range(len(inputs))]


def _config_for(cfg: CfgNode, device: str | None) -> CfgNode:
    """A copy of the config with the device chosen; CPU if there is no GPU."""
    cfg = cfg.clone()
    cfg.defrost()
    if device is not None:
        cfg.MODEL.DEVICE = device
    elif cfg.MODEL.DEVICE.startswith("cuda") and not torch.cuda.is_available():
        cfg.MODEL.DEVICE = "cpu"
    cfg.freeze()
    return cfg
