"""Small models and inputs of the SPTS tests."""

import functools

import torch
from detectron2.modeling import build_model
from detectron2.structures import Instances

from wecromcl_d2.data.text import TextList
from wecromcl_d2.stage2.spts.official_names import official_names
from wecromcl_d2.tasks import load_config

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
    *("MODEL.SPTS.MAX_WORDS", 4),
    *("MODEL.SPTS.MAX_LENGTH", 5),
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

TRAINED = ("padded", "compact", "npts", "iad_prd")
ORDER = dict.fromkeys(("padded", "compact", "iad_prd"), ("MODEL.SPTS.ORDER", "raster"))
# One round is enough but where rounding makes the training slow.
STEPS, MAX_ROUNDS = 150, 4


def tiny_config(kind, *opts):
    return load_config("configs/stage2/spts/Base-SPTS.yaml", [*TINY, *KINDS[kind], *opts])


def tiny_model(kind, *opts, seed=0):
    """A model whose random weights give words and sequences of different lengths."""
    torch.manual_seed(seed)
    model = build_model(tiny_config(kind, *opts)).eval()
    with torch.no_grad():
        for parameter in model.decoder.parameters():
            if parameter.dim() > 1:
                parameter *= 2.2
        for layer in model.decoder.layers:
            layer.cross_attention.out.weight *= 2
        model.decoder.logits.bias[model.vocabulary.eos] += 2
        model.decoder.logits.bias[model.vocabulary.word_end] += 3
    return model


@functools.cache
def trained_model(kind):
    """A model that has learned `training_batch` by heart."""
    torch.manual_seed(0)
    model = build_model(
        tiny_config(
            kind,
            *("MODEL.SPTS.DROPOUT", 0.0, "MODEL.SPTS.DROP_PATH", 0.0),
            *("MODEL.SPTS.LOSS.EOS_WEIGHT", 1.0),
            *("MODEL.RESNETS.NORM", "", "MODEL.BIFPN.NORM", ""),
            *ORDER.get(kind, ()),
        )
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    batch = training_batch()
    for _ in range(MAX_ROUNDS):
        for step in range(STEPS):
            for group in optimizer.param_groups:
                group["lr"] = 3e-3 * min(1, (step + 1) / 10, 2 * (1 - step / STEPS))
            optimizer.zero_grad()
            model.train()(batch)["loss_sequence"].backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        if images_read(model.eval(), batch) >= 3:
            break
    return model


def images_read(model, batch):
    """Number of images whose words are read, in any order."""
    return sum(
        sorted(found["instances"].pred_texts) == sorted(x["instances"].gt_texts)
        for found, x in zip(model(batch), batch, strict=True)
    )


def training_batch():
    """Images of different sizes with no word, one and more."""
    words = [[], ["abcde"], ["x", "no"], ["why", "t", "door"]]
    sizes = [(48, 64), (33, 80), (64, 20), (48, 65)]
    batch = []
    for seed, (texts, (height, width)) in enumerate(zip(words, sizes, strict=True)):
        points = [[width * (0.2 + 0.3 * i), height * (0.2 + 0.3 * i)] for i in range(len(texts))]
        own = instances((height, width), texts, points)
        batch.append({"image": make_image(height, width, seed), "instances": own})
    return batch


def make_image(height, width, seed=0):
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


def to_official(weights, source):
    """The reverse of `official_names.convert`, for weights of the published architecture."""
    result = {}
    for theirs, ours in official_names(source).items():
        name, _, third = theirs.partition("#")
        if ours in weights:
            before = [result[name]] if third and third != "0" else []
            result[name] = torch.cat([*before, weights[ours]]) if before else weights[ours]
    return result
