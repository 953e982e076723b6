"""Names and layouts of stage-1 weights: in the authors' release, in plain ResNet-50s and here.

Everything is written for the published architecture; a checkpoint of another one shows up as
names that are missing or not used.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

RESNET50_BLOCKS = (3, 4, 6, 3)
NORM_STATE = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
WEIGHT_AND_BIAS = ("weight", "bias")
# The classifier of the ResNet, which the release carries along and never calls.
OFFICIAL_IDLE_SHAPES = {"backbone.fc.weight": (1000, 2048), "backbone.fc.bias": (1000,)}
# Ours keep their alphabet; the release has but one.
CHARSET = "charset_state.code_points"


@dataclass
class Conversion:
    """Weights under our names, and what did not fit.

    Attributes:
        weights: converted tensors.
        unused: names in the source that belong nowhere, without those known to be idle.
        missing: names that the source should have, without counters, which become zero.
        idle: names in the source that no model computes with.
    """

    weights: dict[str, Tensor] = field(default_factory=dict)
    unused: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    idle: list[str] = field(default_factory=list)


def convert_weights(weights: Mapping[str, Tensor], source: str) -> Conversion:
    """Rename weights to ours and bring them into our layout.

    Args:
        weights: tensors by name; a prefix `module.` on all names is taken off.
        source: "official", "torchvision" or "detectron2"; the last two are ResNet-50s and fill
            the backbone only.

    Raises:
        KeyError: for another source.
    """
    names = {"official": official_names, "torchvision": _torchvision, "detectron2": _detectron2}[
        source
    ]()
    if all(name.startswith("module.") for name in weights):
        weights = _without_prefix(weights, "module.")
    if source == "detectron2":
        weights = _without_prefix(weights, "backbone.bottom_up.")
    result = Conversion()
    for name, value in weights.items():
        if name in names:
            result.weights[names[name]] = _from_official_layout(name, value)
        else:
            is_classifier = name.split(".")[-2:-1] == ["fc"]
            (result.idle if is_classifier else result.unused).append(name)
    for name, ours in names.items():
        if ours in result.weights:
            continue
        if name.endswith("num_batches_tracked"):
            result.weights[ours] = torch.zeros((), dtype=torch.int64)
        else:
            result.missing.append(name)
    return result


def to_official(weights: Mapping[str, Tensor]) -> Conversion:
    """Rename our weights to the release's, in its layout, its idle classifier being zero."""
    names = official_names()
    rest = weights.keys() - set(names.values())
    result = Conversion(unused=sorted(rest - {CHARSET}), idle=sorted(rest & {CHARSET}))
    for name, ours in names.items():
        if ours in weights:
            result.weights[name] = to_official_layout(name, weights[ours])
        else:
            result.missing.append(ours)
    result.weights |= {name: torch.zeros(shape) for name, shape in OFFICIAL_IDLE_SHAPES.items()}
    return result


def to_official_layout(name: str, value: Tensor) -> Tensor:
    """Bring one of our tensors (or its gradient) into the layout of the release's `name`."""
    if name == "text_projection" and value.dim() == 2:
        return value.t()
    if name == "channel_to_512.0.weight" and value.dim() == 2:
        return value[:, :, None, None]
    return value


def _from_official_layout(name: str, value: Tensor) -> Tensor:
    if name == "text_projection" and value.dim() == 2:
        return value.t().contiguous()
    if name == "channel_to_512.0.weight" and value.dim() == 4:
        return value.flatten(1)
    return value


def official_names() -> dict[str, str]:
    """The release's name of every weight -> ours, without its idle classifier."""
    names = {"logit_scale": "logit_scale"}
    names |= {f"backbone.{k}": f"backbone.bottom_up.{v}" for k, v in resnet_names().items()}
    for level in range(4):
        theirs, ours = f"repeated_bifpn.0.fpn_in{level + 2}", f"backbone.laterals.{level}"
        names |= _conv_norm(theirs, ours)
    for repeat in range(2):
        names |= _bifpn_names(f"repeated_bifpn.{repeat}", f"backbone.layers.{repeat}")
    for head, levels in enumerate([(4, 3, 2), (5, 4, 3)]):
        for level in levels:
            theirs = f"fpn_out{level}_{head + 2}"
            # All but the finest are wrapped together with an upsampling.
            theirs += "" if (level, head) == (2, 0) else ".0"
            names |= _conv_norm(theirs, f"image_encoder.heads.{head}.convs.p{level}")
    return names | _encoder_names() | _text_names() | _pooling_names()


def resnet_names() -> dict[str, str]:
    """Torchvision's name of every ResNet-50 weight -> Detectron2's, without the classifier."""
    names = {"conv1.weight": "stem.conv1.weight"} | _norm("bn1", "stem.conv1.norm")
    for stage, blocks in enumerate(RESNET50_BLOCKS, start=1):
        for block in range(blocks):
            theirs, ours = f"layer{stage}.{block}", f"res{stage + 1}.{block}"
            for i in (1, 2, 3):
                names[f"{theirs}.conv{i}.weight"] = f"{ours}.conv{i}.weight"
                names |= _norm(f"{theirs}.bn{i}", f"{ours}.conv{i}.norm")
        theirs, ours = f"layer{stage}.0.downsample", f"res{stage + 1}.0.shortcut"
        names |= _conv_norm(theirs, ours)
    return names


def _torchvision() -> dict[str, str]:
    return {theirs: f"backbone.bottom_up.{ours}" for theirs, ours in resnet_names().items()}


def _detectron2() -> dict[str, str]:
    return {name: f"backbone.bottom_up.{name}" for name in resnet_names().values()}


def _bifpn_names(theirs: str, ours: str) -> dict[str, str]:
    """One fusion layer; the entries of every weight vector have the same order in both."""
    fusions = {
        ("w_2_3", "conv2_up"): "top_down.0",
        ("w_3_4", "conv3_up"): "top_down.1",
        ("w_4_5", "conv4_up"): "top_down.2",
        ("w_2up_3in_3up", "conv3_out"): "bottom_up.0",
        ("w_3up_4in_4up", "conv4_out"): "bottom_up.1",
        ("w_5in_5up", "conv5_out"): "bottom_up.2",
    }
    names = {}
    for (weight, conv), module in fusions.items():
        names[f"{theirs}.{weight}"] = f"{ours}.{module}.weight"
        names[f"{theirs}.{conv}.weight"] = f"{ours}.{module}.conv.weight"
    return names


def _encoder_names() -> dict[str, str]:
    ours = "image_encoder.encoder"
    names = {"encoder.level_embed": f"{ours}.level_embed"}
    for place in ("0.0", "0.1", "1.0", "1.1"):
        names |= same_names(f"encoder.input_proj.{place}", f"{ours}.input_projs.{place}")
    for layer in range(6):
        theirs = f"encoder.encoder.layers.{layer}"
        for part in ("sampling_offsets", "attention_weights", "value_proj", "output_proj"):
            names |= same_names(
                f"{theirs}.self_attn.{part}", f"{ours}.layers.{layer}.attention.{part}"
            )
        for part in ("norm1", "linear1", "linear2", "norm2"):
            names |= same_names(f"{theirs}.{part}", f"{ours}.layers.{layer}.{part}")
    return names


def _text_names() -> dict[str, str]:
    names = {
        "token_embedding.weight": "text_encoder.token_embedding.weight",
        "positional_embedding": "text_encoder.positional_embedding",
        "text_projection": "text_encoder.projection.weight",
    } | same_names("ln_final", "text_encoder.norm")
    parts = {
        "ln_1": "norm1",
        "attn.out_proj": "attention_out",
        "ln_2": "norm2",
        "mlp.c_fc": "mlp_in",
        "mlp.c_proj": "mlp_out",
    }
    for layer in range(12):
        theirs, ours = f"text_encoder.resblocks.{layer}", f"text_encoder.layers.{layer}"
        for part in WEIGHT_AND_BIAS:
            names[f"{theirs}.attn.in_proj_{part}"] = f"{ours}.qkv.{part}"
        for part, module in parts.items():
            names |= same_names(f"{theirs}.{part}", f"{ours}.{module}")
    return names


def _pooling_names() -> dict[str, str]:
    names = {"channel_to_512.0.weight": "activation.channel_proj.weight"}
    for theirs, ours in {"q": "q", "k": "k", "v": "v", "c": "out"}.items():
        names |= same_names(f"attn_pool.{theirs}_proj", f"activation.{ours}_proj")
    return names


def _conv_norm(theirs: str, ours: str) -> dict[str, str]:
    """A sequence of convolution and normalisation is one layer with a `norm` here."""
    return {f"{theirs}.0.weight": f"{ours}.weight"} | _norm(f"{theirs}.1", f"{ours}.norm")


def _norm(theirs: str, ours: str) -> dict[str, str]:
    return same_names(theirs, ours, NORM_STATE)


def same_names(theirs: str, ours: str, ends: Iterable[str] = WEIGHT_AND_BIAS) -> dict[str, str]:
    """Weights of equal names in two modules, by default those of a linear layer."""
    return {f"{theirs}.{end}": f"{ours}.{end}" for end in ends}


def _without_prefix(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Take a prefix off every name that has it."""
    return {name.removeprefix(prefix): value for name, value in weights.items()}
