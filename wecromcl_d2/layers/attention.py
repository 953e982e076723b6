"""Scaled dot-product attention by the kernel that is faster on the device."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Attention of M queries to T keys.

    On a CPU, PyTorch's fused kernel goes backward several times slower in bfloat16 than products
    and softmax one by one, so that training in bfloat16 uses these.

    Args:
        q: (..., M, D).
        k: (..., T, D).
        v: like `k`.
        mask: bool that broadcasts to (..., M, T), False where a key is not seen; or None.
    """
    if q.device.type == "cpu" and q.dtype == torch.bfloat16 and q.requires_grad:
        with sdpa_kernel(SDPBackend.MATH):
            return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
