"""Training loss and greedy decoding: words as one sequence, or points first and then all texts.

Letters: I images, N words, L places for characters, T tokens, V tokens in the vocabulary.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from .decoding import DecodedTokens, GreedyDecoder
from .grammar import LOOP_SCORE, Grammar
from .losses import sequence_loss
from .sequence import Layout, Sample, TokenizedWords, pad_samples, write_sample
from .transformer import Memory, TokenDecoder
from .vocabulary import Vocabulary


class FoundWord(NamedTuple):
    """A decoded word.

    Attributes:
        place: bins of x and y; empty without places.
        text: never empty.
        det: confidence of the place, in [0, 1]; 1 without places.
        rec: confidence of the text, in [0, 1].
        characters: (length of the text, C) float32 probabilities of the charset's characters.
        total: sum of the probabilities of the word's tokens; padding after the first counts 1.
        tokens: number of these tokens.
    """

    place: list[int]
    text: str
    det: float
    rec: float
    characters: Tensor
    total: float = 0.0
    tokens: int = 1


class Recipe(NamedTuple):
    """Training options of a reader.

    Attributes:
        order: of the words in the training sequence, "random" or "raster".
        eos_weight: loss weight of the token that ends a sequence.
        official: use the published loss; see MODEL.SPTS.LOSS.OFFICIAL.
    """

    order: str
    eos_weight: float
    official: bool


class Reader:
    """Base class of the two decoding schemes.

    Args:
        decoder: the transformer decoder, a sub-module of the model.
        vocabulary: its tokens.
        layout: of its sequences.
        recipe: training options.
        eos_bias: added at inference to the logit of the token that ends a sequence.
        loop_score: see `Grammar`.
    """

    def __init__(
        self,
        decoder: TokenDecoder,
        vocabulary: Vocabulary,
        layout: Layout,
        recipe: Recipe,
        eos_bias: float = 0.0,
        loop_score: float = LOOP_SCORE,
    ):
        self.decoder, self.vocabulary, self.layout = decoder, vocabulary, layout
        self.recipe, self.eos_bias, self.loop_score = recipe, eos_bias, loop_score

    def loss(self, memory: Memory, words: Sequence[TokenizedWords]) -> tuple[Tensor, Tensor]:
        """Loss of the words of I images, and the share of target tokens predicted correctly."""
        raise NotImplementedError

    def read(self, memory: Memory, skipped: Tensor) -> list[list[FoundWord]]:
        """Words of I images; images marked in `skipped` (I,) get none."""
        raise NotImplementedError

    def _score(self, logits: Tensor, targets: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        bins = 0 if self.recipe.official else self.vocabulary.bins
        loss = sequence_loss(logits, targets, weights, bins)
        right = (logits.argmax(-1) == targets) & (weights > 0)
        return loss, right.sum() / (weights > 0).sum().clamp(min=1)

    def _decoder(self, grammar: Grammar) -> GreedyDecoder:
        device = self.decoder.logits.weight.device
        grammar = replace(grammar.to(device), loop_score=self.loop_score)
        return GreedyDecoder(self.decoder, grammar, self.eos_bias)

    def _start(self, images: int) -> Tensor:
        """Embedding (I, 1, D) of the token that starts a sequence."""
        device = self.decoder.logits.weight.device
        tokens = torch.full((images, 1), self.vocabulary.sos, device=device)
        return self.decoder.embed(tokens, torch.zeros_like(tokens))


class SequenceReader(Reader):
    """SPTS and NPTS: all words of an image in one sequence."""

    def loss(self, memory: Memory, words: Sequence[TokenizedWords]) -> tuple[Tensor, Tensor]:
        """See `Reader.loss`."""
        recipe, device = self.recipe, self.decoder.logits.weight.device
        samples = [
            write_sample(
                w,
                self.vocabulary,
                self.layout,
                eos_weight=recipe.eos_weight,
                official=recipe.official,
            )
            for w in words
        ]
        inputs, targets, weights = (x.to(device) for x in pad_samples(samples, self.vocabulary))
        positions = torch.arange(inputs.shape[1], device=device)[None]
        states = self.decoder(self.decoder.embed(inputs, positions), positions, memory, None)
        logits = self.decoder.classify(states).flatten(0, 1)
        return self._score(logits, targets.flatten(), weights.flatten())

    def read(self, memory: Memory, skipped: Tensor) -> list[list[FoundWord]]:
        """See `Reader.read`."""
        grammar = Grammar.of_sequences(self.vocabulary, self.layout)
        choices = self._decoder(grammar).decode(memory, self._start(len(skipped)), skipped)
        return [[word for word in words if word.text] for words in split_words(choices, grammar)]


class ParallelReader(Reader):
    """SPTSv2: a sequence of points, then the texts of all points in parallel, with shared weights.

    The input of a text starts with the embedded tokens of its point, plus the decoder states that
    predicted the point.
    """

    def loss(self, memory: Memory, words: Sequence[TokenizedWords]) -> tuple[Tensor, Tensor]:
        """See `Reader.loss`."""
        decoder, device = self.decoder, self.decoder.logits.weight.device
        samples = [self._write_points(w) for w in words]
        inputs, targets, weights = (x.to(device) for x in pad_samples(samples, self.vocabulary))
        positions = torch.arange(inputs.shape[1], device=device)[None]
        states = decoder(decoder.embed(inputs, positions), positions, memory, None)
        parts = [(decoder.classify(states).flatten(0, 1), targets.flatten(), weights.flatten())]
        most = max(len(w.texts) for w in words)
        if most:
            tokens, targets, weights = (
                x.to(device)
                for x in stack_texts(words, self.vocabulary, self.layout, self.recipe.official)
            )
            logits = self._texts(tokens, states[:, : 2 * most], memory)
            parts.append((logits.flatten(0, 1), targets.flatten(), weights.flatten()))
        return self._score(*(torch.cat(x) for x in zip(*parts, strict=True)))

    def read(self, memory: Memory, skipped: Tensor) -> list[list[FoundWord]]:
        """See `Reader.read`."""
        decoder = self.decoder
        grammar = Grammar.of_points(self.vocabulary, self.layout.max_words)
        start = self._start(len(skipped))
        points = self._decoder(grammar).decode(memory, start, skipped, keep_states=True)
        assert points.states is not None
        found = split_words(points, grammar)
        most = max((len(words) for words in found), default=0)
        if most == 0:
            return found
        tokens = points.tokens[:, : 2 * most].reshape(-1, 2)
        positions = torch.arange(2, device=tokens.device)[None]
        start = decoder.embed(tokens, positions)
        start = start + points.states[:, : 2 * most].reshape(start.shape)
        absent = [k >= len(words) for words in found for k in range(most)]
        grammar = Grammar.of_text(self.vocabulary, self.layout.max_length)
        texts = self._decoder(grammar).decode(memory, start, torch.tensor(absent).to(start.device))
        read = iter(split_words(texts, grammar))
        result: list[list[FoundWord]] = []
        for words in found:
            rows = [next(read) for _ in range(most)]
            pairs = zip(words, (row[0] for row in rows[: len(words)]), strict=True)
            result.append([_join(p, t) for p, t in pairs if t.text])
        return result

    def _write_points(self, words: TokenizedWords) -> Sample:
        """Training sequence of an image's points."""
        eos, places = self.vocabulary.eos, words.places.flatten()
        trust = torch.ones(()) if self.recipe.official else words.weights[:, None]
        weights = trust * (words.places != self.vocabulary.no_location)
        return Sample(
            torch.cat([torch.tensor([self.vocabulary.sos]), places]),
            torch.cat([places, torch.tensor([eos])]),
            torch.cat([weights.flatten(), torch.tensor([self.recipe.eos_weight])]),
        )

    def _texts(self, tokens: Tensor, states: Tensor, memory: Memory) -> Tensor:
        """Logits of texts.

        Args:
            tokens: (I * N, 1 + L) x, y and all characters but the last.
            states: (I, 2 N, D) decoder states that predicted x and y.
            memory: of the images.

        Returns:
            (I * N, L, V).
        """
        positions = torch.arange(tokens.shape[1], device=tokens.device)[None]
        x = self.decoder.embed(tokens, positions)
        x = torch.cat([x[:, :2] + states.reshape(-1, 2, x.shape[2]), x[:, 2:]], dim=1)
        return self.decoder.classify(self.decoder(x, positions, memory, None)[:, 1:])


def _join(point: FoundWord, text: FoundWord) -> FoundWord:
    """A word whose point and text were decoded apart."""
    total, tokens = point.total + text.total, point.tokens + text.tokens
    return text._replace(place=point.place, det=point.det, total=total, tokens=tokens)


def stack_texts(
    words: Sequence[TokenizedWords], vocabulary: Vocabulary, layout: Layout, official: bool
) -> Sample:
    """Texts of the words of I images, padded to N rows per image; padding rows have weight 0.

    Args:
        words: of each image; at least one image has a word.
        vocabulary: the tokens.
        layout: gives the number of places of a text.
        official: every token has weight 1, padding after a text's end included.

    Returns:
        Inputs (I * N, 1 + L), targets (I * N, L) and weights (I * N, L), where L fits the
        longest text and its end token.
    """
    most = max(len(w.texts) for w in words)
    longest = max(len(text) for w in words for text in w.texts)
    length = layout.max_length if official else min(longest + 1, layout.max_length)
    tokens = torch.full((len(words), most, 2 + length), vocabulary.word_end)
    weights = torch.zeros(len(words), most, length)
    for i, w in enumerate(words):
        tokens[i, : len(w.texts), :2] = w.places
        for n, (text, trust) in enumerate(zip(w.texts, w.weights, strict=True)):
            tokens[i, n, 2 : 2 + len(text)] = torch.tensor(text)
            weights[i, n, : None if official else len(text) + 1] = 1.0 if official else trust
    tokens = tokens.flatten(0, 1)
    return Sample(tokens[:, :-1], tokens[:, 2:], weights.flatten(0, 1))


def split_words(choices: DecodedTokens, grammar: Grammar) -> list[list[FoundWord]]:
    """Split decoded tokens into words, words with empty text included.

    Returns:
        The words of each sequence.
    """
    vocabulary, first = grammar.vocabulary, grammar.coordinates
    probabilities = choices.characters.cpu()
    log_probs, mass, probs = (x.cpu() for x in (choices.log_probs, choices.mass, choices.probs))
    result = []
    for row, (tokens, length) in enumerate(
        zip(choices.tokens.tolist(), choices.lengths.tolist(), strict=True)
    ):
        words, i = [], 0
        while i < length and tokens[i] != vocabulary.eos:
            text = i + first
            end = text
            while end < i + grammar.places and tokens[end] != vocabulary.word_end:
                end += 1
            # The token that ends a word is part of it, if there is one.
            following = min(end + 1, i + grammar.places)
            certain = i + grammar.places - following if grammar.padded else 0
            known = [k for k in range(text, end) if tokens[k] != vocabulary.unknown]
            words.append(
                FoundWord(
                    place=tokens[i:text],
                    text=vocabulary.decode_text([tokens[k] for k in known]),
                    det=float(mass[row, i:text].prod() ** 0.5),
                    rec=float(log_probs[row, text:following].mean().exp())
                    if grammar.characters
                    else 1.0,
                    characters=probabilities[row, known],
                    total=float(probs[row, i:following].sum()) + certain,
                    tokens=following - i + certain,
                )
            )
            i = following
        result.append(words)
    return result
