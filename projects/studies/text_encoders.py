"""Text encoders to compare the character-wise one with: tokens, no order, other positions.

Letters: Q texts, L characters, W characters of a window, D channels.
"""

import math
from collections.abc import Sequence
from itertools import groupby
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


@TEXT_ENCODER_REGISTRY.register()
class SineTextEncoder(CharacterTextEncoder):
    """`CharacterTextEncoder` with sinusoidal positions, which need no training.

    Position l has the channels sin(l / 10000^(2c/D)) and cos(l / 10000^(2c/D)), c < D/2, times
    `scale`, which gives them the deviation that learned positions of the quick model have.
    """

    scale = 0.05

    @configurable
    def __init__(self, **parts: Any):
        super().__init__(**parts)
        length, width = self.positional_embedding.shape
        positions = self.scale * sine_positions(length, width)
        self.positional_embedding.requires_grad_(False).copy_(positions)


def sine_positions(length: int, width: int) -> Tensor:
    """(L, D) sinusoids of the positions, sines before cosines; D must be even."""
    rates = 10000 ** (-torch.arange(0, width, 2) / width)
    angles = torch.arange(length)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)


@TEXT_ENCODER_REGISTRY.register()
class RelativeTextEncoder(CharacterTextEncoder):
    """`CharacterTextEncoder` that knows distances of characters in place of positions.

    A learned number for each head and distance, those beyond `reach` as one, is added to the logits
    of the attention in all layers, so that a text longer than those of the training has no unknown
    position.

    Args:
        heads: attention heads.
        **parts: see `CharacterTextEncoder`.
    """

    reach = 8

    @configurable
    def __init__(self, *, heads: int, **parts: Any):
        super().__init__(heads=heads, **parts)
        nn.init.zeros_(self.positional_embedding)
        self.positional_embedding.requires_grad_(False)
        self.distance_bias = nn.Parameter(torch.empty(heads, 2 * self.reach + 1))
        nn.init.normal_(self.distance_bias, std=0.02)

    def attention_mask(self, seen: Tensor) -> Tensor:
        """(Q or 1, heads, L, L) numbers that are added to the logits of texts (Q, L)."""
        places = torch.arange(seen.shape[1], device=seen.device)
        distances = (places - places[:, None]).clamp(-self.reach, self.reach) + self.reach
        bias = self.distance_bias[:, distances][None]
        return bias.masked_fill(~seen[:, None, None], -math.inf) if self.mask_padding else bias


@TEXT_ENCODER_REGISTRY.register()
class WindowTextEncoder(CharacterTextEncoder):
    """`CharacterTextEncoder` that reads long texts in windows of W characters.

    Windows overlap by half and are averaged, so no position beyond W is needed; texts of at most W
    characters are read as by `CharacterTextEncoder`.
    """

    window = 8

    def cut(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The windows of texts (Q, L), see `cut_windows`."""
        return cut_windows(labels, self.window)

    def forward(self, labels: Tensor) -> Tensor:
        """Encode texts (Q, L) of character labels, 0 for padding, to (Q, D)."""
        owners, windows = self.cut(labels)
        features = super().forward(windows)
        sums = features.new_zeros(len(labels), features.shape[1]).index_add(0, owners, features)
        return sums / owners.bincount(minlength=len(labels))[:, None]


def cut_windows(labels: Tensor, window: int) -> tuple[Tensor, Tensor]:
    """Windows of label rows, each half a window behind the one before; the last ends with the text.

    Args:
        labels: (Q, L), 0 for padding.
        window: W characters, even.

    Returns:
        For each window the row of its text, and the windows (R, W).
    """
    lengths = (labels > 0).sum(1).tolist()
    owners, rows = [], []
    for row, length in enumerate(lengths):
        starts = range(0, max(length - window, 0) + window // 2, window // 2)
        for start in starts:
            owners.append(row)
            rows.append(min(start, max(length - window, 0)))
    owner = torch.tensor(owners, device=labels.device)
    padded = nn.functional.pad(labels, (0, max(window - labels.shape[1], 0)))
    columns = torch.tensor(rows, device=labels.device)[:, None] + torch.arange(
        window, device=labels.device
    )
    return owner, padded[owner[:, None], columns]


@TEXT_ENCODER_REGISTRY.register()
class WordwiseTextEncoder(WindowTextEncoder):
    """`CharacterTextEncoder` that reads each word of a line by itself, and takes their mean.

    Args:
        blank: label of the blank.
        **parts: see `CharacterTextEncoder`.
    """

    @configurable
    def __init__(self, *, blank: int, **parts: Any):
        super().__init__(**parts)
        self.blank = blank

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        """`CharacterTextEncoder`'s parts, and the blank of MODEL.TEXT_ENCODER.CHARSET.

        Raises:
            ValueError: if the alphabet has no blank.
        """
        charset = build_charset(cfg)
        if " " not in charset:
            raise ValueError(
                f"MODEL.TEXT_ENCODER.CHARSET {cfg.MODEL.TEXT_ENCODER.CHARSET!r} has no blank, at "
                "which WordwiseTextEncoder divides lines; take one that has"
            )
        return super().from_config(cfg) | {"blank": charset.characters.index(" ") + 1}

    def cut(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The words of texts (Q, L), see `cut_words`."""
        return cut_words(labels, self.blank)


def cut_words(labels: Tensor, blank: int) -> tuple[Tensor, Tensor]:
    """Words of label rows; a row without any character but blanks is one empty word.

    Args:
        labels: (Q, L), 0 for padding.
        blank: label of the blank.

    Returns:
        For each word the row of its text, and the words (R, W), 0 for padding.
    """
    owners, words = [], []
    for row, own in enumerate(labels.tolist()):
        parts = [[*part] for inked, part in groupby(own, lambda x: x not in (0, blank)) if inked]
        words += parts or [[]]
        owners += [row] * max(len(parts), 1)
    cut = labels.new_zeros(len(words), max(1, *map(len, words)))
    for row, word in enumerate(words):
        cut[row, : len(word)] = labels.new_tensor(word)
    return torch.tensor(owners, device=labels.device), cut
