r"""Convert published weights to ours, ours to the authors' names, or a checkpoint to a small file.

    wecromcl convert --source official pretrained.pth weights/pretrained.pth
    wecromcl convert --source torchvision resnet50-19c8e357.pth weights/R-50.pth
    wecromcl convert --source detectron2 R-50.pkl weights/R-50.pth
    wecromcl convert --source ours output/model_final.pth released.pth
    wecromcl convert --source spts totaltext.pth weights/spts_totaltext.pth
    wecromcl convert --source sptsv2 ic15.pth weights/sptsv2_ic15.pth
    wecromcl convert --source trained --config-file configs/quick/anchors.yaml \
        output/quick_anchors/model_best.pth quick_anchors.pth

"official" and "ours" are anchor detectors, stage 1. A ResNet-50 is loaded into the backbone alone;
the rest of the model is initialised randomly. "spts" and "sptsv2" are the published spotters; their
converted weights keep the terms of their publishers, who allow both for non-commercial research
only, and this project contains none of them. "trained" is any model trained here: only its weights
are written, matrices and kernels in half precision, a sixth of a checkpoint with AdamW's state. To
let it come with the package, name the output shipped://NAME: config and checksum are written beside
the weights (docs/MODEL_ZOO.md).

Every name that is missing or not used is printed, and nothing is written unless all of them fit or
--partial is given. Files are read without running any code in them.
"""

import argparse
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from torch import Tensor

from ..files import replace_file
from ..layers.charset_state import describe_difference
from ..shipped_models import CARD, CONFIG, SCHEME, shipped_weights, write_checksum
from ..stage1.checkpoint_names import (
    CHARSET,
    OFFICIAL_IDLE_SHAPES,
    Conversion,
    convert_weights,
    official_names,
    to_official,
)
from ..stage2.spts import official_names as spts_names
from ..tasks import load_config
from ..weights_file import WeightsError, read_weights
from .status import DONE, command, command_parser

CONFIGS = {
    "spts": "configs/stage2/spts/Base-SPTS.yaml",
    "sptsv2": "configs/stage2/spts/sptsv2_pretrain.yaml",
}
STAGE1_CONFIG = "configs/stage1/official.yaml"
# Prefix of a spotter's buffers that published files do not have.
OWN_STATE = "charset_state."
TERMS = "the weights keep the terms of their publishers: non-commercial research only"


def check_weights(weights: Mapping[str, Tensor], model: Mapping[str, Tensor]) -> None:
    """Check that weights under our names fit a model and are finite.

    Args:
        weights: converted weights.
        model: state of a model with the same names.

    Raises:
        WeightsError: naming the first weight that the model lacks, that has another shape or a
            value that is not finite.
    """
    for name, value in weights.items():
        if name not in model:
            raise WeightsError(f"the model has no {name}; choose another --config-file")
        wanted = tuple(model[name].shape)
        if tuple(value.shape) != wanted:
            hint = ""
            if name.endswith("token_embedding.weight"):
                hint = "; its rows are padding, characters and spare rows: another alphabet?"
            raise WeightsError(f"{name} is {tuple(value.shape)}, but the model has {wanted}{hint}")
        if not torch.isfinite(value).all():
            raise WeightsError(f"{name} holds values that are not finite; the training broke down")


def check_charset(path: Path, weights: Mapping[str, Tensor], model: Mapping[str, Tensor]) -> None:
    """Check that weights with a stored alphabet have that of the model.

    Raises:
        WeightsError: naming the characters that differ.
    """
    if CHARSET not in weights or CHARSET not in model:
        return
    problem = describe_difference(weights[CHARSET].tolist(), model[CHARSET].tolist())
    if problem:
        raise WeightsError(f"{path} has another alphabet than --config-file: {problem}")


def model_state(config_file: str) -> dict[str, Tensor]:
    """Random weights of a config's model, for their names and shapes."""
    return build_model(load_config(config_file, ["MODEL.DEVICE", "cpu"])).state_dict()


def report(conversion: Conversion) -> None:
    """Print every missing and every unused name, and the totals."""
    for title, names in (
        ("missing", conversion.missing),
        ("not used", conversion.unused),
        ("not used, because no model computes with it", conversion.idle),
    ):
        for name in names:
            print(f"{title}: {name}")
    print(
        f"{len(conversion.weights)} weights converted, {len(conversion.missing)} missing, "
        f"{len(conversion.unused) + len(conversion.idle)} not used"
    )


def convert_file(
    source: str,
    path: Path,
    output: Path,
    model: Mapping[str, Tensor],
    *,
    prefix: str = "",
    partial: bool = False,
) -> None:
    """Convert one file of stage 1 or of a backbone.

    Args:
        source: "official", "torchvision", "detectron2" or "ours".
        path: file that is read.
        output: file that is written, for the release if `source` is "ours", else for Detectron2.
        model: state of the model that the weights are of or for.
        prefix: put before all names for the release.
        partial: write although names are missing or not used.

    Raises:
        WeightsError: if the weights do not fit; nothing is written then.
    """
    weights = read_weights(path)
    content: dict[str, Any]
    if source == "ours":
        conversion = to_official(weights)
        print(f"zero, because no model computes with them: {', '.join(OFFICIAL_IDLE_SHAPES)}")
        ours = {name: weights[name] for name in set(official_names().values()) & set(weights)}
        content = {prefix + name: value.contiguous() for name, value in conversion.weights.items()}
    else:
        conversion = convert_weights(weights, source)
        ours = conversion.weights
        known = {CHARSET: model[CHARSET]} if source == "official" and CHARSET in model else {}
        content = {"model": ours | known}
    report(conversion)
    if len(conversion.unused) + len(conversion.idle) == len(weights):
        raise WeightsError(f"{path} holds no weight that --source {source} knows; try another")
    check_charset(path, weights, model)
    check_weights(ours, model)
    if (conversion.missing or conversion.unused) and not partial:
        raise WeightsError(
            f"{path} does not fit, see the names above; choose another --source or --config-file, "
            "or --partial to convert the rest all the same"
        )
    with replace_file(output) as file:
        torch.save(content, file)
    print(f"wrote {output}")


def convert_spts_file(source: str, path: Path, output: Path, model: Mapping[str, Tensor]) -> None:
    """Convert a published spotter and print the missing and unused names.

    Args:
        source: "spts" or "sptsv2".
        path: the published checkpoint.
        output: file to write.
        model: state of the model that the weights are for.

    Raises:
        WeightsError: if they do not fit; nothing is written then.
    """
    weights = read_weights(path)
    conversion = spts_names.convert(weights, source)
    own = {name: value for name, value in model.items() if name.startswith(OWN_STATE)}
    needed = {name for name in model if not name.endswith("num_batches_tracked")} - own.keys()
    lacking = sorted(needed - conversion.weights.keys())
    conversion.missing.extend(f"{name} in the result" for name in lacking)
    report(conversion)
    if conversion.missing or conversion.unused:
        raise WeightsError(
            f"{path} does not fit, see the names above; choose another --source or --config-file"
        )
    ours = {name: value for name, value in conversion.weights.items() if name in model}
    check_weights(ours, model)
    with replace_file(output) as file:
        torch.save({"model": ours | own}, file)
    print(f"wrote {output}; {TERMS}")


def convert_trained_file(path: Path, output: Path, model: Mapping[str, Tensor]) -> None:
    """Write the weights of a checkpoint without the state of its training, in half precision.

    Vectors stay in full precision: biases and statistics are few, and variances may be tiny.

    Args:
        path: checkpoint of a training of this package.
        output: file to write.
        model: state of the model that the checkpoint is of.

    Raises:
        WeightsError: if the weights do not fit, or are too large for half precision.
    """
    weights = read_weights(path)
    missing = sorted(set(model) - set(weights))
    if missing:
        raise WeightsError(f"{path} has no {missing[0]}; choose another --config-file")
    check_charset(path, weights, model)
    check_weights(weights, model)
    small = {name: _halved(value) for name, value in weights.items()}
    large = [name for name, value in small.items() if not torch.isfinite(value).all()]
    if large:
        raise WeightsError(f"{path}: {large[0]} holds values above 65,504, too large to be halved")
    with replace_file(output) as file:
        torch.save({"model": small}, file)
    checksum = hashlib.sha256(output.read_bytes()).hexdigest()
    print(f"{len(small)} weights, {output.stat().st_size / 1e6:.1f} MB, SHA-256 {checksum}")
    print(f"wrote {output}")


def ship(config_file: str, path: Path, output: Path) -> None:
    """Write a trained model as one that comes with the package: config, weights and checksum.

    The config holds what inference needs, and no weights or datasets of the training.

    Args:
        config_file: of the training.
        path: checkpoint of the training.
        output: file of the weights, in the folder that has the model's name.

    Raises:
        WeightsError: see `convert_trained_file`.
    """
    folder = output.parent
    convert_trained_file(path, output, model_state(config_file))
    cfg = load_config(config_file, ["MODEL.WEIGHTS", "", "MODEL.BACKBONE.WEIGHTS", ""]).clone()
    cfg.defrost()
    cfg.MODEL.DEVICE = "cuda"  # a GPU if there is one, see `load_config`
    kept = CfgNode({key: cfg[key] for key in ("TASK", "MODEL", "INPUT", "TEST", "VERSION")})
    with replace_file(folder / CONFIG) as file:
        file.write(kept.dump().encode())
    write_checksum(folder)
    if not (folder / CARD).is_file():
        print(f"write its card, {folder / CARD}, from the template in docs/MODEL_ZOO.md")


def _halved(value: Tensor) -> Tensor:
    """A matrix or kernel in half precision, anything else unchanged."""
    return value.half() if value.is_floating_point() and value.ndim > 1 else value


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The parsed command line."""
    parser = command_parser("convert", __doc__)
    add = parser.add_argument
    add("input", type=Path, help="file to read, .pth or .pkl")
    add("output", help="file to write, .pth; with `trained` also shipped://NAME")
    add(
        "--source",
        required=True,
        choices=("official", "torchvision", "detectron2", "ours", "trained", *spts_names.SOURCES),
        help="what the input is; `ours` is written for the release, `trained` in half precision, "
        "the others for us",
    )
    add(
        "--config-file",
        help="config of the model that the weights must fit (default: "
        f"{', '.join(f'{path} for {source}' for source, path in CONFIGS.items())}, else "
        f"{STAGE1_CONFIG})",
    )
    add("--module", action="store_true", help="write names with the prefix `module.`, with `ours`")
    add(
        "--partial",
        action="store_true",
        help="write although names are missing or not used; not for spotters",
    )
    args = parser.parse_args(argv)
    if args.partial and args.source in CONFIGS:
        parser.error(f"--partial cannot be used with --source {args.source}")
    if args.source != "trained" and args.output.startswith(SCHEME):
        parser.error(f"{args.output}: only models trained here come with the package")
    if args.source == "trained" and (args.partial or not args.config_file):
        parser.error("--source trained needs the --config-file of the training, and no --partial")
    return args


@command("convert")
def main(argv: Sequence[str] | None = None) -> int:
    """Convert what the command line names."""
    args = parse_args(argv)
    output = Path(shipped_weights(args.output))
    if args.source == "trained" and args.output.startswith(SCHEME):
        ship(args.config_file, args.input, output)
        return DONE
    model = model_state(args.config_file or CONFIGS.get(args.source, STAGE1_CONFIG))
    if args.source == "trained":
        convert_trained_file(args.input, output, model)
    elif args.source in CONFIGS:
        # The published files hold the options of their training beside the weights.
        torch.serialization.add_safe_globals([argparse.Namespace])
        convert_spts_file(args.source, args.input, output, model)
    else:
        prefix = "module." if args.module else ""
        convert_file(args.source, args.input, output, model, prefix=prefix, partial=args.partial)
    return DONE
