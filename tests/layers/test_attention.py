"""Both kernels of attention compute softmax(q k / sqrt(D)) v; training in bfloat16 has one."""

import math

import pytest
import torch

from wecromcl_d2.layers.attention import attention


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("trains", [True, False])
def test_values_and_gradients(dtype, trains):
    q, k, v = torch.randn(3, 2, 4, 5, 8).to(dtype).unbind()
    mask = torch.ones(2, 1, 1, 5, dtype=torch.bool)
    mask[0, ..., 3:] = False
    for x in (q, k, v):
        x.requires_grad_(trains)
    found = attention(q, k, v, mask)
    copies = [x.detach().double().requires_grad_() for x in (q, k, v)]
    logits = copies[0] @ copies[1].transpose(2, 3) / math.sqrt(8)
    wanted = logits.masked_fill(~mask, -math.inf).softmax(-1) @ copies[2]
    tolerance = 1e-5 if dtype == torch.float32 else 3e-2
    torch.testing.assert_close(found.double(), wanted, atol=tolerance, rtol=tolerance)
    if trains:
        found.sum().backward()
        wanted.sum().backward()
        for x, copy in zip((q, k, v), copies, strict=True):
            torch.testing.assert_close(x.grad.double(), copy.grad, atol=tolerance, rtol=tolerance)


def test_training_in_bfloat16_leaves_the_fused_kernel_out():
    """Its backward pass has a node of its own in the graph."""

    def node(dtype):
        q, k, v = torch.randn(3, 1, 2, 5, 8, dtype=dtype, requires_grad=True).unbind()
        return type(attention(q, k, v, None).grad_fn).__name__

    assert "Attention" in node(torch.float32)
    assert "Attention" not in node(torch.bfloat16)
