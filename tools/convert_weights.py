#!/usr/bin/env python
"""Convert stage-1 weights: the authors' checkpoint or a plain ResNet-50 to ours, or ours back.

    python tools/convert_weights.py --source official pretrained.pth weights/pretrained.pth
    python tools/convert_weights.py --source torchvision resnet50-19c8e357.pth weights/R-50.pth
    python tools/convert_weights.py --source detectron2 R-50.pkl weights/R-50.pth
    python tools/convert_weights.py --source ours output/model_final.pth released.pth

A ResNet-50 fills the backbone alone; the training starts the rest from random numbers. Every name
that is missing or not used is printed, and nothing is written unless all of them fit or --partial
is given. Files are read without running any code in them.
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from detectron2.modeling import build_model
from torch import Tensor

from wecromcl_d2.files import replace_file
from wecromcl_d2.layers.charset_state import describe_difference
from wecromcl_d2.stage1.checkpoint_names import (
    CHARSET,
    OFFICIAL_IDLE_SHAPES,
    Conversion,
    convert_weights,
    official_names,
    to_official,
)
from wecromcl_d2.tasks import load_config
from wecromcl_d2.weights_file import WeightsError, read_weights


def check_weights(weights: Mapping[str, Tensor], model: Mapping[str, Tensor]) -> None:
    """Make sure that weights under our names fit a model and are numbers.

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
    """Make sure that weights that keep their alphabet have the model's.

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
    """Print every name that did not find its place."""
    for title, names in (
        ("missing", conversion.missing),
        ("not used", conversion.unused),
        ("not used, for no model computes with it", conversion.idle),
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
    """Convert one file.

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
        print(f"zero, for no model computes with them: {', '.join(OFFICIAL_IDLE_SHAPES)}")
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


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("input", type=Path, help="file to read, .pth or .pkl")
    parser.add_argument("output", type=Path, help="file to write, .pth")
    parser.add_argument(
        "--source",
        required=True,
        choices=("official", "torchvision", "detectron2", "ours"),
        help="what the input is; `ours` is written for the release, the others for us",
    )
    parser.add_argument(
        "--config-file",
        default="configs/stage1/official.yaml",
        help="config of the model that the weights must fit (default: %(default)s)",
    )
    parser.add_argument(
        "--module", action="store_true", help="write names with the prefix `module.`, with `ours`"
    )
    parser.add_argument(
        "--partial", action="store_true", help="write although names are missing or not used"
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Convert what the command line names."""
    args = parse_args(argv)
    try:
        convert_file(
            args.source,
            args.input,
            args.output,
            model_state(args.config_file),
            prefix="module." if args.module else "",
            partial=args.partial,
        )
    except WeightsError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
