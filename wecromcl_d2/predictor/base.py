"""Base class of both predictors: loads a trained model and runs it on images."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal, TypeVar

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import transforms as T
from detectron2.structures import Instances

from ..config import default_device
from ..data.augmentation import build_augmentations, shrink_transform
from ..data.images import ImageError, image_to_tensor
from ..engine.loading import load_model
from ..engine.precision import prepare_cpu
from ..files import find_file
from ..layers.image_batch import check_pyramid, group_by_size
from ..tasks import load_config
from .images import ImageSource
from .registry import DEFAULT_MODELS, find_model

BATCH_SIZE = 8

Self = TypeVar("Self", bound="Predictor")
R = TypeVar("R")
OnError = Literal["raise", "skip"]

logger = logging.getLogger(__name__)


class Predictor:
    """A trained model with its config.

    On a CPU predictions flush denormal numbers in the calling thread: sharp activation maps consist
    mostly of them, and they make the CPU several times slower.

    Args:
        config_file: YAML file; a relative path is looked up by `find_file`.
        weights: checkpoint of the same model; looked up likewise.
        opts: KEY VALUE pairs that override the config.
        device: such as "cpu" or "cuda:1"; by default a GPU if there is one, whatever the config
            says.
        max_side: longest side, in pixels, of an image that the model sees; larger ones are shrunk.
            0 is no limit. By default a model whose config does not resize (a MIN_SIZE_TEST of 0),
            and so knows words of few sizes, has the config's MAX_SIZE_TEST.
        scales: at which the model sees an image, as factors of its input; by default the config's.

    Raises:
        FileNotFoundError: if a file is missing.
        WeightsError: if the weights are damaged, of another model or of another alphabet.
        ValueError: if the config is one of the other stage, or an argument has no sense.
    """

    task: ClassVar[str]
    # Key of the config for `scales`.
    pyramid_key: ClassVar[str]

    def __init__(
        self,
        config_file: str | os.PathLike[str],
        weights: str | os.PathLike[str],
        opts: Sequence[str] = (),
        *,
        device: str | None = None,
        max_side: int | None = None,
        scales: Sequence[float] | None = None,
    ) -> None:
        if max_side is not None and max_side < 0:
            raise ValueError(f"max_side is {max_side}; give a number of pixels, or 0 for no limit")
        if device is not None:
            check_device(device)
        # A MODEL.DEVICE of the file is that of the machine of the training.
        chosen = ("MODEL.DEVICE", device or default_device())
        opts = (*opts, *chosen) if device else (*chosen, *opts)
        if scales is not None:
            check_pyramid("scales", scales)
            opts = (*opts, self.pyramid_key, repr([float(factor) for factor in scales]))
        self.cfg = load_config(config_file, opts)
        if self.task != self.cfg.TASK:
            raise ValueError(
                f"{os.fspath(config_file)} is a config for TASK {self.cfg.TASK!r}, but "
                f"{type(self).__name__} needs one for {self.task!r}"
            )
        self.model: Any = load_model(self.cfg, str(find_file(weights)))
        if scales is not None and not hasattr(self.model, "pyramid"):
            raise ValueError(
                f"a {self.cfg.MODEL.META_ARCHITECTURE} reads at one scale; leave out scales"
            )
        limit = default_max_side(self.cfg)
        self.max_side = limit if max_side is None else max_side
        # A model whose config only limits the size has `max_side` in its place.
        self._resize = T.AugmentationList([] if limit else build_augmentations(self.cfg, False))

    @classmethod
    def from_name(
        cls: type[Self], name: str = "", *, device: str | None = None, **options: Any
    ) -> Self:
        """Load the model that a name stands for, see `register_model`; "" for the default one.

        Raises:
            ValueError: for an unknown name; see also the class.
            FileNotFoundError: if the model has not been made yet.
        """
        config_file, weights = find_model(name or DEFAULT_MODELS[cls.task])
        return cls(config_file, weights, device=device, **options)

    def _each(
        self,
        sources: Sequence[ImageSource],
        predict: Callable[[list[int], list[np.ndarray]], Sequence[R]],
        batch_size: int,
        on_error: OnError,
    ) -> list[R | None]:
        """Results of all sources, of as many at a time as a batch holds.

        Args:
            sources: of the images.
            predict: indices of some sources and their pixels -> their results.
            batch_size: most images that are held at once.
            on_error: what happens to an image that cannot be read.

        Returns:
            One result a source, None for an image that was skipped.

        Raises:
            ImageError: if an image cannot be read and `on_error` is "raise".
        """
        if on_error not in ("raise", "skip"):
            raise ValueError(f"on_error is {on_error!r}; use 'raise' or 'skip'")
        results: list[R | None] = [None] * len(sources)
        for start in range(0, len(sources), max(1, batch_size)):
            originals: dict[int, np.ndarray] = {}
            for index in range(start, min(start + max(1, batch_size), len(sources))):
                try:
                    originals[index] = sources[index].read()
                except ImageError as error:
                    if on_error == "raise":
                        raise
                    logger.warning("skipped: %s", error)
            found = predict(list(originals), list(originals.values()))
            for index, result in zip(originals, found, strict=True):
                results[index] = result
        return results

    def _network_image(self, pixels: np.ndarray, resize: bool = True) -> np.ndarray:
        """An RGB image in the size and channel order of the network's input."""
        image = pixels[..., ::-1] if self.cfg.INPUT.FORMAT == "BGR" else pixels
        if not resize:
            return image
        aug_input = T.AugInput(np.ascontiguousarray(image))
        self._resize(aug_input)
        height, width = aug_input.image.shape[:2]
        return shrink_transform(height, width, self.max_side).apply_image(aug_input.image)

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


def default_max_side(cfg: CfgNode) -> int:
    """Longest side of an image for a model whose config does not resize; 0, no limit, for others.

    A config with the rule "multiple" resizes by its MAX_SIZE_TEST already.
    """
    keys = cfg.INPUT
    limited = keys.RESIZE == "shortest_edge" and keys.MIN_SIZE_TEST == 0
    return keys.MAX_SIZE_TEST if limited else 0


def check_device(name: str) -> None:
    """Make sure that a device exists on this machine.

    Raises:
        ValueError: naming it and what there is.
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    there = ["cpu", *(f"cuda:{number}" for number in range(count))]
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ValueError(f"{name!r} is no device; there are {', '.join(there)}") from None
    if device.type == "cuda" and (device.index or 0) >= count:
        raise ValueError(f"device {name!r} is not on this machine; there are {', '.join(there)}")
