"""WeCromCL, stage 1: finds the anchor point of each transcription of an image.

Letters: N images, Q texts per image, K negatives per image, U distinct texts, D channels of a
text feature, C channels of the fused map, H x W cells.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.data.detection_utils import convert_image_to_rgb
from detectron2.modeling import META_ARCH_REGISTRY, Backbone, build_backbone
from detectron2.structures import ImageList
from detectron2.utils import comm
from detectron2.utils.events import get_event_storage, has_event_storage
from torch import Tensor, nn
from torch.distributed.nn.functional import all_gather

from ..data.text import Charset
from ..layers.charset_state import CharsetState
from ..layers.image_batch import (
    ImageModel,
    check_finite,
    check_pyramid,
    original_size,
    scale_image,
)
from ..layers.image_encoder import ImageEncoder
from ..visualizer import WordView, draw_activation
from .activation import TextActivation
from .losses import cosine_similarity, image_to_text_loss, text_to_image_loss
from .peaks import PeakDecoder, ScaleMaps, find_peaks, no_anchors
from .text_cache import WordCache
from .text_encoder import build_charset, build_text_encoder


@dataclass(frozen=True)
class _BatchTexts:
    """The texts of a training batch, over all processes.

    Attributes:
        features: (U, D) the M queries of all processes first, then this process's distinct texts.
        compared: (N, M + K) rows of `features` that each image is compared with: all queries, then
            the image's negatives.
        own: which of the M queries come from this process's images.
        owner: (M,) index of the image, among those of all processes, that each query comes from.
    """

    features: Tensor
    compared: Tensor
    own: slice
    owner: Tensor


@META_ARCH_REGISTRY.register()
class WeCromCL(ImageModel):
    """Anchor detector trained from images and their transcriptions alone.

    Args:
        backbone: gives the levels that `image_encoder` fuses.
        image_encoder: backbone levels -> fused map.
        text_encoder: labels (U, L) -> features (U, D).
        charset: transcription -> labels.
        max_length: characters L of a label sequence.
        embed_dim: channels D; must equal the text encoder's.
        temperature: start value of the learned temperature tau.
        mask_padding: keep padding cells out of the maps.
        peak_window: see `PeakDecoder.window`.
        peak_ties: see `PeakDecoder.ties`.
        anchor: see `PeakDecoder.anchor`.
        anchor_distance: see `PeakDecoder.distance`.
        peak_candidates: see `ScaleMaps.candidates`; 1 for none.
        pyramid: scales of the image at inference, as factors of the network input's sides.
        pixel_mean: per channel, in the units of the input image.
        pixel_std: per channel.
        size_divisibility: input sides are padded to a multiple of this.
        input_format: colour order of the images, for drawings of them.
        vis_period: iterations between drawings of maps in the event storage, 0 for never.

    Raises:
        ValueError: if `embed_dim` differs from the text encoder's width, or for an unknown choice.
    """

    stride: int

    @configurable
    def __init__(
        self,
        *,
        backbone: Backbone,
        image_encoder: ImageEncoder,
        text_encoder: nn.Module,
        charset: Charset,
        max_length: int,
        embed_dim: int,
        temperature: float,
        mask_padding: bool,
        peak_window: int,
        peak_ties: str,
        anchor: str,
        anchor_distance: float,
        peak_candidates: int = 1,
        pyramid: Sequence[float] = (1.0,),
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        size_divisibility: int,
        input_format: str = "RGB",
        vis_period: int = 0,
    ):
        super().__init__(pixel_mean, pixel_std, (size_divisibility, backbone.size_divisibility))
        if text_encoder.out_channels != embed_dim:
            raise ValueError(
                f"MODEL.WECROMCL.EMBED_DIM is {embed_dim}, but the text encoder gives "
                f"{text_encoder.out_channels} channels; make them equal"
            )
        self.backbone = backbone
        self.image_encoder = image_encoder
        self.text_encoder = text_encoder
        self.activation = TextActivation(in_channels=image_encoder.out_channels, channels=embed_dim)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / temperature)))
        self.charset, self.max_length = charset, max_length
        self.charset_state = CharsetState(charset)
        self.mask_padding = mask_padding
        self.stride = image_encoder.stride
        self.decode_peaks = PeakDecoder(
            self.stride, peak_window, peak_ties, anchor, anchor_distance
        )
        if peak_candidates < 1:
            raise ValueError(
                f"MODEL.WECROMCL.PEAK_CANDIDATES must be 1 or more, not {peak_candidates}"
            )
        self.peak_candidates = peak_candidates
        check_pyramid("MODEL.WECROMCL.PYRAMID", pyramid)
        self.pyramid = tuple(pyramid)
        self.input_format, self.vis_period = input_format, vis_period
        self.word_cache = WordCache((self.text_encoder, self.activation))

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        """Build the parts that the config names."""
        backbone = build_backbone(cfg)
        return {
            "backbone": backbone,
            "image_encoder": ImageEncoder(cfg, backbone.output_shape()),
            "text_encoder": build_text_encoder(cfg),
            "charset": build_charset(cfg),
            "max_length": cfg.MODEL.TEXT_ENCODER.MAX_LENGTH,
            "embed_dim": cfg.MODEL.WECROMCL.EMBED_DIM,
            "temperature": cfg.MODEL.WECROMCL.TEMPERATURE,
            "mask_padding": cfg.MODEL.WECROMCL.MASK_PADDING,
            "peak_window": cfg.MODEL.WECROMCL.PEAK_WINDOW,
            "peak_ties": cfg.MODEL.WECROMCL.PEAK_TIES,
            "anchor": cfg.MODEL.WECROMCL.ANCHOR,
            "anchor_distance": cfg.MODEL.WECROMCL.ANCHOR_DISTANCE,
            "peak_candidates": cfg.MODEL.WECROMCL.PEAK_CANDIDATES,
            "pyramid": cfg.MODEL.WECROMCL.PYRAMID,
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "size_divisibility": cfg.INPUT.SIZE_DIVISIBILITY,
            "input_format": cfg.INPUT.FORMAT,
            "vis_period": cfg.VIS_PERIOD,
        }

    def forward(self, batched_inputs: list[dict[str, Any]]) -> Any:
        """Losses in training, anchors otherwise.

        Args:
            batched_inputs: one dict per image with `image`, a (3, H, W) tensor in the configured
                colour order. In training also `queries`, texts of the image that no other image of
                the batch contains, and `negatives`, K texts that the image does not contain.
                Otherwise `texts`, the image's transcriptions, `height` and `width` of the original
                image, and, to measure retrieval, `negatives`, readable texts that the image does
                not contain, and `second_scale`, a factor.

        Returns:
            In training a dict with `loss_i2t` and `loss_t2i`, otherwise what `inference` returns.
        """
        if not self.training:
            return self.inference(batched_inputs)
        feature, valid = self.encode_images(self.preprocess_images(batched_inputs))
        texts = self._encode_batch_texts(batched_inputs)
        # Always float32: sharp maps need the precision, and the encoders dominate the cost.
        with torch.autocast(self.device.type, enabled=False):
            t, feature = texts.features.float(), feature.float()
            queries = self.activation.project_queries(t)
            maps = self.activation(queries[texts.compared], feature, valid)
            pooled = self.activation.pool(maps, feature)
            similarity = cosine_similarity(pooled, t, texts.compared)
        own, owner = texts.own, texts.owner
        own_owner = owner - comm.get_rank() * len(batched_inputs)
        self._log(batched_inputs, maps[:, own], own_owner[own])
        all_images = _gather(similarity[:, : len(owner)])
        i2t = image_to_text_loss(similarity, self.logit_scale, own_owner, own)
        t2i = text_to_image_loss(all_images, self.logit_scale, owner)
        # A sum over this process's queries; the average over processes makes it the mean over all.
        i2t = i2t * (comm.get_world_size() / len(owner))
        return {"loss_i2t": i2t / 2, "loss_t2i": t2i / 2}

    def encode_images(self, images: ImageList) -> tuple[Tensor, Tensor | None]:
        """Fused maps (N, C, H, W) and their valid cells (N, H, W).

        The latter are None if there is no padding or if it is not masked.
        """
        sizes = images.image_sizes if self.mask_padding else None
        return self.image_encoder(self.backbone(images.tensor), sizes)

    def encode_texts(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Encode texts, those that read the same only once.

        Returns:
            (U, D) features of the distinct texts and, for each given text, its row among them.
        """
        keys = [self.charset.key(text, self.max_length) for text in texts]
        row = {key: i for i, key in enumerate(dict.fromkeys(keys))}
        labels = self.charset.encode(list(row), self.max_length).to(self.device)
        return self.text_encoder(labels), torch.tensor([row[key] for key in keys]).to(self.device)

    def _encode_batch_texts(self, batched_inputs: list[dict[str, Any]]) -> _BatchTexts:
        """Encode queries and negatives of this process; gather the queries of all processes."""
        num_images, num_negatives = len(batched_inputs), len(batched_inputs[0]["negatives"])
        counts = [len(x["queries"]) for x in batched_inputs]
        texts = [text for x in batched_inputs for text in x["queries"]]
        for x in batched_inputs:
            texts.extend(x["negatives"])
        distinct, index = self.encode_texts(texts)
        every_count = comm.all_gather(counts)
        start = sum(map(sum, every_count[: comm.get_rank()]))
        flat = torch.tensor([count for per_rank in every_count for count in per_rank])
        owner = torch.arange(len(flat)).repeat_interleave(flat).to(self.device)
        queries = _gather(distinct[index[: sum(counts)]])
        negatives = len(queries) + index[sum(counts) :].view(num_images, num_negatives)
        every_query = torch.arange(len(queries), device=self.device).expand(num_images, -1)
        compared = torch.cat([every_query, negatives], dim=1)
        own = slice(start, start + sum(counts))
        return _BatchTexts(torch.cat([queries, distinct]), compared, own, owner)

    def train(self, mode: bool = True) -> "WeCromCL":
        """Switch between training and evaluation; cached texts are dropped."""
        self.word_cache.clear()
        return super().train(mode)

    def _apply(self, *args: Any, **kwargs: Any) -> "WeCromCL":
        self.word_cache.clear()
        return super()._apply(*args, **kwargs)

    @torch.no_grad()
    def inference(self, batched_inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Find the anchors of the given transcriptions.

        Returns:
            For each image a dict with `instances`, one per readable text in the given order:
            `pred_points` (Q, 2), float64, in pixels of the original image, `pred_texts`, `scores`
            (Q,), the height of the peak, `peak_over_flat` (Q,), the same in units of a flat map,
            `similarity` (Q,), the cosine of region and text that training optimises (with
            `peak_candidates` that of the peak's surroundings alone), and
            `pred_maps` (Q, H, W) over the cells of the true image. A text given n times gets the n
            strongest peaks, strongest first; a peak that does not exist has score zero. Texts
            without any character of the charset are left out. With `negatives` also
            `negative_similarity`, that of each of them, with `second_scale` also `second_points`
            (Q, 2), the anchors in the image resized by that factor.

        Raises:
            FloatingPointError: if the weights give values that are not finite.
        """
        results = self.infer_by_size(batched_inputs, self._find_anchors)
        again = {
            i: _at_second_scale(x) for i, x in enumerate(batched_inputs) if "second_scale" in x
        }
        if again:
            for i, found in zip(again, self.inference(list(again.values())), strict=True):
                results[i]["second_points"] = found["instances"].pred_points
        return results

    def _find_anchors(self, inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Anchors of images of one size."""
        own = [[t for t in x["texts"] if self.charset.normalize(t)] for x in inputs]
        keys = [
            [self.charset.key(text, self.max_length) for text in (*texts, *x.get("negatives", ()))]
            for x, texts in zip(inputs, own, strict=True)
        ]
        input_size = inputs[0]["image"].shape[-2:]
        scales = (
            [self._activate(inputs, factor, keys) for factor in self.pyramid] if any(keys) else []
        )
        results: list[dict[str, Any]] = []
        for number, (x, texts) in enumerate(zip(inputs, own, strict=True)):
            image_size = original_size(x)
            maps = [scale.of_image(number, len(texts)) for scale in scales]
            instances = (
                self.decode_peaks(maps, texts, keys[number][: len(texts)], input_size, image_size)
                if texts
                else no_anchors(image_size, self.device)
            )
            results.append({"instances": instances})
            if x.get("negatives"):
                alike = torch.stack([scale.similarity[number] for scale in scales]).amax(0)
                results[-1]["negative_similarity"] = alike[len(texts) : len(keys[number])]
        return results

    def _activate(
        self, inputs: list[dict[str, Any]], factor: float, keys: Sequence[Sequence[str]]
    ) -> ScaleMaps:
        """What the model sees of texts in N images of one size at one scale.

        Args:
            inputs: N images.
            factor: of the images' sides.
            keys: texts of each image, at most Q, see `Charset.key`; the rest is padding.
        """
        images = self.preprocess_images(inputs, factor)
        feature, valid = self.encode_images(images)
        words = self.word_cache.get([k for per_image in keys for k in per_image], self.encode_words)
        queries, t = words.split([feature.shape[1], words.shape[1] - feature.shape[1]], dim=1)
        compared = _padded_rows([len(per_image) for per_image in keys]).to(self.device)
        maps = self.activation(queries[compared], feature, valid)
        check_finite(maps, "activation maps")
        rule, size = self.decode_peaks, images.image_sizes[0]
        if self.peak_candidates == 1:
            pooled = self.activation.pool(maps, feature).float()
            return rule.cut(maps.float(), cosine_similarity(pooled, t.float(), compared), size)
        maps = rule.cut_cells(maps.float(), size)
        points, scores = find_peaks(maps, self.peak_candidates, rule.window, rule.ties)
        seen = rule.cut_cells(feature, size)
        around = self.activation.pool_windows(maps, seen, points, rule.window).float()
        owner = compared.repeat_interleave(self.peak_candidates, dim=1)
        alike = cosine_similarity(around.flatten(1, 2), t.float(), owner).view(scores.shape)
        # A map may have fewer peaks; -1 is the least cosine.
        candidates = torch.where(scores > 0, alike, -1)
        return ScaleMaps(maps, candidates.amax(-1), size, candidates)

    def encode_words(self, texts: Sequence[str]) -> Tensor:
        """(U, C + D) of distinct texts: the projected query, then the text feature."""
        features, _ = self.encode_texts(texts)
        return torch.cat([self.activation.project_queries(features), features], dim=1)

    def _log(self, batched_inputs: list[dict[str, Any]], maps: Tensor, owner: Tensor) -> None:
        """Log temperature, peak height and, every `vis_period`, a drawing of one map.

        Args:
            batched_inputs: see `forward`.
            maps: (N, Q, H, W), each image's map of each of the Q queries of these images.
            owner: (Q,) index of the image that each of these queries comes from.
        """
        if not has_event_storage():
            return
        storage = get_event_storage()
        picked = maps.detach()[owner, torch.arange(len(owner), device=maps.device)]
        storage.put_scalar("temperature", (-self.logit_scale.detach()).exp())
        storage.put_scalar("peak_height", picked.flatten(1).amax(1).mean())
        if self.vis_period > 0 and storage.iter % self.vis_period == 0:
            x = batched_inputs[0]
            image = convert_image_to_rgb(x["image"].permute(1, 2, 0).cpu(), self.input_format)
            height, width = (math.ceil(s / self.stride) for s in image.shape[:2])
            glow = picked[0, :height, :width].float().cpu().numpy()
            drawing = draw_activation(image, WordView(x["queries"][0], glow))
            storage.put_image("activation", drawing.transpose(2, 0, 1))


def _at_second_scale(x: dict[str, Any]) -> dict[str, Any]:
    """An input with its image resized by its `second_scale`; no negatives."""
    kept = {key: x[key] for key in ("texts", "height", "width") if key in x}
    return kept | {"image": scale_image(x["image"], x["second_scale"])}


def _padded_rows(counts: Sequence[int]) -> Tensor:
    """(N, Q) rows of each image in a list of all images' words, padded with row 0."""
    rows = torch.arange(sum(counts)).split(list(counts))
    return nn.utils.rnn.pad_sequence(list(rows), batch_first=True)


def _gather(x: Tensor) -> Tensor:
    """Concatenate rows over ranks, rank 0 first, with gradients; ranks may differ in length."""
    if comm.get_world_size() == 1:
        return x
    lengths = comm.all_gather(len(x))
    padded = torch.cat([x, x.new_zeros(max(lengths) - len(x), *x.shape[1:])])
    return torch.cat([y[:n] for y, n in zip(all_gather(padded), lengths, strict=True)])
