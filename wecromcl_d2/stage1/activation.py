"""Soft activation maps: cross-attention from a text to the cells of an image.

Letters: N images, Q texts per image, C channels of the fused map, D channels of a text feature,
H x W cells.
"""

import math

from torch import Tensor, nn


class TextActivation(nn.Module):
    """One-head cross-attention from texts to an image (Sec. 3.2 of the paper).

    With the projected map X = W_c F the paper has

        M = softmax((W_q t + b_q)^T (W_k X + b_k) / sqrt(D)),    p = W_o (W_v X M + b_v) + b_o.

    Everything between text and map is linear, so the order of the products is changed:
    the query is multiplied by W_k and W_c, which gives it the C channels of F, and F is pooled
    before W_c, W_v and W_o are applied. The result is the same, and no map of D channels is
    computed. The key bias adds one number to all cells of a map, which the softmax ignores; it is
    kept, frozen, because the published weights have it.

    Args:
        in_channels: channels C of the fused map.
        channels: channels D of text feature, keys and values.
    """

    def __init__(self, *, in_channels: int, channels: int):
        super().__init__()
        self.channel_proj = nn.Linear(in_channels, channels, bias=False)
        self.q_proj = nn.Linear(channels, channels)
        self.k_proj = nn.Linear(channels, channels)
        self.k_proj.bias.requires_grad_(False)
        self.v_proj = nn.Linear(channels, channels)
        self.out_proj = nn.Linear(channels, channels)

    def project_queries(self, text: Tensor) -> Tensor:
        """Queries (..., C) in the channels of the fused map, from text features (..., D)."""
        query = self.q_proj(text) / math.sqrt(text.shape[-1])
        return query @ self.k_proj.weight @ self.channel_proj.weight

    def forward(self, queries: Tensor, feature: Tensor, valid: Tensor | None = None) -> Tensor:
        """Soft activation maps.

        Args:
            queries: (N, Q, C) projected queries, or (Q, C) if all images have the same texts.
            feature: (N, C, H, W) fused map.
            valid: (N, H, W), False in padding, where the maps are zero.

        Returns:
            (N, Q, H, W), each map non-negative with sum one.
        """
        n, _, height, width = feature.shape
        logits = queries @ feature.flatten(2)
        if valid is not None:
            logits = logits.masked_fill(~valid.reshape(n, 1, -1), -math.inf)
        return logits.softmax(-1).unflatten(-1, (height, width))

    def pool(self, maps: Tensor, feature: Tensor) -> Tensor:
        """Region features (N, Q, D): the image's values weighted by the maps (N, Q, H, W)."""
        pooled = maps.flatten(2) @ feature.flatten(2).transpose(1, 2)
        return self.out_proj(self.v_proj(self.channel_proj(pooled)))
