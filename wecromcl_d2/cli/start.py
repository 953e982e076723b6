"""Start weights of a training from a trained model, also of another alphabet."""

from collections.abc import Sequence
from pathlib import Path

import torch

from ..engine.loading import load_model
from ..files import replace_file
from ..predictor.registry import find_model
from ..shipped_models import check_shipped
from ..tasks import load_config
from ..weights_file import WeightsError, read_weights

# Modules of both stages whose weights do not depend on the alphabet.
IMAGE_MODULES = ("backbone.", "image_encoder.", "anchor_head.", "sampler.")


def start_weights(config_file: str, opts: Sequence[str], name: str, folder: Path) -> str:
    """The file for MODEL.WEIGHTS that lets a training start from a trained model.

    If all of the model's weights fit the config, this is the model's own file. Of a model with
    another alphabet or text encoder only the modules in `IMAGE_MODULES` are written to a new file;
    the rest of the new model is initialised randomly.

    Raises:
        ValueError: for an unknown name.
        FileNotFoundError: if the model's files do not exist.
        WeightsError: if the model has no module of `IMAGE_MODULES`, or is damaged.
    """
    weights = find_model(name)[1]
    try:
        load_model(load_config(config_file, opts), str(weights))
    except WeightsError as error:
        print(f"{config_file} starts from the image modules of {name} alone: {error}")
    else:
        return str(weights)
    check_shipped(weights)  # a damaged file is no other alphabet
    kept = {k: v for k, v in read_weights(weights).items() if k.startswith(IMAGE_MODULES)}
    if not kept:
        raise WeightsError(f"{weights} has no image modules; start without {name}")
    folder.mkdir(parents=True, exist_ok=True)
    output = folder / f"{name}-image-modules.pth"
    with replace_file(output) as file:
        torch.save({"model": kept}, file)
    return str(output)
