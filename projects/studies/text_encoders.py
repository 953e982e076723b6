"""Text encoders to compare the character-wise one with: by tokens, and without order.

Letters: Q texts, L characters, T tokens of a text, D channels.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from torch import Tensor, nn

from wecromcl_d2.data.text import Charset
from wecromcl_d2.stage1 import TEXT_ENCODER_REGISTRY, CharacterTextEncoder, build_charset

from .byte_pairs import Pair, read_merges, split_word

MERGES = Path(__file__).parent / "merges.txt"
# Texts whose tokens are cached.
MAX_CACHED_TEXTS = 2**17


@TEXT_ENCODER_REGISTRY.register()
class TokenTextEncoder(CharacterTextEncoder):
    """`CharacterTextEncoder` on byte pairs of the training words in place of characters.

    A character is a token, too, so that every word has tokens; those that do not occur in training
    keep their initial embedding.

    Args:
        charset: that the labels are of.
        merges: pairs of tokens that become one, in the order in which they are applied.
        vocabulary: rows of the embedding without those of merged tokens.
        **parts: see `CharacterTextEncoder`.
    """

    @configurable
    def __init__(self, *, charset: Charset, merges: Sequence[Pair], vocabulary: int, **parts: Any):
        super().__init__(vocabulary=vocabulary + len(merges), **parts)
        self.ranks = {pair: rank for rank, pair in enumerate(merges)}
        self.charset = charset
        self.rows = {character: row for row, character in enumerate(charset.characters, start=1)}
        # Two different pairs may give the same token, which then has the row of the first.
        for rank, (first, second) in enumerate(merges):
            self.rows.setdefault(first + second, vocabulary + rank)
        self._cache: dict[str, list[int]] = {}

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        """`CharacterTextEncoder`'s parts, and the merges of this folder."""
        own = {"charset": build_charset(cfg), "merges": read_merges(MERGES)}
        return super().from_config(cfg) | own

    def forward(self, labels: Tensor) -> Tensor:
        """Encode texts (Q, L) of character labels, 0 for padding, to (Q, D)."""
        return super().forward(self.tokenize(labels))

    def tokenize(self, labels: Tensor) -> Tensor:
        """Tokens (Q, L) of character labels (Q, L), both padded with 0."""
        tokens = torch.zeros_like(labels, device="cpu")
        for row, text in enumerate(self.charset.decode(labels)):
            own = self._cache.get(text)
            if own is None:
                own = [self.rows[token] for token in split_word(text, self.ranks)]
                if len(self._cache) < MAX_CACHED_TEXTS:
                    self._cache[text] = own
            tokens[row, : len(own)] = torch.tensor(own, dtype=labels.dtype)
        return tokens.to(labels.device)


@TEXT_ENCODER_REGISTRY.register()
class BagTextEncoder(CharacterTextEncoder):
    """`CharacterTextEncoder` that does not know the order of characters: no positions.

    Attention and mean treat all characters alike, so anagrams have equal features. With
    MODEL.TEXT_ENCODER.LAYERS 0 it is the mean of the characters' embeddings.
    """

    @configurable
    def __init__(self, **parts: Any):
        super().__init__(**parts)
        nn.init.zeros_(self.positional_embedding)
        self.positional_embedding.requires_grad_(False)
