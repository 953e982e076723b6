"""Holistic contrast: a whole image against all its words at once, as oCLIP has it.

Our realisations of the idea, with the modules of `WeCromCL`; nothing of oCLIP's masked characters.

Letters: N images, W words of all images, C channels of the fused map, D channels of a text feature.
"""

from collections.abc import Sequence
from typing import Any

import torch
from detectron2.config import configurable
from detectron2.modeling import META_ARCH_REGISTRY
from torch import Tensor, nn

from wecromcl_d2.stage1 import WeCromCL
from wecromcl_d2.stage1.losses import (
    cosine_similarity,
    image_to_text_loss,
    text_to_image_loss,
)


@META_ARCH_REGISTRY.register()
class HolisticWeCromCL(WeCromCL):
    """The words of an image attend to it together, and their mean is contrasted.

    With one query per image this is `WeCromCL` without negatives. Needs
    DATALOADER.SAMPLING.NEGATIVES "none" and as many NUM_QUERIES as images have words; processes
    contrast their own images only. A word is located by its own attention map, which training
    never asks for where images have several words.
    """

    def forward(self, batched_inputs: list[dict[str, Any]]) -> Any:
        """See `WeCromCL.forward`; negatives are not used."""
        if not self.training:
            return self.inference(batched_inputs)
        feature, valid = self.encode_images(self.preprocess_images(batched_inputs))
        counts = [len(x["queries"]) for x in batched_inputs]
        features, rows = self.encode_texts([q for x in batched_inputs for q in x["queries"]])
        with torch.autocast(self.device.type, enabled=False):
            text = mean_of_words(features.float()[rows], counts)
            pooled = self.pool_images(text, feature.float(), valid)
            images = torch.arange(len(counts), device=self.device)
            similarity = cosine_similarity(pooled, text, images.expand(len(counts), -1))
        i2t = image_to_text_loss(similarity, self.logit_scale, images, slice(0, len(counts)))
        t2i = text_to_image_loss(similarity, self.logit_scale, images)
        return {"loss_i2t": i2t / len(counts) / 2, "loss_t2i": t2i / 2}

    def pool_images(self, text: Tensor, feature: Tensor, valid: Tensor | None) -> Tensor:
        """Image features (N, N, D), each image's for the words of each image.

        Args:
            text: (N, D) mean text feature of each image.
            feature: (N, C, H, W) fused map.
            valid: (N, H, W), False in padding.
        """
        maps = self.activation(self.activation.project_queries(text), feature, valid)
        return self.activation.pool(maps, feature)


def mean_of_words(features: Tensor, counts: Sequence[int]) -> Tensor:
    """(N, D) mean of the text features (W, D) of each image's `counts` words."""
    return torch.stack([own.mean(0) for own in features.split(list(counts))])


@META_ARCH_REGISTRY.register()
class PooledWeCromCL(HolisticWeCromCL):
    """The image is pooled by a learned query, whatever its words are.

    Its feature is a mean of cell values, so the cells whose own values are most similar to a word's
    feature are the word's attention map.

    Args:
        **parts: see `WeCromCL`.
    """

    @configurable
    def __init__(self, **parts: Any):
        super().__init__(**parts)
        self.image_query = nn.Parameter(torch.randn(1, parts["embed_dim"]))

    def pool_images(self, text: Tensor, feature: Tensor, valid: Tensor | None) -> Tensor:
        """Image features (N, N, D), of each image the same for all words."""
        pooled = super().pool_images(self.image_query, feature, valid)
        return pooled.expand(-1, len(text), -1)

    def encode_words(self, texts: Sequence[str]) -> Tensor:
        """(U, C + D) of distinct texts: what gives each cell's similarity, then the text feature.

        The value of a cell is W_o (W_v W_c f + b_v) + b_o; of its product with a text feature only
        the part that depends on the cell's f counts in a softmax.
        """
        features, _ = self.encode_texts(texts)
        parts = self.activation
        query = features @ parts.out_proj.weight @ parts.v_proj.weight @ parts.channel_proj.weight
        return torch.cat([query, features], dim=1)
