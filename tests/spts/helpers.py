"""Small models and inputs of the SPTS tests."""

import torch
from detectron2.modeling import build_model
from detectron2.structures import Instances

from wecromcl_d2.data.text import TextList
from wecromcl_d2.projects import load_config

TINY = [
    *("MODEL.DEVICE", "cpu"),
    *("MODEL.BACKBONE.NAME", "build_resnet_bifpn_backbone"),
    *("MODEL.BACKBONE.FREEZE_AT", 0),
    *("MODEL.RESNETS.BLOCK", "basic"),
    *("MODEL.RESNETS.NUM_BLOCKS", [1, 1, 1]),
    *("MODEL.RESNETS.STEM_OUT_CHANNELS", 8),
    *("MODEL.RESNETS.RES2_OUT_CHANNELS", 8),
    *("MODEL.RESNETS.OUT_FEATURES", ["res3", "res4"]),
    *("MODEL.RESNETS.NORM", "BN"),
    *("MODEL.BIFPN.IN_FEATURES", ["res3", "res4"]),
    *("MODEL.BIFPN.OUT_CHANNELS", 16),
    *("MODEL.BIFPN.REPEATS", 1),
    *("MODEL.TEXT_ENCODER.CHARSET", "alnum"),
    *("MODEL.TEXT_ENCODER.CASE_FOLD", True),
    *("MODEL.SPTS.IN_FEATURE", "p4"),
    *("MODEL.SPTS.BINS", 32),
    *("MODEL.SPTS.MAX_WORDS", 5),
    *("MODEL.SPTS.MAX_LENGTH", 6),
    *("MODEL.SPTS.WIDTH", 32),
    *("MODEL.SPTS.HEADS", 4),
    *("MODEL.SPTS.FEEDFORWARD", 48),
    *("MODEL.SPTS.ENCODER_LAYERS", 2),
    *("MODEL.SPTS.DECODER_LAYERS", 2),
]
KINDS = {
    "padded": (),
    "compact": ("MODEL.SPTS.LAYOUT", "compact"),
    "npts": ("MODEL.SPTS.POINTS", False),
    "npts_compact": ("MODEL.SPTS.POINTS", False, "MODEL.SPTS.LAYOUT", "compact"),
    "iad_prd": ("MODEL.SPTS.DECODER", "iad_prd", "MODEL.SPTS.ENCODER", "window"),
}


def tiny_config(kind, *opts):
    return load_config("configs/spts/Base-SPTS.yaml", [*TINY, *KINDS[kind], *opts])


def tiny_model(kind, *opts, seed=0):
    """A model whose random weights give words of different lengths, and now and then an end."""
    torch.manual_seed(seed)
    model = build_model(tiny_config(kind, *opts)).eval()
    with torch.no_grad():
        model.decoder.logits.weight *= 6
        model.decoder.logits.bias[model.vocabulary.word_end] += 1.0
        model.decoder.position_embedding.weight *= 3
    return model


def picture(height, width, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (3, height, width), generator=generator, dtype=torch.uint8)


def instances(size, texts, points=None, *, weights=None, ignore=None, located=None):
    result = Instances(size)
    count = len(texts)
    result.gt_texts = TextList(texts)
    points = [[0.0, 0.0]] * count if points is None else points
    result.gt_points = torch.tensor(points, dtype=torch.float32).view(-1, 2)
    result.gt_point_weights = torch.ones(count) if weights is None else torch.tensor(weights)
    result.gt_ignore = torch.tensor(ignore or [False] * count, dtype=torch.bool)
    result.gt_located = torch.tensor(located or [True] * count, dtype=torch.bool)
    return result
