"""IFL: implicit localisation, places read off the attention of a reader trained without points.

Our realisation of the idea that the name describes; the system itself is not public.

Letters: Q words of an image, T tokens, S = h * w cells, D channels.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.structures import Instances
from torch import Tensor, nn

from wecromcl_d2.data.text import Charset, TextList
from wecromcl_d2.layers.image_batch import original_size
from wecromcl_d2.stage1.peaks import PeakDecoder, no_anchors
from wecromcl_d2.stage2 import SPTS
from wecromcl_d2.stage2.spts.transformer import Memory


@META_ARCH_REGISTRY.register()
class AttentionSPTS(SPTS):
    """NPTS that is asked where given words are; trained and measured as an anchor detector is.

    It learns to write the queries of an image in any order. A word is located by the last layer's
    attention to the image while the word is written as the first one. Needs MODEL.SPTS.POINTS
    False and TEST.RETRIEVAL.NUM_NEGATIVES 0, as it has no similarity of words and images.

    Args:
        peak_window: see `PeakDecoder.window`.
        anchor: see `PeakDecoder.anchor`.
        anchor_distance: see `PeakDecoder.distance`.
        **parts: see `SPTS`.
    """

    @configurable
    def __init__(self, *, peak_window: int, anchor: str, anchor_distance: float, **parts: Any):
        super().__init__(**parts)
        self.decode_peaks = PeakDecoder(self.stride, peak_window, "first", anchor, anchor_distance)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        """`SPTS`'s parts and the rule of MODEL.WECROMCL that turns maps into points."""
        keys = cfg.MODEL.WECROMCL
        own = {"peak_window": keys.PEAK_WINDOW, "anchor": keys.ANCHOR}
        return {**super().from_config(cfg), **own, "anchor_distance": keys.ANCHOR_DISTANCE}

    @property
    def charset(self) -> Charset:
        """The alphabet of the words."""
        return self.vocabulary.charset

    def forward(self, batched_inputs: list[dict[str, Any]]) -> Any:
        """Losses in training, anchors otherwise; the inputs are those of `WeCromCL.forward`."""
        if self.training:
            batched_inputs = [
                x | {"instances": words_without_points(x["queries"], x["image"].shape[-2:])}
                for x in batched_inputs
            ]
        return super().forward(batched_inputs)

    @torch.no_grad()
    def inference(self, batched_inputs: list[dict[str, Any]]) -> list[dict[str, Instances]]:
        """Locate the given transcriptions, see `WeCromCL.inference`."""
        return [{"instances": self._locate(x)} for x in batched_inputs]

    def _locate(self, x: dict[str, Any]) -> Instances:
        image_size, input_size = original_size(x), x["image"].shape[-2:]
        texts = [text for text in x["texts"] if self.charset.normalize(text)]
        if not texts:
            return no_anchors(image_size, self.device)
        keys = [self.charset.key(text, self.layout.max_length) for text in texts]
        maps = self.attention_maps(x, keys)
        found = self.decode_peaks.cut(maps, maps.flatten(1).amax(1), input_size)
        return self.decode_peaks([found], texts, keys, input_size, image_size)

    def attention_maps(self, x: dict[str, Any], words: Sequence[str]) -> Tensor:
        """(Q, h, w) maps of the words, each non-negative with sum one.

        The attention of the last layer, averaged over its heads and the word's characters.
        """
        images = self.preprocess_images([x])
        memory = self.decoder.remember(*self.encode_images(images))
        tokens = [self.vocabulary.encode_text(word, self.layout.max_length) for word in words]
        longest = max(map(len, tokens))
        inputs = torch.full((len(words), longest), self.vocabulary.padding, device=self.device)
        # The token before a character is the one that predicts it.
        for row, own in zip(inputs, tokens, strict=True):
            row[: len(own)] = torch.tensor([self.vocabulary.sos, *own[:-1]])
        positions = torch.arange(longest, device=self.device)[None]
        _, attention = with_attention(
            self.decoder.layers[-1],
            memory,
            lambda: self.decoder(self.decoder.embed(inputs, positions), positions, memory, None),
        )
        attention = attention.mean(1)
        lengths = torch.tensor([len(own) for own in tokens], device=self.device)
        written = positions < lengths[:, None]
        maps = (attention * written[..., None]).sum(1) / lengths[:, None]
        height, width = (side // self.stride for side in images.tensor.shape[-2:])
        return maps.unflatten(1, (height, width))


def with_attention(
    layer: nn.Module, memory: Memory, run: Callable[[], Tensor]
) -> tuple[Tensor, Tensor]:
    """What a decoder gives, and how its last layer looks at the image meanwhile.

    Args:
        layer: the last `DecoderLayer`.
        memory: of the images.
        run: of the decoder, on R sequences of T tokens.

    Returns:
        The result of `run`, and the attention (R, heads, T, S).
    """
    queries: list[Tensor] = []
    hook = layer.get_submodule("cross_attention.q").register_forward_hook(
        lambda module, args, output: queries.append(output)
    )
    try:
        result = run()
    finally:
        hook.remove()
    heads, width = memory.keys[-1].shape[1], memory.keys[-1].shape[3]
    query = queries[0].unflatten(-1, (heads, width)).transpose(1, 2)
    logits = query @ memory.keys[-1].transpose(-1, -2) / math.sqrt(width)
    if memory.seen is not None:
        logits = logits.masked_fill(~memory.seen, -math.inf)
    return result, logits.softmax(-1)


def words_without_points(texts: Sequence[str], image_size: tuple[int, int]) -> Instances:
    """Words as the readers of stage 2 take them, none of which has a place."""
    words = Instances(image_size)
    words.gt_texts = TextList(texts)
    words.gt_points = torch.zeros(len(texts), 2)
    words.gt_point_weights = torch.zeros(len(texts))
    words.gt_located = torch.zeros(len(texts), dtype=torch.bool)
    words.gt_ignore = torch.zeros(len(texts), dtype=torch.bool)
    return words
