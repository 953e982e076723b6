#!/usr/bin/env python
"""Convert the published weights of SPTS or SPTSv2 to ours.

    python tools/convert_spts_weights.py --source spts totaltext.pth weights/spts_totaltext.pth
    python tools/convert_spts_weights.py --source sptsv2 ic15.pth weights/sptsv2_ic15.pth

The converted weights keep the terms of their publishers, who allow both for non-commercial research
only; nothing of them comes with this project. Every name that is missing or not used is printed,
and nothing is written unless all of them fit. Files are read without running any code in them.
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

import torch
from detectron2.modeling import build_model
from torch import Tensor

from wecromcl_d2.files import replace_file
from wecromcl_d2.stage2.spts.official_names import SOURCES, convert
from wecromcl_d2.tasks import load_config
from wecromcl_d2.weights_file import WeightsError, read_weights

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = {
    "spts": "configs/stage2/spts/Base-SPTS.yaml",
    "sptsv2": "configs/stage2/spts/sptsv2_pretrain.yaml",
}
# What the model has beside its weights, which the published files cannot hold.
OWN_STATE = "charset_state."
TERMS = "the weights keep the terms of their publishers: non-commercial research only"


def convert_file(source: str, path: Path, output: Path, model: Mapping[str, Tensor]) -> None:
    """Convert one file and print what did not find its place.

    Args:
        source: "spts" or "sptsv2".
        path: the published checkpoint.
        output: file to write.
        model: state of the model that the weights are for.

    Raises:
        WeightsError: if they do not fit; nothing is written then.
    """
    weights = read_weights(path)
    conversion = convert(weights, source)
    expected = {name for name in model if not name.startswith(OWN_STATE)}
    counters = {name for name in expected if name.endswith("num_batches_tracked")}
    lacking = sorted(expected - counters - set(conversion.weights))
    for title, names in (
        ("missing", conversion.missing),
        ("missing in the result", lacking),
        ("not used", conversion.unused),
        ("not used, for it follows from others", conversion.idle),
    ):
        for name in names:
            print(f"{title}: {name}")
    if conversion.missing or conversion.unused or lacking:
        raise WeightsError(
            f"{path} does not fit, see the names above; choose another --source or --config-file"
        )
    for name, value in conversion.weights.items():
        if name in expected and value.shape != model[name].shape:
            raise WeightsError(
                f"{name} is {tuple(value.shape)}, but the model has {tuple(model[name].shape)}; "
                "choose another --config-file"
            )
        if not torch.isfinite(value).all():
            raise WeightsError(f"{name} holds values that are not finite; fetch {path} again")
    ours = {k: v for k, v in conversion.weights.items() if k in expected}
    ours |= {k: v for k, v in model.items() if k.startswith(OWN_STATE)}
    with replace_file(output) as file:
        torch.save({"model": ours}, file)
    print(f"{len(ours)} weights converted; wrote {output}; {TERMS}")


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("input", type=Path, help="published checkpoint to read, .pth")
    parser.add_argument("output", type=Path, help="file to write, .pth")
    parser.add_argument("--source", required=True, choices=SOURCES, help="whose weights they are")
    parser.add_argument("--config-file", type=Path, help="of the model that they are for")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Convert what the command line names."""
    args = parse_args(argv)
    # The published files hold the options of their training beside the weights.
    torch.serialization.add_safe_globals([argparse.Namespace])
    config = args.config_file or ROOT / CONFIGS[args.source]
    model = build_model(load_config(str(config), ["MODEL.DEVICE", "cpu"])).state_dict()
    try:
        convert_file(args.source, args.input, args.output, model)
    except WeightsError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
