"""SRSTS-A: anchors are found, each samples its word along a line, and the samples are read.

Letters: N images, M words per image, A anchors of all images, K sampling points, C channels,
H x W cells. Points are (x, y); lengths inside the network are in cells of the fused map.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY, Backbone, build_backbone
from detectron2.structures import ImageList, Instances
from detectron2.utils import comm
from detectron2.utils.events import get_event_storage, has_event_storage
from torch import Tensor, nn

from wecromcl_d2.data.text import Charset, TextList
from wecromcl_d2.modeling import ImageEncoder, build_charset
from wecromcl_d2.modeling.charset_state import CharsetState
from wecromcl_d2.modeling.image_batch import group_by_size, normalize_images

from .ctc import Reading, fits, read_greedily, reading_loss
from .heads import AnchorHead, Recognizer, Sampler
from .losses import dice_loss, focal_loss, line_losses
from .suppression import keep_best, line_lengths, trimmed_lines
from .targets import (
    IGNORE_RADIUS,
    LEAST_EXTENT,
    ConfidenceTargets,
    Words,
    choose_anchors,
    confidence_targets,
    ignore_extents,
)


@META_ARCH_REGISTRY.register()
class SRSTSA(nn.Module):
    """Single-point text spotter that learns from points and transcriptions.

    Args:
        backbone: gives the levels that `image_encoder` fuses.
        image_encoder: backbone levels -> fused map.
        anchor_head: fused map -> confidence.
        sampler: fused map -> sampling points.
        recognizer: fused map and sampling points -> logits of the characters.
        charset: characters; class 0 is the blank.
        loss: MODEL.SRSTS_A.LOSS.
        test: MODEL.SRSTS_A.TEST.
        sampler_eval: "dense" or "patch", see `Sampler`.
        max_iter: length of the training, to which the schedule of the losses refers.
        pixel_mean: per channel, in the units of the input image.
        pixel_std: per channel.
        size_divisibility: input sides are padded to a multiple of this.

    Raises:
        ValueError: for an unknown choice.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    @configurable
    def __init__(
        self,
        *,
        backbone: Backbone,
        image_encoder: ImageEncoder,
        anchor_head: AnchorHead,
        sampler: Sampler,
        recognizer: Recognizer,
        charset: Charset,
        loss: CfgNode,
        test: CfgNode,
        sampler_eval: str,
        max_iter: int,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        size_divisibility: int,
    ):
        super().__init__()
        _check("SAMPLER_EVAL", sampler_eval, ("dense", "patch"))
        _check("LOSS.CONFIDENCE", loss.CONFIDENCE, ("focal", "dice"))
        _check("TEST.POINT", test.POINT, ("line", "anchor"))
        if sampler_eval == "patch" and not sampler.pointwise:
            raise ValueError(
                "MODEL.SRSTS_A.NORM normalises over the whole map, so patches would give other "
                "numbers; use 'BN' or set MODEL.SRSTS_A.SAMPLER_EVAL to 'dense'"
            )
        self.backbone, self.image_encoder = backbone, image_encoder
        self.anchor_head, self.sampler, self.recognizer = anchor_head, sampler, recognizer
        self.charset, self.loss, self.test = charset, loss, test
        self.charset_state = CharsetState(charset)
        self.sampler_eval, self.max_iter = sampler_eval, max_iter
        self.stride = image_encoder.stride
        self.size_divisibility = max(size_divisibility, backbone.size_divisibility)
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean).view(-1, 1, 1), False)
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(-1, 1, 1), False)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        """Build the parts that the config names."""
        keys = cfg.MODEL.SRSTS_A
        backbone = build_backbone(cfg)
        image_encoder = ImageEncoder(cfg, backbone.output_shape())
        charset = build_charset(cfg)
        channels = image_encoder.out_channels
        return {
            "backbone": backbone,
            "image_encoder": image_encoder,
            "anchor_head": AnchorHead(channels, keys.ANCHOR_CHANNELS, keys.NORM),
            "sampler": Sampler(
                channels, keys.SAMPLER_CHANNELS, keys.NUM_POINTS, keys.INITIAL_REACH, keys.NORM
            ),
            "recognizer": Recognizer(
                channels,
                keys.TOWER_CHANNELS,
                num_points=keys.NUM_POINTS,
                num_classes=len(charset) + 1,
                sequence=keys.SEQUENCE,
                layers=keys.SEQUENCE_LAYERS,
                heads=keys.SEQUENCE_HEADS,
                norm=keys.NORM,
            ),
            "charset": charset,
            "loss": keys.LOSS,
            "test": keys.TEST,
            "sampler_eval": keys.SAMPLER_EVAL,
            "max_iter": cfg.SOLVER.MAX_ITER,
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "size_divisibility": cfg.INPUT.SIZE_DIVISIBILITY,
        }

    @property
    def device(self) -> torch.device:
        """Where the weights are; images are moved there."""
        return self.pixel_mean.device

    def forward(self, batched_inputs: list[dict[str, Any]]) -> Any:
        """Losses in training, words otherwise.

        Args:
            batched_inputs: one dict per image with `image`, a (3, H, W) tensor in the configured
                colour order. In training also `instances` with `gt_points`, `gt_texts`,
                `gt_point_weights`, `gt_ignore`, `gt_ignore_radii` and `gt_located`, see
                `PointMapper`; otherwise `height` and `width`
                of the original image.

        Returns:
            In training a dict of losses, otherwise what `inference` returns.
        """
        if not self.training:
            return self.inference(batched_inputs)
        feature, valid = self.encode_images(self.preprocess_images(batched_inputs))
        words = self.prepare_words([x["instances"] for x in batched_inputs])
        logits = self.anchor_head(feature).float()
        targets = confidence_targets(words, tuple(logits.shape[1:]), valid)
        image, word, cells = choose_anchors(
            targets, words, self.loss.ANCHORS_PER_WORD, self.loss.ANCHORS_PER_IMAGE
        )
        lines = self.sampler.dense(feature, image, cells)
        jittered = lines + self.loss.JITTER * torch.randn_like(lines)
        read = self.recognizer(feature, image, jittered).float()
        return self.losses(words, targets, logits, (image, word, cells), lines, read)

    def preprocess_images(self, batched_inputs: list[dict[str, Any]]) -> ImageList:
        """See `normalize_images`."""
        images = [x["image"].to(self.device) for x in batched_inputs]
        return normalize_images(images, self.pixel_mean, self.pixel_std, self.size_divisibility)

    def encode_images(self, images: ImageList) -> tuple[Tensor, Tensor | None]:
        """Fused maps (N, C, H, W) and their valid cells (N, H, W), None if there is no padding."""
        return self.image_encoder(self.backbone(images.tensor), images.image_sizes)

    def prepare_words(self, instances: Sequence[Instances]) -> Words:
        """Bring the words of the images to cells and labels, padded to the longest list."""
        most = max(1, *(len(x) for x in instances))

        def padded(values: list[Tensor]) -> Tensor:
            batch = nn.utils.rnn.pad_sequence(values, batch_first=True)
            missing = batch.new_zeros(len(batch), most - batch.shape[1], *batch.shape[2:])
            return torch.cat([batch, missing], 1).to(self.device)

        # One label more than can be read, so that longer texts do not fit.
        length = self.recognizer_points + 1
        labels = [self.charset.encode(list(x.gt_texts), length) for x in instances]
        points = padded([x.gt_points.float() for x in instances]) / self.stride
        weights = padded([x.gt_point_weights.float() for x in instances])
        located = padded([x.gt_located for x in instances])
        ignore = padded([x.gt_ignore for x in instances])
        batch = padded(labels)
        readable = (batch > 0).any(2)
        teaches = located & ~ignore & readable & (weights > 0)
        weights = weights * teaches
        hides = located & ~teaches
        given = padded([x.gt_ignore_radii.float() for x in instances]) / self.stride
        radii = torch.where(given > 0, given, IGNORE_RADIUS)
        return Words(points, batch, weights, teaches, hides, radii)

    @property
    def recognizer_points(self) -> int:
        """Sampling points K per word."""
        assert self.sampler.offset.bias is not None
        return len(self.sampler.offset.bias) // 2

    def losses(
        self,
        words: Words,
        targets: ConfidenceTargets,
        logits: Tensor,
        anchors: tuple[Tensor, Tensor, Tensor],
        lines: Tensor,
        read: Tensor,
    ) -> dict[str, Tensor]:
        """All losses of a batch.

        Args:
            words: of the batch.
            targets: of the cells.
            logits: (N, H, W) of the confidence.
            anchors: image, word and cell of each anchor, see `choose_anchors`.
            lines: (A, K, 2) sampling points.
            read: (A, K, classes) logits of the characters.
        """
        keys, (image, word, _) = self.loss, anchors
        number = image * words.points.shape[1] + word
        labels, weights = words.labels[image, word], words.weights[image, word]
        # The mean over words of the means over their anchors.
        weights = weights / torch.bincount(number, minlength=words.weights.numel())[number]
        readable = fits(labels, self.recognizer_points)
        sizes = torch.stack([(weights * readable).sum(), weights.sum()])
        readable_size, size = _mean_over_ranks(sizes).clamp(min=1e-6)
        reading = reading_loss(read, labels * readable[:, None]) * readable
        result = {"loss_reading": keys.READING_WEIGHT * (reading * weights).sum() / readable_size}
        progress = get_event_storage().iter / self.max_iter if has_event_storage() else 0.0
        fade = 1 - progress / 2
        scale = {
            "consistency": keys.CONSISTENCY_WEIGHT,
            "smoothness": keys.SMOOTHNESS_WEIGHT,
            "order": keys.ORDER_WEIGHT,
            "spread": keys.SPREAD_WEIGHT,
        }
        for name, loss in line_losses(lines, number, words.weights.numel()).items():
            result[f"loss_{name}"] = fade * scale[name] * (loss * weights).sum() / size
        reading_now = read_greedily(read.detach())
        if progress >= keys.EXTENT_WARMUP:
            targets = self._with_extents(targets, words, anchors, logits, lines, reading_now)
        owner_weight = words.weights.gather(1, targets.owner.flatten(1)).view_as(logits)
        if keys.CONFIDENCE == "focal":
            total, count = focal_loss(logits, targets, owner_weight)
        else:
            total, count = dice_loss(logits, targets)
        count = _mean_over_ranks(count.float()).clamp(min=1)
        result["loss_confidence"] = keys.CONFIDENCE_WEIGHT * total / count
        self._log(reading_now, labels, readable)
        return result

    def _with_extents(
        self,
        targets: ConfidenceTargets,
        words: Words,
        anchors: tuple[Tensor, Tensor, Tensor],
        logits: Tensor,
        lines: Tensor,
        reading: Reading,
    ) -> ConfidenceTargets:
        """Targets that ignore cells on words, as far as the words' own readings reach."""
        image, word, cells = anchors
        # The most confident anchor of each word.
        order = logits.detach()[image, cells[:, 1], cells[:, 0]].argsort()
        rank = torch.empty_like(order)
        rank[order] = torch.arange(len(order), device=order.device)
        most = targets.owner.new_full((len(logits) * words.points.shape[1],), -1)
        number = image * words.points.shape[1] + word
        most = most.scatter_reduce(0, number, rank, "amax")
        best = order[most[most >= 0]]
        trimmed = trimmed_lines(lines.detach()[best], reading.first[best], reading.last[best])
        characters = (words.labels[image[best], word[best]] > 0).sum(1).clamp(min=1)
        radii = (line_lengths(trimmed) / characters).clamp(min=LEAST_EXTENT)
        counts = ignore_extents(targets, image[best], trimmed, radii)
        return ConfidenceTargets(targets.positive, counts, targets.soft, targets.owner)

    def _log(self, reading: Reading, labels: Tensor, readable: Tensor) -> None:
        """How much of the sampled anchors is read right, and how many labels are too long."""
        if not has_event_storage():
            return
        storage = get_event_storage()
        width = max(labels.shape[1], reading.labels.shape[1])
        said = F.pad(reading.labels, (0, width - reading.labels.shape[1]))
        right = (said == F.pad(labels, (0, width - labels.shape[1]))).all(1)
        storage.put_scalar("read_right", right.float().mean() if len(right) else 0.0)
        storage.put_scalar("too_long", (~readable).sum())

    @torch.no_grad()
    def inference(self, batched_inputs: list[dict[str, Any]]) -> list[dict[str, Instances]]:
        """Find and read words.

        Images of one size share a batch, so that nothing but an image's own content ever reaches
        its answer.

        Args:
            batched_inputs: see `forward`.

        Returns:
            For each image a dict with `instances`, best first: `pred_points` (Q, 2), float64, and
            `pred_polylines` (Q, K, 2), in pixels of the original image, `pred_texts`, `scores`,
            the root of `det_scores`, the anchor's confidence, times `rec_scores`, the geometric
            mean of `char_scores` (Q, K), which are padded with zeros.
        """
        results: list[Any] = [None] * len(batched_inputs)
        for indices in group_by_size(batched_inputs):
            inputs = [batched_inputs[i] for i in indices]
            for i, instances in zip(indices, self._spot(inputs), strict=True):
                results[i] = {"instances": instances}
        return results

    def _spot(self, inputs: list[dict[str, Any]]) -> list[Instances]:
        """Words of images of one size."""
        images = self.preprocess_images(inputs)
        feature, valid = self.encode_images(images)
        confidence = self.anchor_head(feature).float().sigmoid()
        if not torch.isfinite(confidence).all():
            raise FloatingPointError(
                "the confidence map holds values that are not finite: the weights are damaged, or "
                "come from a training that broke down; check the file of MODEL.WEIGHTS"
            )
        if valid is not None:
            confidence = confidence * valid
        image, cells, sure = self._find_anchors(confidence)
        if len(image) == 0:
            return [
                self._to_instances(x, size, None)
                for x, size in zip(inputs, images.image_sizes, strict=True)
            ]
        sample = self.sampler.patch if self.sampler_eval == "patch" else self.sampler.dense
        lines = sample(feature, image, cells)
        reading = read_greedily(self.recognizer(feature, image, lines))
        scores = (sure * reading.scores).sqrt()
        good = (scores > self.test.SCORE).nonzero().squeeze(1)
        texts = self.charset.decode(reading.labels[good])
        lines_on_word = trimmed_lines(lines[good], reading.first[good], reading.last[good])
        kept = keep_best(image[good], lines_on_word, texts, scores[good], sure[good])
        index = good[kept]
        order = scores[index].argsort(descending=True, stable=True)
        index, kept = index[order], kept[order]
        middle = trimmed_lines(lines_on_word[kept], *_middle(len(kept), lines_on_word))
        point = middle[:, 0] if self.test.POINT == "line" else cells[index] + 0.5
        found = {
            "points": point.double() * self.stride,
            "lines": lines_on_word[kept].double() * self.stride,
            "texts": [texts[i] for i in kept.tolist()],
            "scores": scores[index],
            "det_scores": sure[index],
            "rec_scores": reading.scores[index],
            "char_scores": reading.probabilities[index],
        }
        owner = image[index]
        return [
            self._to_instances(x, size, _rows(found, owner == number))
            for number, (x, size) in enumerate(zip(inputs, images.image_sizes, strict=True))
        ]

    def _find_anchors(self, confidence: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Local maxima of the confidence (N, H, W): image (A,), cell (A, 2), confidence (A,)."""
        peak = confidence == F.max_pool2d(confidence[:, None], 3, stride=1, padding=1)[:, 0]
        strength = torch.where(peak, confidence, 0.0).flatten(1)
        values, places = strength.topk(min(self.test.MAX_ANCHORS, strength.shape[1]), dim=1)
        image, rank = (values > self.test.CONFIDENCE).nonzero(as_tuple=True)
        place = places[image, rank]
        width = confidence.shape[2]
        return image, torch.stack([place % width, place // width], 1), values[image, rank]

    def _to_instances(
        self, x: dict[str, Any], size: tuple[int, int], found: dict[str, Any] | None
    ) -> Instances:
        """One image's words in pixels of the original image."""
        height, width = x.get("height", size[0]), x.get("width", size[1])
        instances = Instances((height, width))
        points = self.recognizer_points
        if found is None:
            none = torch.zeros(0, device=self.device)
            found = {
                "points": none.new_zeros(0, 2, dtype=torch.float64),
                "lines": none.new_zeros(0, points, 2, dtype=torch.float64),
                "texts": [],
                "scores": none,
                "det_scores": none,
                "rec_scores": none,
                "char_scores": none.new_zeros(0, points),
            }
        scale = found["points"].new_tensor([width / size[1], height / size[0]])
        limit = found["points"].new_tensor([width, height])
        inside = torch.minimum(found["points"] * scale, limit)
        instances.pred_points = inside.clamp(min=0)
        instances.pred_polylines = found["lines"] * scale
        instances.pred_texts = TextList(found["texts"])
        for name in ("scores", "det_scores", "rec_scores", "char_scores"):
            instances.set(name, found[name])
        return instances


def _middle(count: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """First and last sample of lines of which only the middle is wanted."""
    half = like.new_full((count,), (like.shape[1] - 1) / 2)
    return half, half


def _rows(found: dict[str, Any], mask: Tensor) -> dict[str, Any]:
    """Of every field the rows that a mask selects."""
    wanted = mask.nonzero().squeeze(1).tolist()
    return {
        key: [value[i] for i in wanted] if isinstance(value, list) else value[mask]
        for key, value in found.items()
    }


def _mean_over_ranks(x: Tensor) -> Tensor:
    """The mean over all processes, so that their mean loss is that of the joint batch."""
    if comm.get_world_size() > 1:
        torch.distributed.all_reduce(x)
        x = x / comm.get_world_size()
    return x


def _check(key: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise ValueError(f"MODEL.SRSTS_A.{key} is {value!r}; use one of {sorted(known)}")
