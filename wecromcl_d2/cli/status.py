"""Parsers of commands, their exit statuses, and the conversion of errors to messages."""

import argparse
import functools
import multiprocessing
import os
import sys
from collections.abc import Callable, Sequence

from ..own_modules import add_own_module

DONE = 0
LOSSES = 1  # done, but the command lists parts of the input that it could not use
WRONG_COMMAND = 2  # the status of argparse too
INTERRUPTED = 130  # as the shell reports Ctrl-C

# Raised for a wrong path, config, dataset or file. Any other error is a defect; its trace is shown.
USER_ERRORS = (ValueError, KeyError, OSError, FloatingPointError)

Main = Callable[[Sequence[str] | None], int]


def command_parser(
    name: str, description: str | None, epilog: str | None = None
) -> argparse.ArgumentParser:
    """A parser whose help keeps the lines of its texts, mostly a module's docstring."""
    return argparse.ArgumentParser(
        prog=f"wecromcl {name}",
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def command(name: str, *errors: type[Exception]) -> Callable[[Main], Main]:
    """Decorator of a command's `main`: errors of the user become a message and an exit status.

    Args:
        name: of the command.
        errors: raised for the user's mistakes beside `USER_ERRORS`.
    """
    refused: tuple[type[Exception], ...] = (*USER_ERRORS, *errors)

    def decorate(main: Main) -> Main:
        @functools.wraps(main)
        def run(argv: Sequence[str] | None = None) -> int:
            try:
                return main(argv)
            except KeyboardInterrupt:
                for process in multiprocessing.active_children():
                    process.terminate()
                print("interrupted", file=sys.stderr)
                return INTERRUPTED
            except refused as error:
                print(f"wecromcl {name}: {_message(error)}", file=sys.stderr)
                return WRONG_COMMAND

        return run

    return decorate


def _message(error: BaseException) -> str:
    """What an error says, without the trace that a data loader's worker puts into its text."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        if isinstance(error, FileExistsError) and os.path.isfile(error.filename):
            return f"{error.filename} is a file; name a folder"
        return f"{error.filename}: {error.strerror}"
    # The text of a KeyError is its message in quotes.
    message = str(error.args[0] if isinstance(error, KeyError) and error.args else error)
    if "Original Traceback (most recent call last):" not in message:
        return message
    last = message.strip().splitlines()[-1]
    return last.partition(": ")[2] or last


class _Import(argparse.Action):
    def __call__(self, parser, namespace, value, option_string=None):
        try:
            add_own_module(value)
        except ImportError as error:
            parser.error(f"--import {value}: {error}")


def add_import_option(parser: argparse.ArgumentParser) -> None:
    """Extend the parser of a command that takes names of datasets by `--import MODULE`."""
    parser.add_argument(
        "--import",
        action=_Import,
        metavar="MODULE",
        help="import it first, with the datasets and models that it registers; may be repeated",
    )


def add_dataset_option(parser: argparse.ArgumentParser) -> None:
    """Extend the parser of a command by a required `--dataset`, and by `--import MODULE`."""
    parser.add_argument(
        "--dataset",
        required=True,
        help="registered dataset, or a label file: FILE.jsonl or FILE.jsonl@IMAGE_ROOT",
    )
    add_import_option(parser)


def check_max_side(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Report a negative `--max-side` as a wrong command; it may be absent, and 0 is no limit."""
    if args.max_side is not None and args.max_side < 0:
        parser.error(f"--max-side is {args.max_side}; give a number of pixels, or 0 for no limit")


def check_positive(parser: argparse.ArgumentParser, args: argparse.Namespace, *names: str) -> None:
    """Report options below 1 as a wrong command.

    Args:
        parser: of the command.
        args: the parsed command line.
        names: of the options in `args`.
    """
    for name in names:
        if getattr(args, name) < 1:
            option = f"--{name.replace('_', '-')}"
            parser.error(f"{option} is {getattr(args, name)}; use 1 or more")
