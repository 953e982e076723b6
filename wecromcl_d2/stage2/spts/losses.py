"""Weighted cross-entropy of token sequences, with soft targets for coordinates."""

import torch
from torch import Tensor

# Shares of the target that a coordinate's bin and its neighbours get.
NEIGHBOUR_SHARES = {-2: 0.1, -1: 0.2, 0: 0.4, 1: 0.2, 2: 0.1}


def sequence_loss(logits: Tensor, targets: Tensor, weights: Tensor, spread_bins: int) -> Tensor:
    """Mean cross-entropy, each token with its weight.

    Args:
        logits: (T, V).
        targets: (T,) int64.
        weights: (T,) not below 0.
        spread_bins: targets below this number are bins, whose target is spread over neighbours,
            the outermost bins standing for those beyond them; 0 spreads none.

    Returns:
        The weighted mean, 0 where all weights are 0.
    """
    log_probs = logits.float().log_softmax(-1)
    loss = -log_probs.gather(1, targets[:, None])[:, 0]
    if spread_bins:
        is_bin = targets < spread_bins
        spread = torch.zeros_like(loss)
        for offset, share in NEIGHBOUR_SHARES.items():
            index = (targets + offset).clamp(0, spread_bins - 1)
            spread = spread - share * log_probs.gather(1, index[:, None])[:, 0]
        loss = torch.where(is_bin, spread, loss)
    return (loss * weights).sum() / weights.sum().clamp(min=1e-6)
