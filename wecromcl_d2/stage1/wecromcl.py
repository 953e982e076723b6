"""WeCromCL, stage 1: finds the anchor point of each transcription of an image.

Letters: N images, Q texts per image, K negatives per image, U distinct texts, D channels of a
text feature, C channels of the fused map, H x W cells.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.data.detection_utils import convert_image_to_rgb
from detectron2.modeling import META_ARCH_REGISTRY, Backbone, build_backbone
from detectron2.structures import ImageList, Instances
from detectron2.utils import comm
from detectron2.utils.events import get_event_storage, has_event_storage
from torch import Tensor, nn
from torch.distributed.nn.functional import all_gather

from ..config import check_choice
from ..data.text import Charset, TextList
from ..layers.charset_state import CharsetState
from ..layers.image_batch import ImageModel, group_by_size
from ..layers.image_encoder import ImageEncoder
from ..visualizer import draw_activation
from .activation import TextActivation, assign_distinct_peaks, find_peaks, mean_of_peaks
from .losses import cosine_similarity, image_to_text_loss, text_to_image_loss
from .text_encoder import build_charset, build_text_encoder

# Texts whose folded queries are kept at inference, and texts that are encoded at once.
MOST_TEXTS_KEPT = 2**16
TEXTS_AT_ONCE = 256
# Further peaks of a word's map that are looked at where words are placed apart.
SPARE_PEAKS = 5


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
        temperature: start value of the learned temperature.
        mask_padding: keep padding cells out of the maps.
        peak_window: side in cells of the window whose maximum a peak must be.
        peak_ties: "first" or "all", what equal cells of a window are; see `find_peaks`.
        anchor: where an anchor lies, "peak", the centre of the peak's cell, or "mean", see
            `mean_of_peaks`.
        anchor_distance: least distance in cells between the words of an image, see
            `assign_distinct_peaks`; 0 places each by itself.
        pixel_mean: per channel, in the units of the input image.
        pixel_std: per channel.
        size_divisibility: input sides are padded to a multiple of this.
        input_format: colour order of the images, for pictures of them.
        vis_period: iterations between pictures of maps in the event storage, 0 for never.

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
        if peak_window % 2 == 0:
            raise ValueError(f"MODEL.WECROMCL.PEAK_WINDOW must be odd, not {peak_window}")
        check_choice("MODEL.WECROMCL.PEAK_TIES", peak_ties, ("first", "all"))
        check_choice("MODEL.WECROMCL.ANCHOR", anchor, ("peak", "mean"))
        self.backbone = backbone
        self.image_encoder = image_encoder
        self.text_encoder = text_encoder
        self.activation = TextActivation(in_channels=image_encoder.out_channels, channels=embed_dim)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / temperature)))
        self.charset, self.max_length = charset, max_length
        self.charset_state = CharsetState(charset)
        self.mask_padding = mask_padding
        self.peak_window, self.peak_ties, self.anchor = peak_window, peak_ties, anchor
        self.anchor_distance = anchor_distance
        self.stride = image_encoder.stride
        self.input_format, self.vis_period = input_format, vis_period
        # Folded queries by text, and the state of the weights that they belong to.
        self._kept_queries: dict[str, Tensor] = {}
        self._kept_of: list[tuple[int, int]] = []

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
                Otherwise `texts`, the image's transcriptions, and `height` and `width` of
                the original image.

        Returns:
            In training a dict with `loss_i2t` and `loss_t2i`, otherwise what `inference` returns.
        """
        if not self.training:
            return self.inference(batched_inputs)
        features, valid = self.encode_images(self.preprocess_images(batched_inputs))
        num_images, counts = len(batched_inputs), [len(x["queries"]) for x in batched_inputs]
        texts = [text for x in batched_inputs for text in x["queries"]]
        for x in batched_inputs:
            texts.extend(x["negatives"])
        num_false = len(batched_inputs[0]["negatives"])
        distinct, index = self.encode_texts(texts)
        own, owner = _share_of(counts, self.device)
        queries = _gather(distinct[index[: sum(counts)]])
        table = torch.cat([queries, distinct])
        false = len(queries) + index[sum(counts) :].view(num_images, num_false)
        asked = torch.arange(len(queries), device=self.device).expand(num_images, -1)
        compared = torch.cat([asked, false], dim=1)
        # Sharp maps need the precision, and cost little beside the encoders.
        with torch.autocast(self.device.type, enabled=False):
            table, features = table.float(), features.float()
            maps = self.activation(
                self.activation.project_queries(table)[compared], features, valid
            )
            similarity = cosine_similarity(self.activation.pool(maps, features), table, compared)
        self._log(batched_inputs, maps[:, own], counts)
        square = _gather(similarity[:, : len(queries)])
        first = comm.get_rank() * num_images
        share = comm.get_world_size() / len(queries)
        i2t = image_to_text_loss(similarity, self.logit_scale, owner - first, own) * share
        t2i = text_to_image_loss(square, self.logit_scale, owner)
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
        keys = [self.charset.normalize(text)[: self.max_length] for text in texts]
        row = {key: i for i, key in enumerate(dict.fromkeys(keys))}
        labels = self.charset.encode(list(row), self.max_length).to(self.device)
        return self.text_encoder(labels), torch.tensor([row[key] for key in keys]).to(self.device)

    def cache_queries(self, texts: Sequence[str], queries: Tensor) -> None:
        """Take the folded queries of texts that the caller has encoded, for the next inference.

        They are forgotten when the weights change, like those that inference itself keeps.

        Args:
            texts: Q texts.
            queries: (Q, C), what `activation.project_queries` makes of their features.
        """
        self._forget_old_queries()
        keys = [self.charset.normalize(text)[: self.max_length] for text in texts]
        self._kept_queries.update(zip(keys, queries.to(self.device), strict=True))

    def _forget_old_queries(self) -> None:
        """Drop the kept queries if the weights that made them have changed."""
        parts = (self.text_encoder, self.activation)
        weights = [w for part in parts for w in (*part.parameters(), *part.buffers())]
        state = [(id(weight), weight._version) for weight in weights]
        if state != self._kept_of:
            self._kept_queries.clear()
            self._kept_of = state

    def _folded_queries(self, texts: Sequence[str]) -> Tensor:
        """(Q, C) folded queries of texts; those of the last texts are kept for the next images."""
        self._forget_old_queries()
        keys = [self.charset.normalize(text)[: self.max_length] for text in texts]
        new = [key for key in dict.fromkeys(keys) if key not in self._kept_queries]
        for start in range(0, len(new), TEXTS_AT_ONCE):
            some = new[start : start + TEXTS_AT_ONCE]
            features, _ = self.encode_texts(some)
            self._kept_queries.update(
                zip(some, self.activation.project_queries(features), strict=True)
            )
        queries = torch.stack([self._kept_queries[key] for key in keys])
        for key in list(self._kept_queries)[: max(0, len(self._kept_queries) - MOST_TEXTS_KEPT)]:
            del self._kept_queries[key]
        return queries

    def train(self, mode: bool = True) -> "WeCromCL":
        """Switch between training and evaluation; text features kept for inference are dropped."""
        self._kept_queries.clear()
        return super().train(mode)

    def _apply(self, *args: Any, **kwargs: Any) -> "WeCromCL":
        self._kept_queries.clear()
        return super()._apply(*args, **kwargs)

    @torch.no_grad()
    def inference(self, batched_inputs: list[dict[str, Any]]) -> list[dict[str, Instances]]:
        """Find the anchors of the given transcriptions.

        Images of one network size share a batch, so that nothing but an image's own content ever
        reaches its answer.

        Args:
            batched_inputs: see `forward`.

        Returns:
            For each image a dict with `instances`, one per readable text in the given order:
            `pred_points` (Q, 2), float64, in pixels of the original image, `pred_texts`, `scores`
            (Q,), the height of the peak, and `pred_maps` (Q, H, W) over the cells of the true
            image. A text given n times gets the n strongest peaks, strongest first; a peak that
            does not exist has score zero. Texts without any character of the charset are left out.

        Raises:
            FloatingPointError: if the weights give values that are not finite.
        """
        results: list[Any] = [None] * len(batched_inputs)
        for indices in group_by_size(batched_inputs):
            inputs = [batched_inputs[i] for i in indices]
            for i, instances in zip(indices, self._find_anchors(inputs), strict=True):
                results[i] = {"instances": instances}
        return results

    def _find_anchors(self, inputs: list[dict[str, Any]]) -> list[Instances]:
        """Anchors of images of one size."""
        images = self.preprocess_images(inputs)
        texts = [[t for t in x["texts"] if self.charset.normalize(t)] for x in inputs]
        longest = max(map(len, texts))
        if longest == 0:
            return [self._empty(x) for x in inputs]
        features, valid = self.encode_images(images)
        flat = [text for per_image in texts for text in per_image]
        folded = self._folded_queries(flat)
        counts = [len(per_image) for per_image in texts]
        queries = nn.utils.rnn.pad_sequence(list(folded.split(counts)), batch_first=True)
        maps = self.activation(queries, features, valid).float()
        if not torch.isfinite(maps).all():
            raise FloatingPointError(
                "the activation maps hold values that are not finite: the weights are damaged, or "
                "come from a training that broke down; check the file of MODEL.WEIGHTS"
            )
        return [
            self._to_instances(x, size, per_image, maps_per_image[: len(per_image)])
            for x, size, per_image, maps_per_image in zip(
                inputs, images.image_sizes, texts, maps, strict=True
            )
        ]

    def _to_instances(
        self, x: dict[str, Any], size: tuple[int, int], texts: list[str], maps: Tensor
    ) -> Instances:
        """Peaks of one image's maps (Q, H, W) in pixels of the original image."""
        if not texts:
            return self._empty(x)
        stride = self.stride
        maps = maps[:, : math.ceil(size[0] / stride), : math.ceil(size[1] / stride)]
        keys = [self.charset.normalize(text)[: self.max_length] for text in texts]
        repeats = [keys[:i].count(key) for i, key in enumerate(keys)]
        count = max(repeats) + 1 + (SPARE_PEAKS if self.anchor_distance else 0)
        points, scores = find_peaks(maps, count, self.peak_window, self.peak_ties)
        if self.anchor == "mean":
            points = mean_of_peaks(maps, points, self.peak_window)
        if self.anchor_distance:
            repeats = assign_distinct_peaks(points, scores, keys, self.anchor_distance)
        row = torch.arange(len(texts), device=maps.device)
        rank = torch.tensor(repeats, device=maps.device)
        height, width = x.get("height", size[0]), x.get("width", size[1])
        points = points[row, rank].double() * stride
        scale = points.new_tensor([width / size[1], height / size[0]])
        limit = points.new_tensor([width, height])
        instances = Instances((height, width))
        instances.pred_points = torch.minimum(points * scale, limit)
        instances.scores = scores[row, rank]
        instances.pred_maps = maps
        instances.pred_texts = TextList(texts)
        return instances

    def _empty(self, x: dict[str, Any]) -> Instances:
        size = tuple(x["image"].shape[-2:])
        instances = Instances((x.get("height", size[0]), x.get("width", size[1])))
        instances.pred_points = torch.zeros(0, 2, dtype=torch.float64, device=self.device)
        instances.scores = torch.zeros(0, device=self.device)
        instances.pred_maps = torch.zeros(0, 0, 0, device=self.device)
        instances.pred_texts = TextList([])
        return instances

    def _log(self, batched_inputs: list[dict[str, Any]], maps: Tensor, counts: list[int]) -> None:
        """Temperature, peak height and, every `vis_period`, a picture of one map.

        Args:
            batched_inputs: see `forward`.
            maps: (N, sum of `counts`, H, W) maps of these images' queries.
            counts: queries per image.
        """
        if not has_event_storage():
            return
        storage = get_event_storage()
        owner = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts)).to(maps.device)
        picked = maps.detach()[owner, torch.arange(len(owner), device=maps.device)]
        storage.put_scalar("temperature", (-self.logit_scale.detach()).exp())
        storage.put_scalar("peak_height", picked.flatten(1).amax(1).mean())
        if self.vis_period > 0 and storage.iter % self.vis_period == 0:
            x = batched_inputs[0]
            image = convert_image_to_rgb(x["image"].permute(1, 2, 0).cpu(), self.input_format)
            height, width = (math.ceil(s / self.stride) for s in image.shape[:2])
            glow = picked[0, :height, :width].float().cpu().numpy()
            picture = draw_activation(image, glow, x["queries"][0])
            storage.put_image("activation", picture.transpose(2, 0, 1))


def _share_of(counts: list[int], device: torch.device) -> tuple[slice, Tensor]:
    """Which queries of the whole batch are this process's, and each query's image there.

    Args:
        counts: queries of each image of this process.
        device: where the images' indices are wanted.
    """
    every = comm.all_gather(counts)
    start = sum(map(sum, every[: comm.get_rank()]))
    flat = torch.tensor([count for per_rank in every for count in per_rank])
    owner = torch.arange(len(flat)).repeat_interleave(flat)
    return slice(start, start + sum(counts)), owner.to(device)


def _gather(x: Tensor) -> Tensor:
    """Concatenate rows over ranks, rank 0 first, with gradients; ranks may differ in length."""
    if comm.get_world_size() == 1:
        return x
    lengths = comm.all_gather(len(x))
    padded = torch.cat([x, x.new_zeros(max(lengths) - len(x), *x.shape[1:])])
    return torch.cat([y[:n] for y, n in zip(all_gather(padded), lengths, strict=True)])
