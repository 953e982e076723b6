"""SRSTS-A: predicts anchors, samples features along each word from its anchor, and reads them.

It follows SRSTS (Wu et al., ACM MM 2022), whose targets from outlines are replaced by points alone;
docs/SRSTS_A.md lists the differences.

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
from torch import Tensor, nn

from ...config import check_choice
from ...data.text import Charset, TextList
from ...layers import ImageEncoder
from ...layers.charset_state import CharsetState
from ...layers.image_batch import ImageModel, check_finite, check_pyramid, original_size
from ...stage1.text_encoder import build_charset
from ..suppression import line_nms, trimmed_lines
from .criterion import Criterion
from .ctc import read_greedily
from .heads import AnchorHead, Recognizer, Sampler
from .targets import IGNORE_RADIUS, PaddedTargets, choose_anchors, confidence_targets

# Tensors that describe each of A read words, image by image.
WORD_FIELDS = ("image", "points", "lines", "scores", "det_scores", "rec_scores", "char_scores")


@META_ARCH_REGISTRY.register()
class SRSTSA(ImageModel):
    """Single-point text spotter that learns from points and transcriptions.

    Args:
        backbone: computes the levels that `image_encoder` fuses.
        image_encoder: backbone levels -> fused map.
        anchor_head: fused map -> confidence.
        sampler: fused map -> sampling points.
        recognizer: fused map and sampling points -> logits of the characters.
        charset: characters; class 0 is the blank.
        criterion: the training loss.
        sampler_eval: "dense" or "patch", see `Sampler`; for inference.
        pixel_mean: per channel, in the units of the input image.
        pixel_std: per channel.
        size_divisibility: input sides are padded to a multiple of this.
        anchors_per_word: most anchors of a word that are read in training.
        anchors_per_image: most anchors of an image that are read in training.
        jitter: standard deviation of the noise on the sampling points in training, in cells.
        min_confidence: anchors below this confidence are dropped at inference.
        max_anchors: most anchors of an image at inference.
        min_score: words below this score are dropped at inference.
        pyramid: scales at inference, as factors of the network input's sides.
        point: a word's point at inference, "anchor" or "line", the midpoint of the sampling
            points.

    Raises:
        ValueError: for an unknown choice.
    """

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
        criterion: Criterion,
        sampler_eval: str = "patch",
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        size_divisibility: int = 0,
        anchors_per_word: int = 4,
        anchors_per_image: int = 256,
        jitter: float = 0.5,
        min_confidence: float = 0.3,
        max_anchors: int = 300,
        min_score: float = 0.05,
        pyramid: Sequence[float] = (1.0,),
        point: str = "anchor",
    ):
        super().__init__(pixel_mean, pixel_std, (size_divisibility, backbone.size_divisibility))
        check_choice("MODEL.SRSTS_A.SAMPLER_EVAL", sampler_eval, ("dense", "patch"))
        check_choice("MODEL.SRSTS_A.TEST.POINT", point, ("line", "anchor"))
        if sampler_eval == "patch" and not sampler.pointwise:
            raise ValueError(
                "MODEL.SRSTS_A.NORM normalises over the whole map, so patches would give other "
                "numbers; use 'BN' or set MODEL.SRSTS_A.SAMPLER_EVAL to 'dense'"
            )
        self.backbone, self.image_encoder = backbone, image_encoder
        self.anchor_head, self.sampler, self.recognizer = anchor_head, sampler, recognizer
        self.charset, self.criterion = charset, criterion
        self.charset_state = CharsetState(charset)
        self.sampler_eval, self.point = sampler_eval, point
        self.anchors_per_word, self.anchors_per_image = anchors_per_word, anchors_per_image
        self.jitter = jitter
        self.min_confidence, self.max_anchors = min_confidence, max_anchors
        self.min_score = min_score
        check_pyramid("MODEL.SRSTS_A.TEST.PYRAMID", pyramid)
        self.pyramid = tuple(pyramid)
        self.stride, self.num_points = image_encoder.stride, sampler.num_points

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        """Build the parts that the config names."""
        keys = cfg.MODEL.SRSTS_A
        for name in ("SAMPLER_CHANNELS", "TOWER_CHANNELS"):
            if not keys[name]:
                raise ValueError(f"MODEL.SRSTS_A.{name} is []; name the channels of a convolution")
        backbone = build_backbone(cfg)
        image_encoder = ImageEncoder(cfg, backbone.output_shape())
        charset = build_charset(cfg)
        channels = image_encoder.out_channels
        return {
            "backbone": backbone,
            "image_encoder": image_encoder,
            "anchor_head": AnchorHead(channels, keys.ANCHOR_CHANNELS, keys.NORM),
            "sampler": Sampler(
                channels, keys.SAMPLER_CHANNELS, num_points=keys.NUM_POINTS, norm=keys.NORM
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
            "criterion": Criterion(
                max_iter=cfg.SOLVER.MAX_ITER,
                confidence=keys.LOSS.CONFIDENCE,
                extent_warmup=keys.LOSS.EXTENT_WARMUP,
            ),
            "sampler_eval": keys.SAMPLER_EVAL,
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "size_divisibility": cfg.INPUT.SIZE_DIVISIBILITY,
            "anchors_per_word": keys.LOSS.ANCHORS_PER_WORD,
            "jitter": keys.LOSS.JITTER,
            "min_confidence": keys.TEST.CONFIDENCE,
            "max_anchors": keys.TEST.MAX_ANCHORS,
            "min_score": keys.TEST.SCORE,
            "pyramid": keys.TEST.PYRAMID,
            "point": keys.TEST.POINT,
        }

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
            targets, words, self.anchors_per_word, self.anchors_per_image
        )
        lines = self.sampler.dense(feature, image, cells)
        jittered = lines + self.jitter * torch.randn_like(lines)
        read = self.recognizer(feature, image, jittered).float()
        return self.criterion(words, targets, logits, (image, word, cells), lines, read)

    def encode_images(self, images: ImageList) -> tuple[Tensor, Tensor | None]:
        """Fused maps (N, C, H, W) and their valid cells (N, H, W), None if there is no padding."""
        return self.image_encoder(self.backbone(images.tensor), images.image_sizes)

    def prepare_words(self, instances: Sequence[Instances]) -> PaddedTargets:
        """Points in cells and labels of the images' words, padded to the largest number."""
        most = max(1, *(len(x) for x in instances))

        def padded(values: list[Tensor]) -> Tensor:
            batch = nn.utils.rnn.pad_sequence(values, batch_first=True)
            missing = batch.new_zeros(len(batch), most - batch.shape[1], *batch.shape[2:])
            return torch.cat([batch, missing], 1).to(self.device)

        # One label more than CTC can align, so that longer texts are recognised as too long.
        length = self.num_points + 1
        labels = [self.charset.encode(list(x.gt_texts), length) for x in instances]
        points = padded([x.gt_points.float() for x in instances]) / self.stride
        weights = padded([x.gt_point_weights.float() for x in instances])
        located = padded([x.gt_located for x in instances])
        ignore = padded([x.gt_ignore for x in instances])
        batch = padded(labels)
        readable = (batch > 0).any(2)
        is_positive = located & ~ignore & readable & (weights > 0)
        weights = weights * is_positive
        is_ignored = located & ~is_positive
        given = padded([x.gt_ignore_radii.float() for x in instances]) / self.stride
        radii = torch.where(given > 0, given, IGNORE_RADIUS)
        return PaddedTargets(points, batch, weights, is_positive, is_ignored, radii)

    @torch.no_grad()
    def inference(self, batched_inputs: list[dict[str, Any]]) -> list[dict[str, Instances]]:
        """Find and read words.

        Returns:
            For each image a dict with `instances`, best first: `pred_points` (Q, 2), float64, and
            `pred_polylines` (Q, K, 2), in pixels of the original image, `pred_texts`, `scores`,
            the root of `det_scores`, the anchor's confidence, times `rec_scores`, the geometric
            mean of `char_scores` (Q, K), which are padded with zeros.
        """
        return self.infer_by_size(batched_inputs, self._spot)

    def _spot(self, inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Words of images of one size."""
        parts = [self._read(inputs, factor) for factor in self.pyramid]
        words = {name: torch.cat([part[name] for part in parts]) for name in WORD_FIELDS}
        texts = [text for part in parts for text in part["texts"]]
        scale = torch.arange(len(parts)).repeat_interleave(
            torch.tensor([len(part["texts"]) for part in parts])
        )
        image, scores = words.pop("image"), words["scores"]
        kept = line_nms(image, scale, words["lines"], texts, scores, words["det_scores"])
        kept = kept[scores[kept].argsort(descending=True, stable=True)]
        found: dict[str, Any] = {name: values[kept] for name, values in words.items()}
        found["texts"] = [texts[i] for i in kept.tolist()]
        for name in ("points", "lines"):
            found[name] = found[name].double() * self.stride
        return [
            {"instances": self._to_instances(x, _rows(found, image[kept] == number))}
            for number, x in enumerate(inputs)
        ]

    def _read(self, inputs: list[dict[str, Any]], factor: float) -> dict[str, Any]:
        """Words of images of one size at one scale, with duplicates.

        Args:
            inputs: N images.
            factor: of the images' sides.

        Returns:
            `texts` and `WORD_FIELDS`; points and lines in cells of the unscaled network input.
        """
        images = self.preprocess_images(inputs, factor)
        feature, valid = self.encode_images(images)
        confidence = self.anchor_head(feature).float().sigmoid()
        check_finite(confidence, "confidences")
        if valid is not None:
            confidence = confidence * valid
        image, cells, sure = self._find_anchors(confidence)
        if len(image) == 0:
            return self._no_words()
        sample = self.sampler.patch if self.sampler_eval == "patch" else self.sampler.dense
        lines = sample(feature, image, cells)
        reading = read_greedily(self.recognizer(feature, image, lines))
        scores = (sure * reading.scores).sqrt()
        good = (scores > self.min_score).nonzero().squeeze(1)
        lines_on_word = trimmed_lines(lines[good], reading.first[good], reading.last[good])
        point = cells[good] + 0.5
        if self.point == "line":
            half = torch.full_like(scores[good], (self.num_points - 1) / 2)
            point = trimmed_lines(lines_on_word, half, half)[:, 0]
        (height, width), whole = images.image_sizes[0], inputs[0]["image"].shape
        grow = lines.new_tensor([whole[2] / width, whole[1] / height])
        return {
            "image": image[good],
            "points": point * grow,
            "lines": lines_on_word * grow,
            "texts": self.charset.decode(reading.labels[good]),
            "scores": scores[good],
            "det_scores": sure[good],
            "rec_scores": reading.scores[good],
            "char_scores": reading.probabilities[good],
        }

    def _no_words(self) -> dict[str, Any]:
        """What `_read` gives without any anchor."""
        none, points = torch.zeros(0, device=self.device), self.num_points
        return dict.fromkeys(("scores", "det_scores", "rec_scores"), none) | {
            "image": none.long(),
            "points": none.new_zeros(0, 2),
            "lines": none.new_zeros(0, points, 2),
            "texts": [],
            "char_scores": none.new_zeros(0, points),
        }

    def _find_anchors(self, confidence: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Local maxima of the confidence (N, H, W): image (A,), cell (A, 2), confidence (A,)."""
        peak = confidence == F.max_pool2d(confidence[:, None], 3, stride=1, padding=1)[:, 0]
        strength = torch.where(peak, confidence, 0.0).flatten(1)
        values, places = strength.topk(min(self.max_anchors, strength.shape[1]), dim=1)
        image, rank = (values > self.min_confidence).nonzero(as_tuple=True)
        place = places[image, rank]
        width = confidence.shape[2]
        return image, torch.stack([place % width, place // width], 1), values[image, rank]

    def _to_instances(self, x: dict[str, Any], found: dict[str, Any]) -> Instances:
        """One image's words in pixels of the original image."""
        size, (height, width) = x["image"].shape[-2:], original_size(x)
        instances = Instances((height, width))
        scale = found["points"].new_tensor([width / size[1], height / size[0]])
        limit = found["points"].new_tensor([width, height])
        inside = torch.minimum(found["points"] * scale, limit)
        instances.pred_points = inside.clamp(min=0)
        instances.pred_polylines = found["lines"] * scale
        instances.pred_texts = TextList(found["texts"])
        for name in ("scores", "det_scores", "rec_scores", "char_scores"):
            instances.set(name, found[name])
        return instances


def _rows(found: dict[str, Any], mask: Tensor) -> dict[str, Any]:
    """The rows of every field that a mask selects."""
    wanted = mask.nonzero().squeeze(1).tolist()
    return {
        key: [value[i] for i in wanted] if isinstance(value, list) else value[mask]
        for key, value in found.items()
    }
