"""Find and read the words in images.

    wecromcl read street.jpg photos/ "scans/*.png" --output drawn --json words.jsonl

    wecromcl read film.mp4 --every 25 --json words.jsonl
    wecromcl read - < street.jpg

Inputs are files, folders (with all images below them), patterns, films, and an image on the
standard input. Without --output, --json and --print one JSON line per image goes to the standard
output.

    wecromcl read --bulk "shards/{000..099}.tar" --json words.jsonl

reads any number of images and continues after an interruption; an image that cannot be read has a
line with its "problem".

Exit status: 0 if all images were read, 1 if images were skipped (they are listed at the end), 2
if the command cannot be executed, 130 after Ctrl-C. Finished results are written in every case.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from ..predictor import Spotter, Tiling
from .bulk import add_bulk_argument, check_bulk, read_bulk
from .inputs import (
    Model,
    add_common_arguments,
    check_common_arguments,
    load_predictor,
    predictor_options,
    run_inputs,
)
from .status import command, command_parser

DEFAULT_TILING = Tiling()


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The parsed command line."""
    parser = command_parser("read", __doc__)
    add_common_arguments(parser, Spotter.task)
    add_bulk_argument(parser)
    parser.add_argument("--threshold", type=float, help="least score of a word (the config's)")
    parser.add_argument("--full-size", action="store_true", help="do not resize, tile if too large")
    parser.add_argument(
        "--tile", type=int, default=DEFAULT_TILING.side, help="largest side in pixels (%(default)s)"
    )
    parser.add_argument(
        "--tile-overlap",
        type=int,
        default=DEFAULT_TILING.overlap,
        help="longest word in pixels (%(default)s)",
    )
    args = parser.parse_args(argv)
    check_common_arguments(parser, args)
    check_bulk(parser, args)
    if args.threshold is not None and not 0 <= args.threshold <= 1:
        parser.error(f"--threshold is {args.threshold:g}; scores of words are from 0 to 1")
    return args


def build_model(args: argparse.Namespace) -> Model:
    """The spotter of a command line."""
    spotter = load_predictor(
        Spotter,
        args,
        threshold=args.threshold,
        tiling=Tiling(args.tile, args.tile_overlap),
        full_size=args.full_size,
        **predictor_options(args),
    )
    return lambda pixels, words: spotter(pixels, batch_size=args.batch_size)


@command("read")
def main(argv: Sequence[str] | None = None) -> int:
    """Read images; returns the exit status."""
    args = parse_args(argv)
    if args.bulk:
        return read_bulk(args, lambda: build_model(args))
    return run_inputs(args, lambda: build_model(args), lambda inputs: [[] for _ in inputs])
