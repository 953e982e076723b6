"""Images of what a spotter reads during its training, for TensorBoard."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from detectron2.engine import HookBase
from detectron2.structures import Instances
from torch import nn

from ..data.images import read_image
from ..visualizer import add_caption, draw_anchors, draw_words


class ReadingImages(HookBase):
    """Draws the words that the model reads in one image.

    Args:
        period: iterations between two drawings (VIS_PERIOD).
        model: the spotter.
        x: model input of the image, for testing.
        threshold: lowest score of a drawn word.
    """

    def __init__(self, period: int, model: nn.Module, x: Mapping[str, Any], threshold: float):
        self.period, self.model, self.x, self.threshold = period, model, x, threshold

    def after_step(self) -> None:
        """Put the drawing into the storage that writers read."""
        if self.trainer.iter % self.period:
            return
        was_training = self.model.training
        self.model.eval()
        with torch.no_grad():
            (output,) = self.model([self.x])
        self.model.train(was_training)
        image = draw_reading(self.x["file_name"], output["instances"].to("cpu"), self.threshold)
        self.trainer.storage.put_image("reading", image.transpose(2, 0, 1))


def draw_reading(file_name: str, words: Instances, threshold: float) -> np.ndarray:
    """An image with the points of the words at least as sure as `threshold`, and their texts.

    Texts of a model without points stand below the image.
    """
    image = read_image(file_name)
    rows = torch.nonzero(words.scores >= threshold).flatten().tolist()
    texts = [words.pred_texts[row] for row in rows]
    if not words.has("pred_points"):
        return add_caption(image, " ".join(texts))
    points = words.pred_points[rows].tolist()
    return draw_words(draw_anchors(image, points), texts, [3 * point for point in points])
