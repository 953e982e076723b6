"""Write a trained model as ONNX or TorchScript graphs.

    wecromcl export-model --model quick --output exported --format onnx

writes the graphs, `model.json` and, for ONNX, the folder `wecromcl_onnx`, with which the model runs
on numpy and onnxruntime alone; docs/EXPORT.md shows how.
"""

import argparse
import importlib.util
from collections.abc import Sequence
from pathlib import Path

from ..export.writer import WRITERS, export_model
from ..files import find_file
from ..predictor.registry import find_model
from ..tasks import load_config
from .status import DONE, command, command_parser


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The parsed command line."""
    parser = command_parser("export-model", __doc__)
    add = parser.add_argument
    add("--model", help="name of a trained model, such as quick or quick-anchors")
    add("--config-file", help="config of another model; needs --weights")
    add("--weights", help="checkpoint of another model; needs --config-file")
    add("--output", type=Path, required=True, help="folder of the exported model")
    add("--format", choices=sorted(WRITERS), default="onnx", help="of the graphs (%(default)s)")
    add("opts", nargs="*", help="KEY VALUE pairs that override the config")
    args = parser.parse_args(argv)
    if bool(args.config_file) != bool(args.weights) or bool(args.model) == bool(args.weights):
        parser.error("give either --model, or --config-file and --weights")
    if args.format == "onnx" and importlib.util.find_spec("onnx") is None:
        parser.error("--format onnx needs the package onnx: pip install 'wecromcl_d2[export]'")
    return args


@command("export-model")
def main(argv: Sequence[str] | None = None) -> int:
    """Export a model; returns the exit status."""
    args = parse_args(argv)
    config, weights = find_model(args.model) if args.model else (args.config_file, args.weights)
    cfg = load_config(config, args.opts)
    for path in export_model(cfg, str(find_file(weights)), args.output, args.format):
        print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")
    return DONE
