"""The SPTS meta-architecture: words and their points predicted as a sequence of tokens.

Letters: I images, D channels, h x w cells of the encoded image, S = h * w.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY, Backbone, build_backbone
from detectron2.structures import ImageList, Instances
from detectron2.utils.events import get_event_storage, has_event_storage
from torch import Tensor, nn

from ...config import check_choice
from ...layers.charset_state import CharsetState
from ...layers.image_batch import ImageModel, check_finite, group_by_size, original_size
from ...stage1.text_encoder import build_charset
from .encoder import GlobalEncoder, WindowEncoder, sine_position
from .output import to_instances
from .readers import ParallelReader, Reader, Recipe, SequenceReader
from .sequence import LAYOUTS, ORDERS, Layout, TokenizedWords, collect_words, order_words
from .transformer import Memory, TokenDecoder
from .vocabulary import Vocabulary

READERS: dict[str, type[Reader]] = {"sequence": SequenceReader, "iad_prd": ParallelReader}
ENCODERS = ("global", "window")


@META_ARCH_REGISTRY.register()
class SPTS(ImageModel):
    """Single-point text spotter: SPTS, NPTS or SPTSv2, depending on the config.

    Args:
        backbone: computes the feature map that is encoded.
        in_feature: name of that feature map.
        encoder: cells (I, h, w, D), their positions and their validity mask -> (I, h, w, D).
        decoder: the transformer decoder.
        vocabulary: the tokens.
        layout: of the sequences.
        reader: "sequence" or "iad_prd".
        recipe: training options.
        width: channels D.
        pixel_mean: per channel, in the units of the input image.
        pixel_std: per channel.
        size_divisibility: input sides are padded to a multiple of this.
        eos_bias: added at inference to the logit of the token that ends a sequence.
        duplicate_distance: see MODEL.SPTS.TEST.DUPLICATE_DISTANCE.
        official_output: see MODEL.SPTS.TEST.OFFICIAL.

    Raises:
        ValueError: if the backbone has no such feature.
    """

    @configurable
    def __init__(
        self,
        *,
        backbone: Backbone,
        in_feature: str,
        encoder: nn.Module,
        decoder: TokenDecoder,
        vocabulary: Vocabulary,
        layout: Layout,
        reader: str,
        recipe: Recipe,
        width: int,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        size_divisibility: int,
        eos_bias: float = 0.0,
        duplicate_distance: float = 0.0,
        official_output: bool = False,
    ):
        shapes = backbone.output_shape()
        if in_feature not in shapes:
            raise ValueError(
                f"MODEL.SPTS.IN_FEATURE is {in_feature!r}; the backbone has {sorted(shapes)}"
            )
        shape = shapes[in_feature]
        assert shape.channels is not None and shape.stride is not None
        divisors = (size_divisibility, backbone.size_divisibility, shape.stride)
        super().__init__(pixel_mean, pixel_std, divisors)
        self.stride = shape.stride
        self.backbone, self.in_feature = backbone, in_feature
        self.input_proj = nn.Conv2d(shape.channels, width, kernel_size=1)
        self.encoder, self.decoder = encoder, decoder
        self.vocabulary, self.layout, self.recipe = vocabulary, layout, recipe
        self.charset_state = CharsetState(vocabulary.charset)
        options = {"loop_score": 0.0} if official_output else {}
        self.reader = READERS[reader](decoder, vocabulary, layout, recipe, eos_bias, **options)
        self.official_output = official_output
        self.duplicate_distance = duplicate_distance

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        """Build the parts that MODEL.SPTS describes."""
        keys = cfg.MODEL.SPTS
        _check_choices(keys)
        parallel = keys.DECODER == "iad_prd"
        vocabulary = Vocabulary(build_charset(cfg), keys.BINS if keys.POINTS else 0, noise=parallel)
        layout = Layout(keys.POINTS, keys.MAX_LENGTH, keys.MAX_WORDS, keys.LAYOUT == "padded")
        sizes = {"width": keys.WIDTH, "heads": keys.HEADS}
        blocks = {"feedforward": keys.FEEDFORWARD, "dropout": keys.DROPOUT}
        encoder: nn.Module
        if keys.ENCODER == "global":
            encoder = GlobalEncoder(layers=keys.ENCODER_LAYERS, **sizes, **blocks)
        else:
            encoder = WindowEncoder(
                layers=keys.ENCODER_LAYERS, drop_path=keys.DROP_PATH, **sizes, **blocks
            )
        decoder = TokenDecoder(
            tokens=len(vocabulary),
            positions=(
                max(1 + 2 * layout.max_words, 1 + layout.max_length)
                if parallel
                else layout.max_inputs
            ),
            layers=keys.DECODER_LAYERS,
            **sizes,
            **blocks,
        )
        return {
            "backbone": build_backbone(cfg),
            "in_feature": keys.IN_FEATURE,
            "encoder": encoder,
            "decoder": decoder,
            "vocabulary": vocabulary,
            "layout": layout,
            "reader": keys.DECODER,
            "recipe": Recipe(keys.ORDER, keys.LOSS.EOS_WEIGHT, keys.LOSS.OFFICIAL),
            "width": keys.WIDTH,
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "size_divisibility": cfg.INPUT.SIZE_DIVISIBILITY,
            "eos_bias": keys.TEST.EOS_BIAS,
            "duplicate_distance": keys.TEST.DUPLICATE_DISTANCE,
            "official_output": keys.TEST.OFFICIAL,
        }

    def forward(self, batched_inputs: list[dict[str, Any]]) -> Any:
        """Losses in training, words otherwise.

        Args:
            batched_inputs: one dict per image with `image`, a (3, H, W) tensor in the configured
                colour order. In training also `instances`, see `sequence.collect_words`; otherwise
                `height` and `width` of the original image.

        Returns:
            In training a dict with `loss_sequence`, otherwise what `inference` returns.
        """
        if not self.training:
            return self.inference(batched_inputs)
        words = [
            order_words(
                collect_words(
                    x["instances"], self.vocabulary, self.layout, official=self.recipe.official
                ),
                self.recipe.order,
                self.vocabulary,
            )
            for x in batched_inputs
        ]
        cells, position, valid = self.encode_images(self.preprocess_images(batched_inputs))
        memory = self.decoder.remember(cells, position, valid)
        loss, right = self.reader.loss(memory, words)
        _log(words, right)
        return {"loss_sequence": loss}

    def encode_images(self, images: ImageList) -> tuple[Tensor, Tensor, Tensor]:
        """Encoded cells (I, S, D), their positions (I, S, D) and their validity mask (I, S)."""
        x = self.input_proj(self.backbone(images.tensor)[self.in_feature]).permute(0, 2, 3, 1)
        valid = torch.zeros(x.shape[:3], dtype=torch.bool)
        for own, (height, width) in zip(valid, images.image_sizes, strict=True):
            own[: math.ceil(height / self.stride), : math.ceil(width / self.stride)] = True
        valid = valid.to(x.device)
        position = sine_position(valid, x.shape[3]).to(x.dtype)
        cells = self.encoder(x, position, valid)
        return cells.flatten(1, 2), position.flatten(1, 2), valid.flatten(1)

    @torch.no_grad()
    def inference(self, batched_inputs: list[dict[str, Any]]) -> list[dict[str, Instances]]:
        """Read images; those of one size are encoded together.

        All are decoded together, as a sequence attends only to the cells of its own image.

        Returns:
            For each image a dict with `instances`, see `output.to_instances`.

        Raises:
            FloatingPointError: if the weights give values that are not finite.
        """
        if not batched_inputs:
            return []
        memory, skipped = self.remember_images(batched_inputs)
        found = self.reader.read(memory, skipped)
        return [
            {
                "instances": to_instances(
                    words,
                    original_size(x),
                    self.vocabulary,
                    self.duplicate_distance,
                    official=self.official_output,
                )
            }
            for x, words in zip(batched_inputs, found, strict=True)
        ]

    def remember_images(self, batched_inputs: list[dict[str, Any]]) -> tuple[Memory, Tensor]:
        """Encode images of any sizes for the decoder.

        Returns:
            Their memory, and (I,) bool, True for images without a valid cell.
        """
        encoded: list[Any] = [None] * len(batched_inputs)
        for indices in group_by_size(x["image"].shape for x in batched_inputs):
            images = self.preprocess_images([batched_inputs[i] for i in indices])
            for i, *parts in zip(indices, *self.encode_images(images), strict=True):
                encoded[i] = parts
        cells, position, valid = (
            nn.utils.rnn.pad_sequence(list(part), batch_first=True)
            for part in zip(*encoded, strict=True)
        )
        check_finite(cells, "encoded images")
        return self.decoder.remember(cells, position, valid), ~valid.any(1)


def _check_choices(keys: CfgNode) -> None:
    """Raise a `ValueError` for unknown or contradictory values of MODEL.SPTS."""
    choices = {"DECODER": READERS, "LAYOUT": LAYOUTS, "ORDER": ORDERS, "ENCODER": ENCODERS}
    for key, values in choices.items():
        check_choice(f"MODEL.SPTS.{key}", keys[key], values)
    for key, value in (("DECODER", "iad_prd"), ("ORDER", "raster")):
        if keys[key] == value and not keys.POINTS:
            raise ValueError(f"MODEL.SPTS.{key} {value!r} needs points; set MODEL.SPTS.POINTS True")
    if keys.WIDTH % (2 * keys.HEADS) or keys.WIDTH % 4:
        raise ValueError(
            f"MODEL.SPTS.WIDTH {keys.WIDTH} must be a multiple of 4 and of twice "
            f"MODEL.SPTS.HEADS {keys.HEADS}"
        )


def _log(words: Sequence[TokenizedWords], right: Tensor) -> None:
    """Log the token accuracy and the number of words left out or cut."""
    if has_event_storage():
        storage = get_event_storage()
        storage.put_scalar("token_accuracy", right)
        storage.put_scalar("words_left_out", sum(w.left_out for w in words))
        storage.put_scalar("words_cut", sum(w.cut for w in words))
