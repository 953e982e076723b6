"""The published arithmetic in plain PyTorch, written apart from the product, to compare with.

It takes weights under their published names, decodes one image at a time, and in each step runs the
whole sequence again, projections of the image included.
"""

import math

import torch
import torch.nn.functional as F


class PlainSPTS:
    """Transformer and classifier of SPTS, or decoder of SPTSv2, for weights by published name."""

    def __init__(self, weights, heads):
        self.weights, self.heads = weights, heads

    def linear(self, name, x):
        return F.linear(x, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])

    def norm(self, name, x):
        shape = x.shape[-1:]
        return F.layer_norm(x, shape, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])

    def attention(self, name, query, key, value, mask=None, padding=None):
        """The library's own attention; sequences first: (T, D), (S, D)."""
        out, _ = F.multi_head_attention_forward(
            query[:, None],
            key[:, None],
            value[:, None],
            query.shape[-1],
            self.heads,
            self.weights[f"{name}.in_proj_weight"],
            self.weights[f"{name}.in_proj_bias"],
            None,
            None,
            False,
            0.0,
            self.weights[f"{name}.out_proj.weight"],
            self.weights[f"{name}.out_proj.bias"],
            training=False,
            key_padding_mask=None if padding is None else padding[None],
            need_weights=True,
            attn_mask=mask,
        )
        return out[:, 0]

    def feedforward(self, name, x):
        return self.linear(f"{name}.linear2", self.linear(f"{name}.linear1", x).relu())

    def layers(self, stem):
        count = 0
        while f"{stem}.{count}.linear1.weight" in self.weights:
            yield f"{stem}.{count}"
            count += 1

    def encode(self, cells, position, padding=None):
        """(S, D) cells -> (S, D) memory; `padding` is True where there is nothing."""
        x = cells
        for name in self.layers("transformer.encoder.layers"):
            y = self.norm(f"{name}.norm1", x)
            placed = y + position
            x = x + self.attention(f"{name}.self_attn", placed, placed, y, padding=padding)
            x = x + self.feedforward(name, self.norm(f"{name}.norm2", x))
        return self.norm("transformer.encoder.norm", x)

    def embed(self, tokens):
        stem = "transformer.embedding"
        x = self.weights[f"{stem}.word_embeddings.weight"][tokens]
        x = x + self.weights[f"{stem}.position_embeddings.weight"][: len(tokens)]
        return self.norm(f"{stem}.LayerNorm", x)

    def decode(self, x, memory, position, padding=None):
        """(T, D) embedded tokens -> (T, D) states."""
        count = len(x)
        place = self.weights["transformer.embedding.position_embeddings.weight"][:count]
        mask = torch.full((count, count), -math.inf).triu(1)
        for name in self.layers("transformer.decoder.layers"):
            y = self.norm(f"{name}.norm1", x)
            x = x + self.attention(f"{name}.self_attn", y + place, y + place, y, mask=mask)
            query = self.norm(f"{name}.norm2", x) + place
            x = x + self.attention(
                f"{name}.multihead_attn", query, memory + position, memory, padding=padding
            )
            x = x + self.feedforward(name, self.norm(f"{name}.norm3", x))
        return self.norm("transformer.decoder.norm", x)

    def classify(self, x):
        x = self.linear("vocab_embed.layers.0", x).relu()
        return self.linear("vocab_embed.layers.2", self.linear("vocab_embed.layers.1", x).relu())

    @torch.no_grad()
    def generate(self, start, memory, position, padding, rule, most):
        """Decode one image greedily.

        Args:
            start: (M, D) what the sequence begins with; None for the token that `rule` gives.
            memory: (S, D).
            position: (S, D).
            padding: (S,) bool.
            rule: tokens so far -> bool (V,) of those allowed next, or None at the end.
            most: tokens at most.

        Returns:
            Tokens, masked logits of each, and states that gave them.
        """
        tokens, logits, states = [], [], []
        while len(tokens) < most and (allowed := rule(tokens)) is not None:
            state = self.decode(self.prefix(start, tokens), memory, position, padding)[-1]
            masked = self.classify(state[None])[0].masked_fill(~allowed, -math.inf)
            tokens.append(int(masked.argmax()))
            logits.append(masked)
            states.append(state)
        return tokens, logits, states

    def prefix(self, start, tokens):
        """Embedded start and tokens; a start of M places shifts those of the tokens."""
        stem = "transformer.embedding"
        if not tokens:
            return start
        words = self.weights[f"{stem}.word_embeddings.weight"][tokens]
        places = self.weights[f"{stem}.position_embeddings.weight"]
        x = self.norm(f"{stem}.LayerNorm", words + places[len(start) : len(start) + len(tokens)])
        return torch.cat([start, x])


def sequence_rule(vocabulary, places, coordinates, padded, max_words):
    """What may follow, told from the whole sequence so far."""
    size = len(vocabulary)
    end, eos = vocabulary.word_end, vocabulary.eos

    def rule(tokens):
        if tokens and tokens[-1] == eos:
            return None
        words, word = 0, []
        for token in tokens:
            word.append(token)
            closed = len(word) == places if padded else word[-1] == end
            if closed or (not padded and places == coordinates and len(word) == places):
                words, word = words + 1, []
        if words == max_words:
            return None
        allowed = torch.zeros(size, dtype=torch.bool)
        characters = places - coordinates - (not padded)
        if len(word) < coordinates:
            allowed[: vocabulary.bins] = True
        elif end in word or len(word) == coordinates + characters:
            allowed[end] = True
        else:
            allowed[vocabulary.first_character : end] = True
            allowed[end] = bool(word) or coordinates > 0
        allowed[eos] = not word
        return allowed

    return rule
