"""Words and points of an image as tokens, for training.

Letters: T tokens of a sequence, N words, L places for characters in a word.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from detectron2.structures import Instances
from torch import Tensor

from .vocabulary import Vocabulary

LAYOUTS = ("padded", "compact")
ORDERS = ("random", "raster")


@dataclass(frozen=True)
class Layout:
    """Format of the words in a sequence.

    Attributes:
        points: each word begins with the bins of its x and y.
        max_length: places L for characters.
        max_words: words that a sequence can hold.
        padded: each word fills its L places; otherwise a token ends it.

    Raises:
        ValueError: if a sequence could hold no word or a word no character.
    """

    points: bool
    max_length: int
    max_words: int
    padded: bool

    def __post_init__(self) -> None:
        if self.max_words < 1:
            raise ValueError(f"MODEL.SPTS.MAX_WORDS is {self.max_words}; a sequence needs one")
        if self.max_length < 1:
            raise ValueError(f"MODEL.SPTS.MAX_LENGTH is {self.max_length}; a word needs one")

    @property
    def coordinates(self) -> int:
        """Tokens of a word before its text."""
        return 2 if self.points else 0

    @property
    def places(self) -> int:
        """Tokens of the longest word."""
        return self.coordinates + self.max_length + (0 if self.padded else 1)

    @property
    def max_inputs(self) -> int:
        """Tokens of the longest input: the start and all words."""
        return 1 + self.max_words * self.places


class TokenizedWords(NamedTuple):
    """Training targets of one image's N words.

    Attributes:
        places: (N, 2) int64 bins of x and y, "no location" where the place is unknown.
        texts: N lists of character tokens.
        weights: (N,) float32 loss weight of place and text, 1 where the place is unknown.
        left_out: readable words that did not fit into the sequence.
        cut: words longer than `max_length`, of which only the beginning is learned.
    """

    places: Tensor
    texts: list[list[int]]
    weights: Tensor
    left_out: int
    cut: int


class Sample(NamedTuple):
    """One training sequence of T tokens.

    Attributes:
        inputs: (T,) int64 input tokens of the decoder.
        targets: (T,) int64 tokens to predict; not counted where the weight is 0.
        weights: (T,) float32 weights of the targets.
    """

    inputs: Tensor
    targets: Tensor
    weights: Tensor


def collect_words(
    instances: Instances, vocabulary: Vocabulary, layout: Layout, *, official: bool = False
) -> TokenizedWords:
    """Select and encode the words of an image that are learned, in the given order.

    Words that are ignored or have no character of the charset are left out. If the sequence cannot
    hold all words, the shortest are kept, and the earlier of equally long ones. A place is unknown
    if there is no point or its weight is 0.

    Args:
        instances: of size (height, width), that of the image without padding, with `gt_texts`,
            `gt_points` (N, 2) as (x, y) in its pixels, `gt_point_weights` (N,) in [0, 1],
            `gt_located` and `gt_ignore` (N,) bool.
        vocabulary: the tokens.
        layout: of the sequence.
        official: if the sequence cannot hold all words, keep random ones, as published.
    """
    texts, longest = instances.gt_texts, layout.max_length
    lengths = [
        0 if ignored else len(vocabulary.charset.normalize(text))
        for text, ignored in zip(texts, instances.gt_ignore.tolist(), strict=True)
    ]
    readable = [i for i, length in enumerate(lengths) if length]
    if official and len(readable) > layout.max_words:
        drawn = torch.randperm(len(readable))[: layout.max_words].tolist()
        kept = sorted(readable[i] for i in drawn)
    else:
        kept = sorted(sorted(readable, key=lambda i: lengths[i])[: layout.max_words])
    weights = instances.gt_point_weights.cpu().float()[kept]
    known = instances.gt_located.cpu()[kept] & (weights > 0)
    places = torch.full((len(kept), 2), vocabulary.no_location)
    if layout.points:
        points = instances.gt_points.cpu()[kept][known]
        places[known] = vocabulary.encode_points(points, instances.image_size)
    return TokenizedWords(
        places,
        [vocabulary.encode_text(texts[i], longest) for i in kept],
        torch.where(known, weights, torch.ones(())),
        left_out=len(readable) - len(kept),
        cut=sum(lengths[i] > longest for i in kept),
    )


def order_words(words: TokenizedWords, order: str, vocabulary: Vocabulary) -> TokenizedWords:
    """Sort words into the order of a training sequence.

    Args:
        words: of one image.
        order: "random", drawn from torch's generator, or "raster": from top to bottom, and from
            left to right within a row of bins; words without a place follow in random order.
        vocabulary: the tokens.
    """
    rank = torch.randperm(len(words.texts))
    if order == "raster":
        x, y = words.places[rank].unbind(1)
        rank = rank[torch.argsort(y * (vocabulary.padding + 1) + x, stable=True)]
    chosen = rank.tolist()
    return words._replace(
        places=words.places[chosen],
        texts=[words.texts[i] for i in chosen],
        weights=words.weights[chosen],
    )


def write_sample(
    words: TokenizedWords,
    vocabulary: Vocabulary,
    layout: Layout,
    *,
    eos_weight: float,
    official: bool,
) -> Sample:
    """Write words as one sequence of inputs and targets.

    Args:
        words: of one image, in order.
        vocabulary: the tokens.
        layout: of the sequence.
        eos_weight: weight of the token that ends the sequence.
        official: all tokens have weight 1; otherwise the tokens of a word have its weight, and its
            padding tokens after the first have 0. Unknown coordinates always have 0.
    """
    tokens, targets, weights = [vocabulary.sos], [], []
    for place, text, trust in zip(words.places.tolist(), words.texts, words.weights, strict=True):
        weight = 1.0 if official else float(trust)
        ends = layout.max_length - len(text) if layout.padded else 1
        padding = [vocabulary.word_end] * ends
        coordinates = place if layout.points else []
        tokens += [*coordinates, *text, *padding]
        for token in coordinates:
            targets.append(token)
            weights.append(0.0 if token == vocabulary.no_location else weight)
        targets += [*text, *padding]
        weights += [weight] * len(text)
        weights += [weight] * min(ends, 1) + [weight if official else 0.0] * max(ends - 1, 0)
    targets.append(vocabulary.eos)
    weights.append(eos_weight)
    return Sample(torch.tensor(tokens), torch.tensor(targets), torch.tensor(weights))


def pad_samples(samples: Sequence[Sample], vocabulary: Vocabulary) -> Sample:
    """Stack sequences of B images to (B, T), padded with tokens of weight 0."""

    def pad(name: str, value: float) -> Tensor:
        rows = [getattr(sample, name) for sample in samples]
        return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=value)

    padding = vocabulary.padding
    return Sample(pad("inputs", padding), pad("targets", padding), pad("weights", 0.0))
