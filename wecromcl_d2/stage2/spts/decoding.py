"""Greedy decoding of many sequences at once, each token computed once.

Letters: I images with G sequences each, R = I * G of them being decoded; M new tokens, V tokens in
the vocabulary, E tokens chosen, D channels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .grammar import Grammar, Progress
from .transformer import Memory, TokenDecoder

# Steps between checks for finished sequences; each check synchronises the GPU.
STEPS_PER_CHECK = 8


@dataclass
class DecodedTokens:
    """The decoded tokens of I * G sequences, without the padding of texts.

    Attributes:
        tokens: (I * G, E) int64.
        log_probs: (I * G, E) float32 of the tokens, among those that the grammar allows.
        probs: (I * G, E) float32 probabilities of the tokens among all tokens.
        mass: (I * G, E) float32 probability of the token's neighbourhood, for coordinates.
        characters: (I * G, E, C) float32 probabilities of all characters, at the places of text.
        states: (I * G, E, D) decoder states from which the tokens were chosen; None unless asked.
        lengths: (I * G,) number of tokens chosen.
    """

    tokens: Tensor
    log_probs: Tensor
    probs: Tensor
    mass: Tensor
    characters: Tensor
    states: Tensor | None
    lengths: Tensor


class GreedyDecoder:
    """Greedy decoding: in each step the most probable token that the grammar allows.

    All sequences advance in each step, each at its own position. The padding of a text that has
    ended enters the decoder together with the next token, in one step. Finished sequences are
    removed once half of the batch is finished.

    Args:
        decoder: the network.
        grammar: the rules.
        eos_bias: added to the logit of the token that ends a sequence.
    """

    def __init__(self, decoder: TokenDecoder, grammar: Grammar, eos_bias: float = 0.0):
        self.decoder, self.grammar, self.eos_bias = decoder, grammar, eos_bias

    @torch.no_grad()
    def decode(
        self, memory: Memory, start: Tensor, skipped: Tensor, *, keep_states: bool = False
    ) -> DecodedTokens:
        """Decode until all sequences are done.

        Args:
            memory: of I images.
            start: (I * G, M, D) embedded first tokens of each sequence; G sequences in a row belong
                to one image.
            skipped: (I * G,) bool, sequences that are not decoded.
            keep_states: return the decoder's states.
        """
        run = _Run(self, memory, start, skipped, keep_states)
        while run.step():
            pass
        return run.choices

    def choose(self, logits: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
        """Pick tokens.

        Args:
            logits: (R, V).
            place: (R,) places in the word.

        Returns:
            (R,) tokens, and (R, V) log-probabilities under the grammar.
        """
        logits = logits.float()
        if self.eos_bias:
            logits[:, self.grammar.vocabulary.eos] += self.eos_bias
        allowed = self.grammar.allowed[place]
        log_probs = logits.masked_fill(~allowed, -torch.inf).log_softmax(-1)
        return log_probs.argmax(-1), log_probs


class _Run:
    """One call of `decode`."""

    def __init__(
        self,
        rules: GreedyDecoder,
        memory: Memory,
        start: Tensor,
        skipped: Tensor,
        keep_states: bool,
    ):
        total, device = len(start), start.device
        self.rules, self.memory = rules, memory
        self.grammar = rules.grammar
        self.images, self.group = len(memory.keys[0]), total // max(1, len(memory.keys[0]))
        self.rows = torch.arange(total, device=device)
        self.progress = Progress.start(skipped)
        most = self.grammar.max_tokens
        # Most tokens of a sequence, its beginning included.
        self.room = min(start.shape[1] + most, rules.decoder.position_embedding.num_embeddings)
        self.cache = rules.decoder.new_cache(total, self.room, memory)
        self.lengths = torch.zeros(total, dtype=torch.long, device=device)
        self.longest = 0
        self.x = start
        self.counts = torch.full((total,), start.shape[1], device=device)
        self.steps = 0
        # On a CPU a check needs no synchronisation.
        self.checks_always = device.type == "cpu"
        vocabulary = self.grammar.vocabulary
        characters = len(vocabulary.charset) if self.grammar.characters else 0
        self.choices = DecodedTokens(
            torch.zeros(total, most, dtype=torch.long, device=device),
            torch.zeros(total, most, device=device),
            torch.zeros(total, most, device=device),
            torch.zeros(total, most, device=device),
            torch.zeros(total, most, characters, device=device),
            start.new_zeros(total, most, start.shape[2]) if keep_states else None,
            torch.zeros(total, dtype=torch.long, device=device),
        )

    def step(self) -> bool:
        """Choose a token for every sequence; false when all are done."""
        if (self.checks_always or self.steps % STEPS_PER_CHECK == 0) and not self._check_finished():
            return False
        decoder, progress = self.rules.decoder, self.progress
        states = self._read()
        logits = decoder.classify(states)
        tokens, log_probs = self.rules.choose(logits, progress.place)
        probs = logits.float().softmax(-1).gather(1, tokens[:, None])[:, 0]
        chosen = log_probs.gather(1, tokens[:, None])[:, 0]
        mass = self.grammar.coordinate_mass(log_probs, tokens)
        self._record(states, tokens, log_probs, chosen, probs, mass)
        active = ~progress.done
        self.lengths = self.lengths + self.counts * active
        self.progress, repeats = self.grammar.advance(progress, tokens, chosen, mass)
        self.counts = repeats.masked_fill(self.progress.done, 1)
        width = int(self.counts.max()) if self.checks_always else self.grammar.widest_step
        positions = self._positions(width)
        self.x = decoder.embed(tokens[:, None].expand(-1, width), positions)
        self.steps += 1
        return True

    def _positions(self, width: int) -> Tensor:
        """(R, M) places of the next tokens; those beyond a sequence's own count are not used."""
        places = self.lengths[:, None] + torch.arange(width, device=self.lengths.device)
        return places.clamp(max=self.room - 1)

    def _read(self) -> Tensor:
        """(R, D) states after the tokens that were chosen last."""
        width = self.x.shape[1]
        self.longest += width
        self.cache.reserve(min(self.longest, self.room))
        states = self.rules.decoder(self.x, self._positions(width), self.memory, self.cache)
        index = (self.counts - 1)[:, None, None].expand(-1, 1, states.shape[2])
        return states.gather(1, index)[:, 0]

    def _record(
        self,
        states: Tensor,
        tokens: Tensor,
        log_probs: Tensor,
        chosen: Tensor,
        probs: Tensor,
        mass: Tensor,
    ) -> None:
        choices, vocabulary = self.choices, self.grammar.vocabulary
        place = self.rows, choices.lengths[self.rows]
        choices.tokens[place] = tokens
        choices.log_probs[place] = chosen
        choices.probs[place] = probs
        choices.mass[place] = mass
        if self.grammar.characters:
            characters = slice(vocabulary.first_character, vocabulary.unknown)
            choices.characters[place] = log_probs[:, characters].exp()
        if choices.states is not None:
            choices.states[place] = states
        choices.lengths[self.rows] += ~self.progress.done

    def _check_finished(self) -> bool:
        """Remove finished sequences if they are at least half; false if all are finished."""
        done = self.progress.done.view(self.images, self.group)
        left = (~done).sum(1)
        most = int(left.max()) if len(left) else 0
        if most == 0:
            return False
        images = left > 0
        if 2 * int(images.sum()) * most <= len(self.rows):
            # In each remaining image, unfinished sequences come first.
            kept = images.nonzero()[:, 0]
            columns = done[kept].long().argsort(dim=1, stable=True)[:, :most]
            self._select(kept, (kept[:, None] * self.group + columns).flatten())
            self.images, self.group = len(kept), most
        self.longest = int(self.lengths.max())
        return True

    def _select(self, images: Tensor, rows: Tensor) -> None:
        if len(images) < self.images:
            self.memory = self.memory.select(images)
        self.progress = self.progress.select(rows)
        self.cache.select(rows)
        self.rows, self.lengths = self.rows[rows], self.lengths[rows]
        self.x, self.counts = self.x[rows], self.counts[rows]
