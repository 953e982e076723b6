"""Find the weights of a model in checkpoints that name them differently."""

import logging
import re

import torch

_CAFFE2_RULES = [
    (r"^pred_", "linear_"),
    ("_", "."),
    (r"\.b$", ".bias"),
    (r"\.w$", ".weight"),
    (r"[bg]n\.(s|gamma)$", "norm.weight"),
    (r"[bg]n\.(bias|beta)$", "norm.bias"),
    (r"bn\.(rm|running\.mean)$", "norm.running_mean"),
    (r"bn\.(riv|running\.var)$", "norm.running_var"),
    (r"^res\.conv1\.norm\.", "conv1.norm."),
    (r"^conv1\.", "stem.conv1."),
    (r"\.branch1\.", ".shortcut."),
    (r"\.branch2a\.", ".conv1."),
    (r"\.branch2b\.", ".conv2."),
    (r"\.branch2c\.", ".conv3."),
]

Weights = dict[str, torch.Tensor]


def convert_caffe2_names(weights: Weights) -> Weights:
    """Give Caffe2's backbone weights the names of `ResNet`."""
    result = {}
    for name, value in weights.items():
        for pattern, replacement in _CAFFE2_RULES:
            name = re.sub(pattern, replacement, name)
        result[name] = value
    return result


def align_names(model_state: Weights, weights: Weights) -> Weights:
    """Rename weights to the model keys they are a suffix of.

    Each model key takes the longest name that equals it or its end behind a dot. Weights of
    another shape are not taken; weights that nobody takes keep their names.

    Raises:
        ValueError: If two model keys would take the same weight.
    """
    logger = logging.getLogger(__name__)
    taken: dict[str, str] = {}
    for key in sorted(model_state):
        parts = key.split(".")
        suffixes = [".".join(parts[i:]) for i in range(len(parts))]
        name = next((suffix for suffix in suffixes if suffix in weights), None)
        if name is None:
            continue
        shape, wanted = tuple(weights[name].shape), tuple(model_state[key].shape)
        if shape != wanted:
            logger.warning("%s of shape %s is not loaded into %s of %s", name, shape, key, wanted)
            continue
        if name in taken:
            raise ValueError(f"'{name}' in the checkpoint fits both '{taken[name]}' and '{key}'")
        taken[name] = key
    log = logger.info if taken else logger.warning
    log("%d of %d weights in the checkpoint match the model", len(taken), len(weights))
    return {taken.get(name, name): value for name, value in weights.items()}
