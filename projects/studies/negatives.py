"""Negatives beyond those of the package: mined by text features, and from random to hard.

The sampler of batches offers more negatives than K, and the model keeps K of them for each image,
because only the model knows the text encoder's present weights and the iteration. A resumed
training draws and keeps the same ones.

Letters: N images of a batch, K negatives per image, Q queries of an image, P candidates, D channels
of a text feature.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.utils.events import get_event_storage
from torch import Tensor

from wecromcl_d2.stage1 import NEGATIVE_SAMPLERS, WeCromCL
from wecromcl_d2.stage1.negatives import NEIGHBOURS, Queries, Texts


@NEGATIVE_SAMPLERS.register()
def candidates(
    rng: np.random.Generator, vocabulary: Sequence[str], texts: Texts, queries: Queries, count: int
) -> list[list[int]]:
    """`NEIGHBOURS * K` texts of none of the images, for `MinedWeCromCL` to keep K of.

    The package's sampler "hard" draws from as many texts, those nearest in spelling.
    """
    return NEGATIVE_SAMPLERS.get("shared")(rng, vocabulary, texts, queries, NEIGHBOURS * count)


@NEGATIVE_SAMPLERS.register()
def random_and_hard(
    rng: np.random.Generator, vocabulary: Sequence[str], texts: Texts, queries: Queries, count: int
) -> list[list[int]]:
    """For each image K random texts, then K similar in spelling, for `CurriculumWeCromCL`."""
    parts = [
        NEGATIVE_SAMPLERS.get(name)(rng, vocabulary, texts, queries, count)
        for name in ("random", "hard")
    ]
    return [[*first, *second] for first, second in zip(*parts, strict=True)]


class OfferedWeCromCL(WeCromCL):
    """`WeCromCL` that keeps, of the negatives that each image is offered, a part of its own."""

    def forward(self, batched_inputs: list[dict[str, Any]]) -> Any:
        """See `WeCromCL.forward`; in training the images have more negatives than are compared."""
        if self.training:
            kept = self.keep_negatives(batched_inputs)
            pairs = zip(batched_inputs, kept, strict=True)
            batched_inputs = [x | {"negatives": negatives} for x, negatives in pairs]
        return super().forward(batched_inputs)

    def keep_negatives(self, batched_inputs: list[dict[str, Any]]) -> list[list[str]]:
        """The K negatives that each image is compared with."""
        raise NotImplementedError


@META_ARCH_REGISTRY.register()
class MinedWeCromCL(OfferedWeCromCL):
    """Negatives that the text encoder, as it is now, can hardly tell from the image's queries.

    Needs DATALOADER.SAMPLING.NEGATIVES "candidates".
    """

    @torch.no_grad()
    def keep_negatives(self, batched_inputs: list[dict[str, Any]]) -> list[list[str]]:
        """For each image the K of its candidates that are most similar to one of its queries."""
        texts = [text for x in batched_inputs for text in (*x["queries"], *x["negatives"])]
        features, rows = self.encode_texts(texts)
        unit = F.normalize(features.float(), dim=-1)
        sizes = [size for x in batched_inputs for size in (len(x["queries"]), len(x["negatives"]))]
        parts = rows.split(sizes)
        kept = []
        for x, own, offered in zip(batched_inputs, parts[::2], parts[1::2], strict=True):
            hardest = hardest_candidates(unit[own], unit[offered], len(offered) // NEIGHBOURS)
            kept.append([x["negatives"][i] for i in hardest.tolist()])
        return kept


def hardest_candidates(queries: Tensor, offered: Tensor, count: int) -> Tensor:
    """Indices of the candidates with the highest cosine to any query, the highest first.

    Args:
        queries: (Q, D) text features of norm one.
        offered: (P, D) likewise.
        count: K.
    """
    return (queries @ offered.T).amax(0).topk(count).indices


@META_ARCH_REGISTRY.register()
class CurriculumWeCromCL(OfferedWeCromCL):
    """Negatives that get harder: random ones at first, those of similar spelling at the end.

    Needs DATALOADER.SAMPLING.NEGATIVES "random_and_hard".

    Args:
        max_iter: iterations of the training, over which the share of hard ones grows from 0 to 1.
        **parts: see `WeCromCL`.
    """

    @configurable
    def __init__(self, *, max_iter: int, **parts: Any):
        super().__init__(**parts)
        self.max_iter = max_iter

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        """`WeCromCL`'s parts and SOLVER.MAX_ITER."""
        return {**super().from_config(cfg), "max_iter": cfg.SOLVER.MAX_ITER}

    def keep_negatives(self, batched_inputs: list[dict[str, Any]]) -> list[list[str]]:
        """Of each image's K random and K hard negatives the share of this iteration."""
        share = get_event_storage().iter / self.max_iter
        return [random_to_hard(x["negatives"], share) for x in batched_inputs]


def random_to_hard(offered: Sequence[str], share: float) -> list[str]:
    """K of 2K negatives, the first half of which is random and the second hard.

    Args:
        offered: K random texts, then K hard ones; a text may be in both halves.
        share: of the hard ones, from 0 to 1.
    """
    count = len(offered) // 2
    hard = round(min(share, 1.0) * count)
    return [*offered[: count - hard], *offered[count : count + hard]]
