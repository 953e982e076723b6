"""Tokens: coordinate bins, characters, and the marks between them.

The ids follow the published order: bins, characters, the unknown character, the end of a word, the
end of a sequence, its start, the noise mark of SPTSv2 where there is one, and padding.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ...data.text import Charset


class Vocabulary:
    """The token ids and their meaning.

    The padding token is never a target and its outputs are not used, so its id also means "no
    location" in the decoder's input, where the place of a word is unknown.

    Args:
        charset: characters of texts.
        bins: number of bins of a side of the image; 0 for a vocabulary without places.
        noise: whether to add the token of SPTSv2 for words that do not exist, which its weights
            have and nothing here uses.

    Raises:
        ValueError: for a single bin or fewer than none.
    """

    def __init__(self, charset: Charset, bins: int, *, noise: bool = False):
        if bins < 0 or bins == 1:
            raise ValueError(f"MODEL.SPTS.BINS is {bins}; an image needs at least 2 to have places")
        self.charset = charset
        self.bins = bins
        self.first_character = bins
        self.unknown = bins + len(charset)
        self.word_end = self.unknown + 1
        self.eos = self.word_end + 1
        self.sos = self.eos + 1
        self.padding = self.sos + (2 if noise else 1)
        self.no_location = self.padding

    def __len__(self) -> int:
        return self.padding + 1

    def encode_text(self, text: str, max_length: int) -> list[int]:
        """Tokens of a text's characters, at most `max_length`; unknown characters are left out.

        Raises:
            CharsetError: if the charset's policy is "error" and the text has an unknown character.
        """
        labels = self.charset.encode([text], max_length)[0]
        return (labels[labels > 0] - 1 + self.first_character).tolist()

    def decode_text(self, tokens: Sequence[int]) -> str:
        """Text of character tokens; the unknown character is left out, as it is in training."""
        labels = [t - self.first_character + 1 for t in tokens if t != self.unknown]
        return self.charset.decode([labels])[0]

    def encode_points(self, points: Tensor, size: tuple[int, int]) -> Tensor:
        """Bins of points.

        Args:
            points: (N, 2) as (x, y) in pixels; those outside the image get the bin of its border.
            size: (height, width) of the image in the same pixels, without padding.

        Returns:
            (N, 2) int64 token ids of x and y.

        Raises:
            ValueError: if a point is not finite or the image has no area.
        """
        if min(size) < 1:
            raise ValueError(f"an image of (height, width) {tuple(size)} cannot be divided in bins")
        if not torch.isfinite(points).all():
            raise ValueError(f"points must be finite, got {points.tolist()}")
        sides = points.new_tensor([size[1], size[0]], dtype=torch.float64)
        return (points.double() * self.bins / sides).floor().long().clamp(0, self.bins - 1)

    def decode_points(
        self, tokens: Tensor, size: tuple[int, int], *, official: bool = False
    ) -> Tensor:
        """Centers of bins.

        Args:
            tokens: (N, 2) token ids of x and y.
            size: (height, width) of the image.
            official: the lower edges, as published, which are half a bin off.

        Returns:
            (N, 2) float64 points (x, y) in pixels of that image.
        """
        scale = torch.tensor([size[1], size[0]], dtype=torch.float64, device=tokens.device)
        return (tokens.double() + (0.0 if official else 0.5)) * scale / self.bins
