"""Normalization layers."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class FrozenBatchNorm2d(nn.Module):
    """Batch norm with fixed statistics and a fixed affine map, all of them buffers.

    Args:
        num_features: Channels.
        eps: Added to the variance.
    """

    _version = 3

    def __init__(self, num_features: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.num_features = num_features
        self.eps = eps
        self.register_buffer("weight", torch.ones(num_features))
        self.register_buffer("bias", torch.zeros(num_features))
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features) - eps)
        self.register_buffer("num_batches_tracked", None)

    def forward(self: Any, x: Tensor) -> Tensor:
        """Normalize (N, C, H, W)."""
        mean, var = self.running_mean, self.running_var
        if not x.requires_grad:
            return F.batch_norm(x, mean, var, self.weight, self.bias, eps=self.eps)
        # With gradients, batch_norm would also compute those of weight and bias, in vain.
        scale = self.weight * (var + self.eps).rsqrt()
        shift = self.bias - mean * scale
        return x * scale.to(x.dtype)[:, None, None] + shift.to(x.dtype)[:, None, None]

    def _load_from_state_dict(self, state_dict, prefix, local_metadata, *args):
        """Fill in the statistics that checkpoints older than version 2 do not have."""
        if (local_metadata.get("version") or 0) < 2:
            state_dict.setdefault(f"{prefix}running_mean", torch.zeros(self.num_features))
            state_dict.setdefault(f"{prefix}running_var", torch.ones(self.num_features))
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *args)

    @classmethod
    def convert_frozen_batchnorm(cls, module: nn.Module) -> nn.Module:
        """Replace every batch norm below ``module`` in place.

        Returns:
            The module, or its replacement if it is a batch norm itself.
        """
        if not isinstance(module, nn.BatchNorm2d | nn.SyncBatchNorm):
            for name, child in module.named_children():
                setattr(module, name, cls.convert_frozen_batchnorm(child))
            return module
        frozen = cls(module.num_features, module.eps)
        for name, value in (*module.named_parameters(), *module.named_buffers()):
            setattr(frozen, name, value.detach().clone())
        return frozen


_NORMS: dict[str, Callable[[int], nn.Module]] = {
    "BN": nn.BatchNorm2d,
    "SyncBN": nn.SyncBatchNorm,
    "FrozenBN": FrozenBatchNorm2d,
    "GN": lambda channels: nn.GroupNorm(32, channels),
}


def get_norm(norm: str | Callable[[int], nn.Module] | None, out_channels: int) -> nn.Module | None:
    """Make a normalization layer.

    Args:
        norm: "BN", "SyncBN", "FrozenBN", "GN", a function of the channels, or nothing.
        out_channels: Channels.

    Returns:
        The layer; None for an empty ``norm``.

    Raises:
        KeyError: For another name.
    """
    if not norm:
        return None
    return (_NORMS[norm] if isinstance(norm, str) else norm)(out_channels)
