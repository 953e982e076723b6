"""The contrastive loss of stage 1 as pure functions.

Letters: N images of this process, B images and M query texts of all processes, K negatives per
image. The paper has one query per image: M = B.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def cosine_similarity(pooled: Tensor, text: Tensor, compared: Tensor) -> Tensor:
    """Region-text correlation: cosine of a text's region feature in an image and its text feature.

    Args:
        pooled: (N, M + K, D) region features, one for each image and text.
        text: (U, D) features of all texts.
        compared: (N, M + K) which text each region feature belongs to.

    Returns:
        (N, M + K) similarities in [-1, 1].
    """
    unit = F.normalize(text, dim=-1)
    return (pooled * unit[compared]).sum(-1) / pooled.norm(dim=-1).clamp_min(1e-12)


def image_to_text_loss(
    similarity: Tensor, logit_scale: Tensor, owner: Tensor, own: slice
) -> Tensor:
    """Image-to-text cross-entropy: each query against all texts compared in its image.

    The compared texts are the M queries of the whole batch and the image's K negatives, except
    other queries of the same image.

    Args:
        similarity: (N, M + K), column m < M for query m.
        logit_scale: scalar, log of the inverse temperature, `log(1 / tau)`.
        owner: (M,) index among the N images of the image that each query comes from, any other
            number if that image is not among them.
        own: the queries that come from these images.

    Returns:
        Scalar, sum over these images' queries of the cross-entropies.
    """
    rows = (similarity * logit_scale.exp())[owner[own]]
    target = torch.arange(len(owner), device=owner.device)[own]
    same_image = owner[own, None] == owner
    same_image[torch.arange(len(target)), target] = False
    same_image = F.pad(same_image, (0, rows.shape[1] - len(owner)))
    return F.cross_entropy(rows.masked_fill(same_image, -torch.inf), target, reduction="sum")


def text_to_image_loss(similarity: Tensor, logit_scale: Tensor, owner: Tensor) -> Tensor:
    """Text-to-image cross-entropy: each query against all images; negatives take no part.

    Args:
        similarity: (B, M), row b for image b, column m for query m.
        logit_scale: scalar, log of the inverse temperature, `log(1 / tau)`.
        owner: (M,) index of the image that each query comes from.

    Returns:
        Scalar cross-entropy, mean over the M queries.
    """
    return F.cross_entropy(similarity.t() * logit_scale.exp(), owner)
