"""Soft activation maps: cross-attention from a text to the cells of an image.

Letters: N images, Q texts per image, P peaks per map, C channels of the fused map, D channels of a
text feature, H x W cells.
"""

import math

import torch
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
        return self.project(maps.flatten(2) @ feature.flatten(2).transpose(1, 2))

    def project(self, pooled: Tensor) -> Tensor:
        """Region features (..., D) of pooled cells (..., C) of the fused map."""
        return self.out_proj(self.v_proj(self.channel_proj(pooled)))

    def pool_windows(self, maps: Tensor, feature: Tensor, points: Tensor, window: int) -> Tensor:
        """Region features (N, Q, P, D) of the surroundings of peaks, weighted by the maps there.

        Args:
            maps: (N, Q, H, W) non-negative maps.
            feature: (N, C, H, W) fused map.
            points: (N, Q, P, 2) cell centers (x, y), see `find_peaks`.
            window: side of the surroundings in cells, odd.
        """
        height, width = maps.shape[-2:]
        steps = torch.arange(window, device=maps.device) - window // 2
        column, row = (points - 0.5).long()[..., None, None].unbind(-3)
        rows, columns = torch.broadcast_tensors(row + steps[:, None], column + steps)
        seen = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        cells = rows.clamp(0, height - 1) * width + columns.clamp(0, width - 1)
        share = maps.flatten(2).gather(2, cells.flatten(2)).view(cells.shape) * seen
        total = share.sum((-2, -1), keepdim=True)
        share = share / total.clamp_min(torch.finfo(share.dtype).tiny)
        rows_of = feature.flatten(2).transpose(1, 2)
        every = cells.flatten(1)[..., None].expand(-1, -1, feature.shape[1])
        values = rows_of.gather(1, every).view(*points.shape[:3], window**2, -1)
        return self.project((share.flatten(3)[..., None, :] @ values).squeeze(-2))
