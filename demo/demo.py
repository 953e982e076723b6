#!/usr/bin/env python
"""Read the words in pictures, or find given words in them.

Read:   python demo/demo.py street.jpg photos/ "scans/*.png" --output pictures --json words.jsonl
Find:   python demo/demo.py street.jpg --words Hill Street --output pictures
        python demo/demo.py photos/ --words photos/labels.jsonl --output pictures

Inputs are files, folders (with all pictures below them) and patterns. Without --output and --json
one JSON line per picture goes to the standard output.

Exit status: 0 if all went well, 1 if pictures were skipped (they are listed at the end), 2 if
the command cannot be carried out, 130 after Ctrl-C. What is done is kept in every case.
"""

import argparse
import glob
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from wecromcl_d2.data.datasets import LabelError, Record, read_labels, usable_words
from wecromcl_d2.files import replace_file
from wecromcl_d2.predictor import (
    AnchorFinder,
    Anchors,
    ImageError,
    Spotter,
    Spotting,
    Tiling,
    model_names,
    read_image,
)
from wecromcl_d2.visualizer import save_image

REFUSED, INTERRUPTED = 2, 130
DEFAULT_TILING = Tiling()

Model = Callable[[list[np.ndarray], list[list[str]]], Sequence[Spotting | Anchors]]


class UsageError(Exception):
    """A command line that cannot be carried out."""


@dataclass(frozen=True)
class Input:
    """A picture to read.

    Attributes:
        path: of the file.
        name: unique among the inputs: the path below the folder that was given, or the file's name.
    """

    path: Path
    name: Path


@dataclass
class Report:
    """What has been done so far.

    Attributes:
        records: one dict per picture.
        skipped: names of pictures that were left out, and why.
    """

    records: list[dict] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("inputs", nargs="+", help="files, folders or quoted patterns")
    parser.add_argument(
        "--words",
        nargs="+",
        help="find these words instead: the words themselves, a .txt file with one a line, or a "
        "label file (.jsonl, .json) that holds the words of each picture",
    )
    model = parser.add_argument_group("model")
    model.add_argument(
        "--model",
        choices=model_names(),
        help="name of a trained model (default: quick, or quick-anchors with --words)",
    )
    model.add_argument("--config-file", help="config of another model; needs --weights")
    model.add_argument("--weights", help="checkpoint of another model; needs --config-file")
    model.add_argument("--device", help="such as cpu or cuda:1 (default: a GPU if there is one)")
    output = parser.add_argument_group("output")
    output.add_argument("--output", type=Path, help="folder of pictures with the words drawn in")
    output.add_argument("--json", type=Path, help="file for one JSON line per picture")
    run = parser.add_argument_group("how")
    run.add_argument("--batch-size", type=int, default=8, help="pictures at once (%(default)s)")
    run.add_argument("--threshold", type=float, help="least score of a word (the config's)")
    run.add_argument("--full-size", action="store_true", help="do not resize, tile if too large")
    run.add_argument(
        "--tile", type=int, default=DEFAULT_TILING.side, help="largest side in pixels (%(default)s)"
    )
    run.add_argument(
        "--tile-overlap",
        type=int,
        default=DEFAULT_TILING.overlap,
        help="longest word in pixels (%(default)s)",
    )
    args = parser.parse_args(argv)
    if bool(args.config_file) != bool(args.weights):
        parser.error("--config-file and --weights belong together")
    if args.config_file and args.model:
        parser.error("give either --model or --config-file and --weights")
    if args.batch_size < 1:
        parser.error(f"--batch-size is {args.batch_size}; use 1 or more")
    if args.words and args.threshold is not None:
        parser.error("--threshold is for reading; words that are given are always found")
    return args


def collect_inputs(arguments: Sequence[str]) -> list[Input]:
    """The pictures that files, folders and patterns stand for, each once.

    Raises:
        UsageError: if one of them stands for nothing.
    """
    Image.init()
    found: dict[Path, Path] = {}
    for argument in arguments:
        path = Path(argument)
        if path.is_dir():
            files = [p for p in sorted(path.rglob("*")) if p.suffix.lower() in Image.EXTENSION]
            named = [(file, file.relative_to(path)) for file in files if file.is_file()]
        elif path.exists():
            named = [(path, Path(path.name))]
        else:
            files = [Path(match) for match in sorted(glob.glob(argument, recursive=True))]
            named = [(file, Path(file.name)) for file in files if file.is_file()]
        if not named:
            raise UsageError(f"{argument}: no such file, and no picture in it or like it")
        for file, name in named:
            found.setdefault(file, name)
    return [Input(path, name) for path, name in zip(found, _unique(found.values()), strict=True)]


def _unique(names: Iterable[Path]) -> list[Path]:
    """Names that differ even without their suffixes, by numbers behind those that do not."""
    taken: set[Path] = set()
    result = []
    for name in names:
        stem, number = name.stem, 1
        while name.with_suffix("") in taken:
            number += 1
            name = name.with_name(f"{stem}-{number}{name.suffix}")
        taken.add(name.with_suffix(""))
        result.append(name)
    return result


def picture_path(folder: Path, item: Input) -> Path:
    """Where the picture of an input goes."""
    return folder / item.name.with_suffix(".png")


def check_outputs(args: argparse.Namespace, inputs: Sequence[Input]) -> None:
    """Make sure that no input will be overwritten.

    Raises:
        UsageError: if one would.
    """
    given = {item.path.resolve() for item in inputs}
    targets = [] if args.output is None else [picture_path(args.output, item) for item in inputs]
    for target in [*targets, *([] if args.json is None else [args.json])]:
        if target.resolve() in given:
            raise UsageError(f"{target} is an input and would be overwritten; choose another place")


def read_words(arguments: Sequence[str], inputs: Sequence[Input]) -> list[list[str] | None]:
    """The words to find in each input, None where a label file says nothing of it.

    Raises:
        UsageError: if a file of words cannot be read.
    """
    path = Path(arguments[0])
    if len(arguments) > 1 or path.suffix.lower() not in (".txt", ".json", ".jsonl"):
        return [list(arguments) for _ in inputs]
    try:
        if path.suffix.lower() == ".txt":
            lines = path.read_text(encoding="utf-8-sig").splitlines()
            return [[line.strip() for line in lines if line.strip()] for _ in inputs]
        words = {Path(r["file_name"]).resolve(): _counted(r) for r in read_labels(path)}
    except (OSError, UnicodeDecodeError, LabelError) as error:
        raise UsageError(f"--words {path}: {error}") from error
    return [words.get(item.path.resolve()) for item in inputs]


def _counted(record: Record) -> list[str]:
    """The words of a record that are not ignored."""
    return [t for t, use in zip(record["texts"], usable_words(record), strict=True) if use]


def build_model(args: argparse.Namespace) -> Model:
    """What turns pixels and the words of each picture into results."""
    if args.words:
        finder = (
            AnchorFinder(args.config_file, args.weights, device=args.device)
            if args.config_file
            else AnchorFinder.from_name(args.model or "quick-anchors", device=args.device)
        )
        return lambda pixels, words: finder(pixels, words, batch_size=args.batch_size)
    options = {
        "device": args.device,
        "threshold": args.threshold,
        "tiling": Tiling(args.tile, args.tile_overlap),
        "full_size": args.full_size,
    }
    spotter = (
        Spotter(args.config_file, args.weights, **options)
        if args.config_file
        else Spotter.from_name(args.model or "quick", **options)
    )
    return lambda pixels, words: spotter(pixels, batch_size=args.batch_size)


def load_batch(
    inputs: Sequence[Input], words: Sequence[list[str] | None], report: Report
) -> list[tuple[Input, np.ndarray, list[str]]]:
    """Inputs with their pixels and words; those that cannot be used are reported."""
    loaded = []
    for item, own in zip(inputs, words, strict=True):
        try:
            if own is None:
                raise ImageError("the label file of --words does not name it")
            loaded.append((item, read_image(item.path), own))
        except ImageError as error:
            report.skipped[str(item.path)] = str(error)
    return loaded


def process(
    args: argparse.Namespace,
    model: Model,
    inputs: Sequence[Input],
    words: Sequence[list[str] | None],
    report: Report,
) -> None:
    """Run the model over all inputs and draw the results."""
    with tqdm(total=len(inputs), unit="picture", disable=None) as bar:
        for start in range(0, len(inputs), args.batch_size):
            few = slice(start, start + args.batch_size)
            batch = load_batch(inputs[few], words[few], report)
            results = model([pixels for _, pixels, _ in batch], [own for _, _, own in batch])
            for (item, _, _), result in zip(batch, results, strict=True):
                if args.output is not None:
                    save_image(picture_path(args.output, item), result.draw())
                report.records.append({"file_name": item.name.as_posix()} | result.to_dict())
            bar.update(len(inputs[few]))


def write_report(args: argparse.Namespace, report: Report) -> None:
    """Write the records, and list what was skipped."""
    lines = "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in report.records)
    if args.json is not None:
        with replace_file(args.json) as file:
            file.write(lines.encode("utf-8", "backslashreplace"))
    elif args.output is None:
        print(lines, end="")
    print(f"{len(report.records)} pictures done", file=sys.stderr)
    if report.skipped:
        print(f"{len(report.skipped)} skipped:", file=sys.stderr)
        for name, reason in report.skipped.items():
            print(f"  {name}: {reason}", file=sys.stderr)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo; returns the exit status."""
    args = parse_args(argv)
    report, status = Report(), 0
    try:
        inputs = collect_inputs(args.inputs)
        check_outputs(args, inputs)
        words = read_words(args.words, inputs) if args.words else [[] for _ in inputs]
        model = build_model(args)
        try:
            process(args, model, inputs, words, report)
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            status = INTERRUPTED
        finally:
            write_report(args, report)
    except (UsageError, ValueError, OSError) as error:
        print(f"demo.py: {error}", file=sys.stderr)
        return REFUSED
    return status or int(bool(report.skipped))


if __name__ == "__main__":
    sys.exit(main())
