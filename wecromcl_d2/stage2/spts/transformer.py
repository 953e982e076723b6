"""The transformer decoder: whole sequences in training, cached keys and values in decoding.

Letters: R sequences, of which G in a row belong to one of I images (R = I * G); M new tokens, T
tokens so far, S cells of an image; D channels, h heads.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, dropout: float = 0.0) -> Tensor:
    """Scaled dot-product attention; zero without any key (T = 0).

    Args:
        q: (R, h, M, D / h).
        k: (R, h, T, D / h).
        v: like `k`.
        mask: bool that broadcasts to (R, h, M, T), False where a key is not seen; or None.
        dropout: rate on the weights.
    """
    if k.shape[-2] == 0:
        return torch.zeros_like(q)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout)


class Attention(nn.Module):
    """Projections of multi-head attention.

    Args:
        width: channels D.
        heads: attention heads; must divide `width`.
        dropout: rate on the attention weights in training.
    """

    def __init__(self, width: int, heads: int, dropout: float):
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.q, self.k, self.v, self.out = (nn.Linear(width, width) for _ in range(4))

    def split(self, x: Tensor) -> Tensor:
        """(R, M, D) -> (R, M, h, D / h)."""
        return x.unflatten(-1, (self.heads, -1))

    def mix(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        """Attend and project: (R, M, h, D / h) queries, (R, T, h, D / h) keys -> (R, M, D)."""
        mixed = attend(
            q.transpose(1, 2),
            k.transpose(1, 2),
            v.transpose(1, 2),
            mask,
            self.dropout if self.training else 0.0,
        )
        return self.out(mixed.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """Two linear layers with an activation and dropout between them.

    Args:
        width: channels D.
        hidden: channels between.
        dropout: rate between the layers in training.
        activation: between the layers.
    """

    def __init__(
        self,
        width: int,
        hidden: int,
        dropout: float,
        activation: Callable[[Tensor], Tensor] = F.relu,
    ):
        super().__init__()
        self.inner = nn.Linear(width, hidden)
        self.outer = nn.Linear(hidden, width)
        self.dropout = nn.Dropout(dropout)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., D)."""
        return self.outer(self.dropout(self.activation(self.inner(x))))


@dataclass
class Memory:
    """Cross-attention keys and values of I images, projected once per layer.

    Attributes:
        keys: per layer (I, h, S, D / h).
        values: per layer (I, h, S, D / h).
        seen: (I, 1, 1, S) bool, False for padding; None without any.
    """

    keys: list[Tensor]
    values: list[Tensor]
    seen: Tensor | None

    def select(self, images: Tensor) -> Memory:
        """The memory of some images."""
        return Memory(
            [x[images] for x in self.keys],
            [x[images] for x in self.values],
            None if self.seen is None else self.seen[images],
        )


class Cache:
    """Self-attention keys and values of the tokens so far, allocated once.

    The buffers are left uninitialised: on a CPU, pages that are never written take no memory.

    Args:
        layers: decoder layers.
        shape: sequences R, most tokens T, heads h, channels per head.
        like: tensor with the device and dtype of the buffers.
    """

    def __init__(self, layers: int, shape: tuple[int, int, int, int], like: Tensor):
        self.keys = [like.new_empty(shape) for _ in range(layers)]
        self.values = [like.new_empty(shape) for _ in range(layers)]
        self.end = 0

    def reserve(self, length: int) -> None:
        """Extend the part of the buffers that is in use to `length` places, at most T."""
        for kept in (*self.keys, *self.values):
            # Uninitialised values may be NaN, which an attention weight of 0 does not remove.
            kept[:, self.end : length] = 0
        self.end = length

    def write(
        self, layer: int, positions: Tensor, keys: Tensor, values: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Store new tokens.

        Args:
            layer: index.
            positions: (R, M) their places.
            keys: (R, M, h, D / h).
            values: likewise.

        Returns:
            Keys and values (R, T, h, D / h) of all places in use.
        """
        rows = torch.arange(len(positions), device=positions.device)[:, None]
        self.keys[layer][rows, positions] = keys
        self.values[layer][rows, positions] = values
        return self.keys[layer][:, : self.end], self.values[layer][:, : self.end]

    def select(self, rows: Tensor) -> None:
        """Drop all sequences but `rows`."""
        for kept in (self.keys, self.values):
            # Layer by layer, so that there are never two copies of the whole cache.
            for layer, x in enumerate(kept):
                kept[layer] = x.new_empty(len(rows), *x.shape[1:])
                kept[layer][:, : self.end] = x[rows, : self.end]


class DecoderLayer(nn.Module):
    """Pre-norm layer: attention to earlier tokens, attention to the image, feed-forward."""

    def __init__(self, width: int, heads: int, feedforward: int, dropout: float):
        super().__init__()
        self.self_attention = Attention(width, heads, dropout)
        self.cross_attention = Attention(width, heads, dropout)
        self.feedforward = FeedForward(width, feedforward, dropout)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        x: Tensor,
        position: Tensor,
        earlier: Tensor,
        remember: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
        keys: Tensor,
        values: Tensor,
        seen: Tensor | None,
    ) -> Tensor:
        """Transform new tokens.

        Args:
            x: (R, M, D).
            position: (R, M, D) embedding of their positions.
            earlier: (R or 1, 1, M, T) bool, the tokens that each new token attends to.
            remember: given keys and values of the new tokens, (R, M, h, D / h), returns those of
                all T.
            keys: (I, h, S, D / h) of the image.
            values: (I, h, S, D / h).
            seen: (I, 1, 1, S) bool or None.
        """
        own = self.self_attention
        y = self.norm1(x)
        placed = y + position
        k, v = remember(own.split(own.k(placed)), own.split(own.v(y)))
        x = x + self.dropout(own.mix(own.split(own.q(placed)), k, v, earlier))
        x = x + self.dropout(self._look(self.norm2(x) + position, keys, values, seen))
        return x + self.dropout(self.feedforward(self.norm3(x)))

    def _look(self, x: Tensor, keys: Tensor, values: Tensor, seen: Tensor | None) -> Tensor:
        """Cross-attention; an image's sequences share its keys, so these are not copied."""
        cross, (rows, tokens) = self.cross_attention, x.shape[:2]
        q = cross.split(cross.q(x)).reshape(len(keys), -1, cross.heads, x.shape[-1] // cross.heads)
        rate = cross.dropout if self.training else 0.0
        mixed = attend(q.transpose(1, 2), keys, values, seen, rate)
        return cross.out(mixed.transpose(1, 2).reshape(rows, tokens, -1))


class TokenDecoder(nn.Module):
    """Token embedding, decoder layers and classifier.

    Args:
        tokens: size of the vocabulary.
        positions: longest input in tokens.
        width: channels D.
        heads: attention heads; must divide `width`.
        layers: decoder layers.
        feedforward: hidden channels.
        dropout: rate in training.
    """

    def __init__(
        self,
        *,
        tokens: int,
        positions: int,
        width: int,
        heads: int,
        layers: int,
        feedforward: int,
        dropout: float,
    ):
        super().__init__()
        self.token_embedding = nn.Embedding(tokens, width)
        self.position_embedding = nn.Embedding(positions, width)
        self.embedding_norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(
            DecoderLayer(width, heads, feedforward, dropout) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)
        self.classifier = nn.Sequential(
            nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()
        )
        self.logits = nn.Linear(width, tokens)
        initialise(self)

    def embed(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """(R, M) token ids and places -> (R, M, D)."""
        x = self.token_embedding(tokens) + self.position_embedding(positions)
        return self.dropout(self.embedding_norm(x))

    def remember(self, cells: Tensor, position: Tensor, valid: Tensor | None) -> Memory:
        """Project encoded images for all layers.

        Args:
            cells: (I, S, D).
            position: (I, S, D) embedding of the cells' positions.
            valid: (I, S) bool, False for padding; None without any. A row without any True is
                attended to as a whole.
        """
        keys, values = [], []
        for layer in self.layers:
            cross = layer.get_submodule("cross_attention")
            assert isinstance(cross, Attention)
            keys.append(cross.split(cross.k(cells + position)).transpose(1, 2).contiguous())
            values.append(cross.split(cross.v(cells)).transpose(1, 2).contiguous())
        if valid is not None:
            valid = (valid | ~valid.any(1, keepdim=True))[:, None, None]
        return Memory(keys, values, valid)

    def forward(self, x: Tensor, positions: Tensor, memory: Memory, cache: Cache | None) -> Tensor:
        """Transform tokens.

        Args:
            x: (R, M, D) embedded tokens.
            positions: (R, M) their places; (1, M) where all rows have the same.
            memory: of the I images; R is a multiple of I.
            cache: of the earlier tokens, with reserved places for these; None if there are none.

        Returns:
            (R, M, D) states, normalised.
        """
        length = x.shape[1] if cache is None else cache.end
        places = torch.arange(length, device=x.device)
        earlier = (places <= positions[:, :, None])[:, None]
        position = self.position_embedding(positions)
        for i, layer in enumerate(self.layers):

            def remember(keys: Tensor, values: Tensor, i: int = i) -> tuple[Tensor, Tensor]:
                if cache is None:
                    return keys, values
                return cache.write(i, positions, keys, values)

            x = layer(x, position, earlier, remember, memory.keys[i], memory.values[i], memory.seen)
        return self.norm(x)

    def classify(self, states: Tensor) -> Tensor:
        """(..., D) states -> (..., V) logits."""
        return self.logits(self.classifier(states))

    def new_cache(self, rows: int, length: int, memory: Memory) -> Cache:
        """An empty cache for R sequences of at most `length` tokens, of the memory's dtype."""
        like = memory.keys[0]
        return Cache(len(self.layers), (rows, length, like.shape[1], like.shape[3]), like)


def initialise(module: nn.Module) -> None:
    """Initialise all matrices with Xavier's uniform distribution, as published."""
    for parameter in module.parameters():
        if parameter.dim() > 1:
            nn.init.xavier_uniform_(parameter)
