"""Find the points of given words in images.

    wecromcl find street.jpg --words Hill Street --output drawn
    wecromcl find photos/ --words photos/labels.jsonl --output drawn

Every given word gets the strongest peak of its map. Inputs, outputs and exit statuses are those of
`wecromcl read`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from ..data.datasets import LabelError, read_labels
from ..data.label_format import texts_that_count
from ..predictor import AnchorFinder
from .inputs import (
    Input,
    Model,
    UsageError,
    add_common_arguments,
    check_common_arguments,
    load_predictor,
    predictor_options,
    run_inputs,
)
from .status import command, command_parser


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The parsed command line."""
    parser = command_parser("find", __doc__)
    add_common_arguments(parser, AnchorFinder.task)
    parser.add_argument(
        "--words",
        nargs="+",
        required=True,
        help="the words themselves, a .txt file with one a line, or a label file (.jsonl, .json) "
        "that holds the words of each image",
    )
    args = parser.parse_args(argv)
    check_common_arguments(parser, args)
    return args


def read_words(arguments: Sequence[str], inputs: Sequence[Input]) -> list[list[str] | None]:
    """The words to find in each input, None if the label file has no entry for it.

    Raises:
        UsageError: if a file of words cannot be read.
    """
    path = Path(arguments[0])
    if len(arguments) > 1 or path.suffix.lower() not in (".txt", ".json", ".jsonl"):
        if path.is_file():
            raise UsageError(
                f"--words {path} is a file, but neither .txt, with a word a line, nor a label "
                "file, .jsonl or .json; `wecromcl labels` makes one from a table"
            )
        return [list(arguments) for _ in inputs]
    try:
        if path.suffix.lower() == ".txt":
            lines = path.read_text(encoding="utf-8-sig").splitlines()
            return [[line.strip() for line in lines if line.strip()] for _ in inputs]
        words = {Path(r["file_name"]).resolve(): texts_that_count(r) for r in read_labels(path)}
    except (OSError, UnicodeDecodeError, LabelError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"--words {path}: {reason}") from error
    return [words.get(item.path.resolve()) for item in inputs]


def build_model(args: argparse.Namespace) -> Model:
    """The anchor detector of a command line."""
    finder = load_predictor(AnchorFinder, args, **predictor_options(args))
    return lambda pixels, words: finder(pixels, words, batch_size=args.batch_size)


@command("find")
def main(argv: Sequence[str] | None = None) -> int:
    """Find words; returns the exit status."""
    args = parse_args(argv)
    return run_inputs(
        args, lambda: build_model(args), lambda inputs: read_words(args.words, inputs)
    )
