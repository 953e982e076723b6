"""The contrastive loss of stage 1 as pure functions.

Letters: N images of this process, B images of all processes, K false texts per image.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def cosine_similarity(pooled: Tensor, text: Tensor, compared: Tensor) -> Tensor:
    """Region-text correlation: cosine between what a text found in an image and the text itself.

    Args:
        pooled: (N, B + K, D) region features, one for each image and text.
        text: (U, D) features of all texts.
        compared: (N, B + K) which text each region feature belongs to.

    Returns:
        (N, B + K) similarities in [-1, 1].
    """
    unit = F.normalize(text, dim=-1)
    return (pooled * unit[compared]).sum(-1) / pooled.norm(dim=-1).clamp_min(1e-12)


def image_to_text_loss(similarity: Tensor, logit_scale: Tensor, first: int = 0) -> Tensor:
    """An image chooses its own query among all query texts and its false texts.

    Args:
        similarity: (N, B + K), column i < B for the query text of image i of the whole batch.
        logit_scale: scalar, log of the inverse temperature, `log(1 / tau)`.
        first: index in the whole batch of the first of these N images.

    Returns:
        Scalar cross-entropy, mean over the N images.
    """
    target = torch.arange(first, first + len(similarity), device=similarity.device)
    return F.cross_entropy(similarity * logit_scale.exp(), target)


def text_to_image_loss(similarity: Tensor, logit_scale: Tensor) -> Tensor:
    """A query text chooses its own image among all images; false texts belong to no image.

    Args:
        similarity: (B, B), row b for image b, column i for the query text of image i.
        logit_scale: scalar, log of the inverse temperature, `log(1 / tau)`.

    Returns:
        Scalar cross-entropy, mean over the B texts.
    """
    return image_to_text_loss(similarity.t(), logit_scale)
