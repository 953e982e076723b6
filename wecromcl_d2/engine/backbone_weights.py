"""Initialisation of a spotter's backbone from a checkpoint of stage 1."""

import logging
from pathlib import Path

from torch import Tensor, nn

from ..shipped_models import check_shipped
from ..weights_file import WeightsError, read_weights

logger = logging.getLogger(__name__)

PREFIX = "backbone."
# Prefix of the ResNet in a backbone with a pyramid.
RESNET = "bottom_up."


def load_backbone(backbone: nn.Module, path: str) -> None:
    """Load the backbone of another model, such as a trained anchor detector.

    Load everything if the backbones match; otherwise the matching ResNet weights only, as the
    pyramids of two models may fuse different levels. Either ResNet may stand alone.

    Args:
        backbone: of the model to be trained.
        path: checkpoint with weights named `backbone...`.

    Raises:
        WeightsError: if the file cannot be read, or nothing in it fits.
    """
    check_shipped(path)
    weights = read_weights(Path(path))
    stored = {k[len(PREFIX) :]: v for k, v in weights.items() if k.startswith(PREFIX)}
    own = backbone.state_dict()
    fitting = _fitting(stored, own)
    if len(fitting) < len(own):
        prefix = RESNET if any(k.startswith(RESNET) for k in own) else ""
        renamed = {prefix + k.removeprefix(RESNET): v for k, v in _resnet(stored).items()}
        fitting = _fitting(renamed, _resnet(own))
    if not fitting:
        raise WeightsError(
            f"{path} holds {len(stored)} weights of a backbone, but none fits this one; give a "
            "checkpoint with the same MODEL.RESNETS, or leave MODEL.BACKBONE.WEIGHTS empty"
        )
    backbone.load_state_dict(fitting, strict=False)
    logger.info("%d of the backbone's %d weights come from %s", len(fitting), len(own), path)


def _resnet(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights below a pyramid; all weights if there is none."""
    return {k: v for k, v in weights.items() if k.startswith(RESNET)} or weights


def _fitting(weights: dict[str, Tensor], own: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k: v for k, v in weights.items() if k in own and v.shape == own[k].shape}
