"""Which tokens may follow in a sequence, and what a token changes.

A word's tokens have places, counted from 0: its coordinates, its characters, and in the compact
layout the token that ends it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .sequence import Layout
from .vocabulary import Vocabulary

# Half the width of the window of bins whose probabilities count as that of a coordinate, as a
# share of all bins: neighbours share the probability of a place.
COORDINATE_WINDOW = 0.005
# Two words running at one place with scores below this end a sequence.
LOOP_SCORE = 0.1


@dataclass
class Progress:
    """Where each of R sequences stands.

    Attributes:
        place: (R,) place in its word of the next token.
        words: (R,) finished words.
        done: (R,) bool.
        log_mass: (R,) sum of the log-probabilities of the present word's coordinates.
        log_text: (R,) sum of those of its text.
        point: (R, 2) bins of the present word.
        weak: (R, 2) bins of the word before if its score was low, else -1.
    """

    place: Tensor
    words: Tensor
    done: Tensor
    log_mass: Tensor
    log_text: Tensor
    point: Tensor
    weak: Tensor

    @classmethod
    def start(cls, done: Tensor) -> Progress:
        """Before the first word; `done` sequences never begin."""
        zeros = torch.zeros_like(done, dtype=torch.long)
        pair = zeros[:, None].expand(-1, 2)
        return cls(zeros, zeros, done, zeros.float(), zeros.float(), pair - 1, pair - 1)

    def select(self, rows: Tensor) -> Progress:
        """Keep some sequences only."""
        return Progress(**{name: value[rows] for name, value in vars(self).items()})


@dataclass(frozen=True)
class Grammar:
    """Rules of a sequence of words.

    Attributes:
        vocabulary: the tokens.
        allowed: (places, V) bool, tokens that may stand at each place of a word.
        coordinates: places before the text.
        characters: places for characters.
        padded: a word that has ended is filled up to its last place.
        max_words: words after which a sequence ends by itself.
    """

    vocabulary: Vocabulary
    allowed: Tensor
    coordinates: int
    characters: int
    padded: bool
    max_words: int

    @classmethod
    def of_sequences(cls, vocabulary: Vocabulary, layout: Layout) -> Grammar:
        """Words one after the other, until the token that ends the sequence."""
        allowed = torch.zeros(layout.places, len(vocabulary), dtype=torch.bool)
        coordinates = layout.coordinates
        allowed[:coordinates, : vocabulary.bins] = True
        allowed[coordinates:, vocabulary.first_character : vocabulary.eos] = True
        if not layout.points:
            allowed[0, vocabulary.word_end] = False
        allowed[0, vocabulary.eos] = True
        if not layout.padded:
            allowed[-1] = False
            allowed[-1, vocabulary.word_end] = True
        return cls(
            vocabulary, allowed, coordinates, layout.max_length, layout.padded, layout.max_words
        )

    @classmethod
    def of_points(cls, vocabulary: Vocabulary, max_words: int) -> Grammar:
        """Coordinates alone, until the token that ends the sequence."""
        allowed = torch.zeros(2, len(vocabulary), dtype=torch.bool)
        allowed[:, : vocabulary.bins] = True
        allowed[0, vocabulary.eos] = True
        return cls(vocabulary, allowed, 2, 0, False, max_words)

    @classmethod
    def of_text(cls, vocabulary: Vocabulary, max_length: int) -> Grammar:
        """The text of one word, which may be empty."""
        allowed = torch.zeros(max_length, len(vocabulary), dtype=torch.bool)
        allowed[:, vocabulary.first_character : vocabulary.eos] = True
        return cls(vocabulary, allowed, 0, max_length, False, 1)

    @property
    def places(self) -> int:
        """Tokens of the longest word."""
        return len(self.allowed)

    @property
    def max_tokens(self) -> int:
        """Tokens that a decoder chooses at most, the last being the end of the sequence."""
        return self.max_words * self.places + 1

    @property
    def widest_step(self) -> int:
        """Tokens that a chosen one can stand for: itself, or all padding up to the next word."""
        return self.characters if self.padded else 1

    def to(self, device: torch.device) -> Grammar:
        """The same rules on a device."""
        return Grammar(
            self.vocabulary,
            self.allowed.to(device),
            self.coordinates,
            self.characters,
            self.padded,
            self.max_words,
        )

    def coordinate_mass(self, log_probs: Tensor, tokens: Tensor) -> Tensor:
        """Probability of coordinates and their neighbours; without meaning for other tokens.

        Args:
            log_probs: (R, V).
            tokens: (R,) the chosen tokens.

        Returns:
            (R,) in [0, 1]; 1 where sequences have no coordinates.
        """
        bins = self.vocabulary.bins
        if not self.coordinates:
            return torch.ones_like(tokens, dtype=log_probs.dtype)
        reach = max(1, round(COORDINATE_WINDOW * bins))
        index = tokens[:, None] + torch.arange(-reach, reach + 1, device=tokens.device)
        inside = (index >= 0) & (index < bins)
        return (log_probs.gather(1, index.clamp(0, bins - 1)).exp() * inside).sum(1)

    def advance(
        self, progress: Progress, tokens: Tensor, log_probs: Tensor, mass: Tensor
    ) -> tuple[Progress, Tensor]:
        """Take note of the chosen tokens.

        A sequence is done at its last token, after `max_words`, and when it gives one place twice
        running with low scores, as one does that would go on for ever.

        Args:
            progress: before.
            tokens: (R,) chosen tokens.
            log_probs: (R,) their log-probabilities.
            mass: (R,) probabilities of their neighbourhood, for coordinates.

        Returns:
            The progress after, and (R,) how often the token is to be read next: more than once for
            the padding of a word that has ended.
        """
        place, eos = progress.place, tokens == self.vocabulary.eos
        is_text = place >= self.coordinates
        log_mass = progress.log_mass + mass.log().masked_fill(is_text, 0)
        log_text = progress.log_text + log_probs.masked_fill(~is_text, 0)
        axis = torch.arange(2, device=tokens.device)
        point = torch.where(axis == place[:, None], tokens[:, None], progress.point)
        stops = tokens == self.vocabulary.word_end
        ends = (stops | (place == self.places - 1)) & ~eos
        words = progress.words + ends
        done = progress.done | eos | (words >= self.max_words)
        weak = progress.weak
        if self.coordinates:
            score = word_score(log_mass, log_text, place - self.coordinates + 1)
            low = ends & (score < LOOP_SCORE)
            done = done | (low & (point == weak).all(1))
            weak = torch.where(ends[:, None], point.masked_fill(~low[:, None], -1), weak)
        after = Progress(
            torch.where(ends | eos, 0, place + 1),
            words,
            done,
            log_mass.masked_fill(ends, 0),
            log_text.masked_fill(ends, 0),
            point,
            weak,
        )
        repeats = torch.where(stops, self.places - place, 1) if self.padded else tokens.new_ones(1)
        return after, repeats.expand(len(tokens))


def word_score(log_mass: Tensor, log_text: Tensor, length: Tensor) -> Tensor:
    """Root of how sure a word's place is times how sure its text is.

    Args:
        log_mass: (R,) sum of the log-probabilities of both coordinates.
        log_text: (R,) sum of those of the text's tokens.
        length: (R,) number of those tokens; 0 if there is no text.
    """
    return (log_mass / 4 + log_text / (2 * length.clamp(min=1))).exp()
