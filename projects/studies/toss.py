"""TOSS: learned queries that are matched with the words of an image by reading alone.

Our realisation of the idea that the name describes: set prediction from transcriptions, without any
position in training.

Letters: I images, N queries of an image, L places for characters of a query, M words of an image,
V tokens in the vocabulary, D channels, S = h * w cells.
"""

from collections.abc import Sequence
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.structures import Instances
from torch import Tensor

from wecromcl_d2.layers.image_batch import original_size
from wecromcl_d2.stage1.peaks import PeakDecoder
from wecromcl_d2.stage2 import SPTS
from wecromcl_d2.stage2.spts.output import to_instances
from wecromcl_d2.stage2.spts.readers import FoundWord
from wecromcl_d2.stage2.spts.sequence import collect_words
from wecromcl_d2.stage2.spts.transformer import Memory, TokenDecoder
from wecromcl_d2.stage2.spts.vocabulary import Vocabulary

from .ifl import with_attention


class QueryDecoder(TokenDecoder):
    """Decoder of all places of all queries at once, each of which attends to all others.

    A place begins as a learned vector in place of a token.

    Args:
        queries: N.
        length: L.
        **parts: see `TokenDecoder`.
    """

    def __init__(self, *, queries: int, length: int, **parts: Any):
        super().__init__(positions=queries * length, **parts)
        del self.token_embedding
        self.queries, self.length = queries, length

    def read_queries(self, memory: Memory) -> Tensor:
        """States (I, N * L, D) of I images."""
        places = self.position_embedding.weight[None]
        x = self.dropout(self.embedding_norm(places)).expand(len(memory.keys[0]), -1, -1)
        everywhere = torch.ones(1, 1, 1, 1, dtype=torch.bool, device=x.device)
        for i, layer in enumerate(self.layers):
            parts = (memory.keys[i], memory.values[i], memory.seen)
            x = layer(x, places, everywhere, lambda keys, values: (keys, values), *parts)
        return self.norm(x)


@META_ARCH_REGISTRY.register()
class TOSS(SPTS):
    """Spotter trained on transcriptions alone, each query of which reads one word or none.

    In training the words of an image are assigned to queries so that they are read best. A word is
    located where the last layer looks while it is read. Needs MODEL.SPTS.POINTS False. There are
    MODEL.SPTS.MAX_WORDS queries; MODEL.SPTS.LOSS.EOS_WEIGHT is the weight of one without a word.

    Args:
        peak_window: see `PeakDecoder.window`.
        anchor: see `PeakDecoder.anchor`.
        **parts: see `SPTS`.
    """

    decoder: QueryDecoder

    @configurable
    def __init__(self, *, peak_window: int, anchor: str, **parts: Any):
        super().__init__(**parts)
        self.decode_peaks = PeakDecoder(self.stride, peak_window, "first", anchor, 0)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        """`SPTS`'s parts with a `QueryDecoder`, and the rule that turns maps into points."""
        keys, parts = cfg.MODEL.SPTS, super().from_config(cfg)
        parts["decoder"] = QueryDecoder(
            queries=keys.MAX_WORDS,
            length=keys.MAX_LENGTH + 1,
            tokens=len(parts["vocabulary"]),
            width=keys.WIDTH,
            heads=keys.HEADS,
            layers=keys.DECODER_LAYERS,
            feedforward=keys.FEEDFORWARD,
            dropout=keys.DROPOUT,
        )
        rule = {"peak_window": cfg.MODEL.WECROMCL.PEAK_WINDOW, "anchor": cfg.MODEL.WECROMCL.ANCHOR}
        return {**parts, **rule}

    def forward(self, batched_inputs: list[dict[str, Any]]) -> Any:
        """`loss_reading` in training, words otherwise; the inputs are those of `SPTS.forward`."""
        if not self.training:
            return self.inference(batched_inputs)
        words = [
            collect_words(x["instances"], self.vocabulary, self.layout).texts
            for x in batched_inputs
        ]
        images = self.preprocess_images(batched_inputs)
        memory = self.decoder.remember(*self.encode_images(images))
        log_probs = self.log_probs(self.decoder.read_queries(memory))
        rows = [self.write_targets(*pair) for pair in zip(log_probs.detach(), words, strict=True)]
        targets, weights = (torch.stack(values) for values in zip(*rows, strict=True))
        chosen = log_probs.gather(3, targets[..., None])[..., 0]
        return {"loss_reading": -(chosen * weights).sum() / weights.sum()}

    def log_probs(self, states: Tensor) -> Tensor:
        """(I, N, L, V) of the tokens at all places, from the decoder's states."""
        logits = self.decoder.classify(states).float().log_softmax(-1)
        return logits.unflatten(1, (self.decoder.queries, self.decoder.length))

    def write_targets(
        self, log_probs: Tensor, words: Sequence[Sequence[int]]
    ) -> tuple[Tensor, Tensor]:
        """What the queries of an image have to read.

        Args:
            log_probs: (N, L, V).
            words: M character tokens each, at most N of at most L - 1 characters.

        Returns:
            Tokens (N, L): a word and its end, or at the first place the end of a sequence, where
            there is no word; and their weights (N, L), 0 behind the end.
        """
        targets = torch.full(log_probs.shape[:2], self.vocabulary.word_end)
        targets[:, 0] = self.vocabulary.eos
        weights = torch.zeros(targets.shape)
        weights[:, 0] = self.recipe.eos_weight
        tokens, read = pad_words(words, self.vocabulary, self.decoder.length)
        for m, n in enumerate(match_words(log_probs, tokens, read)):
            targets[n], weights[n] = tokens[m], read[m].float()
        return targets.to(log_probs.device), weights.to(log_probs.device)

    @torch.no_grad()
    def inference(self, batched_inputs: list[dict[str, Any]]) -> list[dict[str, Instances]]:
        """What each query reads, however unlikely it is, and where; see `SPTS.inference`."""
        return [{"instances": self._read(x)} for x in batched_inputs]

    def _read(self, x: dict[str, Any]) -> Instances:
        size, (height, width) = original_size(x), x["image"].shape[-2:]
        images = self.preprocess_images([x])
        memory = self.decoder.remember(*self.encode_images(images))
        states, attention = with_attention(
            self.decoder.layers[-1], memory, lambda: self.decoder.read_queries(memory)
        )
        probs = self.log_probs(states)[0].exp()
        words, lengths = read_words(probs, self.vocabulary)
        found = to_instances(words, size, self.vocabulary, 0)
        # The map of a word is the mean of those of its characters.
        places = torch.arange(self.decoder.length, device=probs.device)
        written = (places < lengths[:, None]) / lengths[:, None]
        own = attention[0].mean(0).unflatten(0, written.shape)
        grid = [side // self.stride for side in images.tensor.shape[-2:]]
        maps = (own * written[..., None]).sum(1).unflatten(1, grid)
        peaks = self.decode_peaks.cut(maps, found.scores.to(maps.device), (height, width))
        points, _ = self.decode_peaks.find(peaks, 1)
        limits = points.new_tensor([size[1], size[0]], dtype=torch.float64)
        scale = limits / limits.new_tensor([width, height])
        found.pred_points = torch.minimum(points[:, 0].double() * self.stride * scale, limits)
        return found


def pad_words(
    words: Sequence[Sequence[int]], vocabulary: Vocabulary, length: int
) -> tuple[Tensor, Tensor]:
    """Tokens (M, L) of words and the ends behind them, and which of them are read, (M, L) bool."""
    tokens = torch.full((len(words), length), vocabulary.word_end)
    for row, word in zip(tokens, words, strict=True):
        row[: len(word)] = torch.tensor(word)
    lengths = torch.tensor([len(word) for word in words], dtype=torch.long)
    return tokens, torch.arange(length) <= lengths[:, None]


def match_words(log_probs: Tensor, tokens: Tensor, read: Tensor) -> list[int]:
    """For each word of an image another query, so that the mean loss of reading is least.

    Args:
        log_probs: (N, L, V) of the queries.
        tokens: (M, L) of the words, see `pad_words`.
        read: (M, L), likewise.
    """
    # Imported here: every command of a study imports this package, and only TOSS needs it.
    from scipy.optimize import linear_sum_assignment

    places = torch.arange(tokens.shape[1])
    own = log_probs.cpu()[:, places, tokens]  # (N, M, L)
    cost = -(own * read).sum(2) / read.sum(1)
    _, queries = linear_sum_assignment(cost.T.numpy())
    return queries.tolist()


def read_words(probs: Tensor, vocabulary: Vocabulary) -> tuple[list[FoundWord], Tensor]:
    """The most probable word of each query, of one character at least.

    Args:
        probs: (N, L, V); the last place is that of an end.
        vocabulary: of the tokens.

    Returns:
        Words without a place, whose confidence is the geometric mean over characters and end; and
        their lengths (N,).
    """
    first, end = vocabulary.first_character, vocabulary.word_end
    characters = probs[..., first : vocabulary.unknown]
    best, tokens = characters.max(-1)
    ends = probs[..., end] > best
    ends[:, 0], ends[:, -1] = False, True
    lengths = ends.long().argmax(1)
    words = []
    for n, length in enumerate(lengths.tolist()):
        chosen = torch.cat([best[n, :length], probs[n, length, end][None]])
        text = vocabulary.decode_text((tokens[n, :length] + first).tolist())
        confidence = float(chosen.clamp(min=1e-12).log().mean().exp())
        words.append(FoundWord([], text, 1.0, confidence, characters[n, :length].cpu()))
    return words, lengths
