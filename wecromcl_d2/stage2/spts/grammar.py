"""The tokens allowed at each step of decoding, and the decoding state after each token.

The place of a token is its index within its word, from 0: coordinates, characters, and in the
compact layout the token that ends the word.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .sequence import Layout
from .vocabulary import Vocabulary

# Half the width, as a share of all bins, of the window whose probabilities are summed to the
# confidence of a coordinate: the model spreads a coordinate over neighbouring bins.
COORDINATE_WINDOW = 0.005
# Two consecutive words at the same point with scores below this end a sequence.
LOOP_SCORE = 0.1


@dataclass
class Progress:
    """Decoding state of R sequences.

    Attributes:
        place: (R,) place of the next token within its word.
        words: (R,) finished words.
        done: (R,) bool.
        log_mass: (R,) sum of the log `Grammar.coordinate_mass` of the current word's coordinates.
        log_text: (R,) sum of the log-probabilities of the current word's text tokens.
        point: (R, 2) bins of the current word.
        weak: (R, 2) bins of the previous word if its score is below `LOOP_SCORE`, else -1.
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
        """State before the first word; sequences marked `done` are not decoded."""
        zeros = torch.zeros_like(done, dtype=torch.long)
        pair = zeros[:, None].expand(-1, 2)
        return cls(zeros, zeros, done, zeros.float(), zeros.float(), pair - 1, pair - 1)

    def select(self, rows: Tensor) -> Progress:
        """The state of some sequences only."""
        return Progress(**{name: value[rows] for name, value in vars(self).items()})


@dataclass(frozen=True)
class Grammar:
    """Rules of a sequence of words.

    Attributes:
        vocabulary: the tokens.
        allowed: (places, V) bool, tokens that may stand at each place of a word.
        coordinates: places before the text.
        characters: places for characters.
        padded: each word is padded to its last place.
        max_words: words after which a sequence ends without an end token.
        loop_score: score below which two consecutive words at one point end a sequence.
    """

    vocabulary: Vocabulary
    allowed: Tensor
    coordinates: int
    characters: int
    padded: bool
    max_words: int
    loop_score: float = LOOP_SCORE

    @classmethod
    def of_sequences(cls, vocabulary: Vocabulary, layout: Layout) -> Grammar:
        """Grammar of whole words until the token that ends the sequence."""
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
        """Grammar of points without text until the token that ends the sequence."""
        allowed = torch.zeros(2, len(vocabulary), dtype=torch.bool)
        allowed[:, : vocabulary.bins] = True
        allowed[0, vocabulary.eos] = True
        return cls(vocabulary, allowed, 2, 0, False, max_words)

    @classmethod
    def of_text(cls, vocabulary: Vocabulary, max_length: int) -> Grammar:
        """Grammar of the text of one word, which may be empty."""
        allowed = torch.zeros(max_length, len(vocabulary), dtype=torch.bool)
        allowed[:, vocabulary.first_character : vocabulary.eos] = True
        return cls(vocabulary, allowed, 0, max_length, False, 1)

    @property
    def places(self) -> int:
        """Tokens of the longest word."""
        return len(self.allowed)

    @property
    def max_tokens(self) -> int:
        """Largest number of decoded tokens, including the one that ends the sequence."""
        return self.max_words * self.places + 1

    @property
    def widest_step(self) -> int:
        """Most tokens that one choice adds: 1, or all padding of a word in the padded layout."""
        return self.characters if self.padded else 1

    def to(self, device: torch.device) -> Grammar:
        """The grammar with its tensors on a device."""
        return replace(self, allowed=self.allowed.to(device))

    def coordinate_mass(self, log_probs: Tensor, tokens: Tensor) -> Tensor:
        """Summed probability of the bins around each coordinate; meaningless for other tokens.

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
        """Update the state with the chosen tokens.

        A sequence is done after its end token, after `max_words`, or when two consecutive words
        have the same point and scores below `loop_score`, which stops endless repetitions.

        Args:
            progress: state before these tokens.
            tokens: (R,) chosen tokens.
            log_probs: (R,) their log-probabilities.
            mass: (R,) their `coordinate_mass`; used for coordinates only.

        Returns:
            The state after these tokens, and (R,) how many times each token is fed to the decoder:
            more than once for the padding of a finished word.
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
            low = ends & (score < self.loop_score)
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
    """Score of a word: the geometric mean of its point's and its text's confidence.

    Args:
        log_mass: (R,) sum of the log `Grammar.coordinate_mass` of both coordinates.
        log_text: (R,) sum of the log-probabilities of the text tokens.
        length: (R,) number of text tokens; 0 if there is no text.
    """
    return (log_mass / 4 + log_text / (2 * length.clamp(min=1))).exp()
