"""Trained models cut into graphs that take and return tensors alone.

What lies between the graphs has shapes that depend on the image, such as the choice of peaks; it is
numpy in `runtime`. Letters: Q words, D and C channels, A anchors, K sampling points, classes of
characters, H x W cells of the fused map, h x w pixels of the padded network input.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..stage1.text_encoder import CharacterTextEncoder
from ..stage1.wecromcl import WeCromCL
from ..stage2.srsts_a.srsts_a import SRSTSA

# Axes of the inputs and outputs that vary, by name of the tensor.
AXES: dict[str, dict[int, str]] = {
    "image": {2: "h", 3: "w"},
    "valid": {1: "H", 2: "W"},
    "labels": {0: "Q"},
    "queries": {0: "Q"},
    "texts": {0: "Q"},
    "maps": {0: "Q", 1: "H", 2: "W"},
    "similarity": {0: "Q"},
    "pooled": {0: "Q"},
    "feature": {2: "H", 3: "W"},
    "confidence": {1: "H", 2: "W"},
    "cells": {0: "A"},
    "lines": {0: "A"},
    "best": {0: "A"},
    "chance": {0: "A"},
}


@dataclass(frozen=True)
class Graph:
    """A part of a model.

    Attributes:
        module: of tensors alone.
        inputs: name and example of each input.
        outputs: names.
    """

    module: nn.Module
    inputs: dict[str, Tensor]
    outputs: tuple[str, ...]

    @property
    def axes(self) -> dict[str, dict[int, str]]:
        """Varying axes of its inputs and outputs."""
        return {name: AXES[name] for name in (*self.inputs, *self.outputs)}


class WordGraph(nn.Module):
    """Labels (Q, L) -> projected queries (Q, C) and text features (Q, D) of stage 1."""

    def __init__(self, model: WeCromCL):
        super().__init__()
        self.encode: Any = model.text_encoder.encode_padded
        self.text_encoder, self.activation = model.text_encoder, model.activation

    def forward(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Encode words, padded to the full length."""
        texts = self.encode(labels)
        return self.activation.project_queries(texts), texts


class MapGraph(nn.Module):
    """Image (1, 3, h, w) and words -> maps (Q, H, W), similarities (Q,), fused map (1, C, H, W)."""

    def __init__(self, model: WeCromCL):
        super().__init__()
        self.features, self.activation = FeatureGraph(model), model.activation
        self.mask_padding = model.mask_padding

    def forward(
        self, image: Tensor, valid: Tensor, queries: Tensor, texts: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Activate words; `valid` (1, H, W) is False in padding."""
        feature = self.features(image)
        # Where padding is not masked, all cells are valid, and `valid` stays an input.
        seen = valid if self.mask_padding else valid | ~valid
        maps = self.activation(queries[None], feature, seen)
        pooled = self.activation.pool(maps, feature)
        return maps[0], cosine(pooled[0], texts), feature


class WindowGraph(nn.Module):
    """Pooled cells (Q, C) of the fused map and text features (Q, D) -> similarities (Q,)."""

    def __init__(self, model: WeCromCL):
        super().__init__()
        self.activation = model.activation

    def forward(self, pooled: Tensor, texts: Tensor) -> Tensor:
        """Compare what was pooled with words."""
        return cosine(self.activation.project(pooled), texts)


def cosine(pooled: Tensor, texts: Tensor) -> Tensor:
    """(Q,) cosines of region features and text features (Q, D), as `cosine_similarity` has them."""
    return (pooled * F.normalize(texts, dim=-1)).sum(-1) / pooled.norm(dim=-1).clamp_min(1e-12)


class FeatureGraph(nn.Module):
    """Image (1, 3, h, w), padded with the mean colour -> fused map (1, C, H, W)."""

    mean: Tensor
    std: Tensor

    def __init__(self, model: Any):
        super().__init__()
        # Without deformable layers the head of the last map is all of the image encoder.
        self.backbone, self.head = model.backbone, model.image_encoder.heads[-1]
        self.register_buffer("mean", model.pixel_mean.clone())
        self.register_buffer("std", model.pixel_std.clone())

    def forward(self, image: Tensor) -> Tensor:
        """Normalise and encode."""
        return self.head(self.backbone((image - self.mean) / self.std))


class ConfidenceGraph(nn.Module):
    """Image (1, 3, h, w) -> fused map (1, C, H, W) and confidence of anchors (1, H, W)."""

    def __init__(self, model: SRSTSA):
        super().__init__()
        self.features, self.anchor_head = FeatureGraph(model), model.anchor_head

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Encode, and rate each cell."""
        feature = self.features(image)
        return feature, self.anchor_head(feature).sigmoid()


class ReadingGraph(nn.Module):
    """Fused map and anchors (A, 2) -> lines (A, K, 2), classes and their probabilities (A, K)."""

    def __init__(self, model: SRSTSA):
        super().__init__()
        self.sampler, self.recognizer = model.sampler, model.recognizer
        self.sample = self.sampler.patch if model.sampler_eval == "patch" else self.sampler.dense

    def forward(self, feature: Tensor, cells: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Read along the line from each anchor."""
        lines = self.sample(feature, torch.zeros_like(cells[:, 0]), cells)
        samples = bilinear_samples(self.recognizer.tower(feature), lines)
        logits = self.recognizer.classifier(self.recognizer.sequence(samples, lines))
        chance, best = logits.softmax(-1).max(-1)
        return lines, best, chance


def bilinear_samples(feature: Tensor, positions: Tensor) -> Tensor:
    """Samples (A, K, C) of one image's map (1, C, H, W), as `heads.sample_points` takes them.

    In plain operations: ONNX has no bag of embeddings.
    """
    size = torch.stack([torch.as_tensor(feature.shape[3]), torch.as_tensor(feature.shape[2])])
    last = (size - 1).to(positions)
    place = torch.minimum((positions - 0.5).clamp(min=0), last)
    low = place.floor()
    right, down = (place - low)[..., None].unbind(2)
    x, y = low.long().unbind(2)
    x_next, y_next = torch.minimum(low + 1, last).long().unbind(2)
    rows = feature[0].permute(1, 2, 0)
    above = rows[y, x] * (1 - right) + rows[y, x_next] * right
    below = rows[y_next, x] * (1 - right) + rows[y_next, x_next] * right
    return above * (1 - down) + below * down


def graphs_of(model: Any) -> dict[str, Graph]:
    """The graphs of a model, by name.

    Raises:
        ValueError: if it has a part that cannot be exported.
    """
    if not isinstance(model, (WeCromCL, SRSTSA)):
        raise ValueError(f"a {type(model).__name__} cannot be exported; WeCromCL and SRSTS-A can")
    if model.image_encoder.encoder is not None:
        raise ValueError(
            "MODEL.IMAGE_ENCODER.LAYERS is not 0: deformable layers cannot be exported, as their "
            "sampling has no counterpart in ONNX"
        )
    side = 4 * model.size_divisibility
    image = torch.zeros(1, 3, side, side + model.size_divisibility)
    feature = FeatureGraph(model)(image)
    if isinstance(model, SRSTSA):
        cells = torch.tensor([[1, 2], [2, 1], [0, 0]])
        return {
            "map": Graph(ConfidenceGraph(model), {"image": image}, ("feature", "confidence")),
            "reading": Graph(
                ReadingGraph(model),
                {"feature": feature, "cells": cells},
                ("lines", "best", "chance"),
            ),
        }
    if not isinstance(model.text_encoder, CharacterTextEncoder):
        raise ValueError(
            f"a {type(model.text_encoder).__name__} cannot be exported; CharacterTextEncoder can"
        )
    labels = model.charset.encode([model.charset.characters[:3]] * 3, model.max_length)
    words = Graph(WordGraph(model), {"labels": labels}, ("queries", "texts"))
    queries, texts = words.module(labels)
    valid = torch.ones(1, *feature.shape[-2:], dtype=torch.bool)
    maps = {"image": image, "valid": valid, "queries": queries, "texts": texts}
    graphs = {
        "words": words,
        "maps": Graph(MapGraph(model), maps, ("maps", "similarity", "feature")),
    }
    if model.peak_candidates > 1:
        pooled = {"pooled": torch.ones(len(texts), feature.shape[1]), "texts": texts}
        graphs["windows"] = Graph(WindowGraph(model), pooled, ("similarity",))
    return graphs
