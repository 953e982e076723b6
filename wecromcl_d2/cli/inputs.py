"""Shared by `wecromcl read` and `wecromcl find`: their inputs, their run and their report."""

from __future__ import annotations

import argparse
import glob
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image
from tqdm import tqdm

from ..data.images import check_no_url
from ..files import replace_file
from ..predictor import Anchors, ImageError, Spotting, model_names, read_image
from ..predictor.base import Predictor
from ..predictor.registry import DEFAULT_MODELS
from ..visualizer import save_image
from .film import FILM_SUFFIXES, Film
from .status import DONE, INTERRUPTED, LOSSES, check_max_side, check_positive

AnyPredictor = TypeVar("AnyPredictor", bound=Predictor)
# The input that stands for an image on the standard input.
STDIN = Path("-")
# Pixels of a batch and the words of each image -> results.
Model = Callable[[list[np.ndarray], list[list[str]]], Sequence[Spotting | Anchors]]


class UsageError(ValueError):
    """A command line that cannot be executed."""


@dataclass(frozen=True)
class Input:
    """An image to read.

    Attributes:
        path: of the file, or of the film; `STDIN` for the standard input.
        name: unique among the inputs: the path relative to the given folder, or the file's name.
        film: that the image is a frame of, or None.
        frame: its number in the film, from 0.
    """

    path: Path
    name: Path
    film: Film | None = None
    frame: int = 0

    @property
    def label(self) -> str:
        """How messages name it."""
        return str(self.path) if self.film is None else f"{self.path}, frame {self.frame}"

    def read(self) -> np.ndarray:
        """RGB pixels (H, W, 3).

        Raises:
            ImageError: if it cannot be read.
        """
        if self.film is not None:
            return self.film.read(self.frame)
        return read_image(sys.stdin.buffer.read() if self.path == STDIN else self.path)


@dataclass
class Report:
    """Results and skipped images so far.

    Attributes:
        records: one dict per image.
        skipped: reason by name, of images that were left out.
        empty: advice by name, of images in which nothing was found.
        unread: words by name, of images with words that no point can be found for.
    """

    records: list[dict] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    empty: dict[str, str] = field(default_factory=dict)
    unread: dict[str, str] = field(default_factory=dict)


def add_common_arguments(parser: argparse.ArgumentParser, task: str) -> None:
    """Add the options that both commands share: inputs, model and output.

    Args:
        parser: of the command.
        task: TASK of its models, which says the default one.
    """
    parser.add_argument(
        "inputs",
        nargs="+",
        help="image files, folders of them, quoted patterns, films, or - for the standard input",
    )
    parser.add_argument(
        "--every", type=int, default=1, metavar="N", help="take every Nth frame of films"
    )
    model = parser.add_argument_group("model")
    model.add_argument(
        "--model",
        choices=model_names(),
        help=f"name of a trained model (default: {DEFAULT_MODELS[task]})",
    )
    model.add_argument("--config-file", help="config of another model; needs --weights")
    model.add_argument("--weights", help="checkpoint of another model; needs --config-file")
    model.add_argument("--device", help="such as cpu or cuda:1 (default: a GPU if there is one)")
    model.add_argument(
        "--max-side",
        type=int,
        metavar="PIXELS",
        help="longest side that the model sees; larger images are shrunk, 0 never (the config's)",
    )
    model.add_argument(
        "--scales",
        type=float,
        nargs="+",
        metavar="FACTOR",
        help="see images at several scales, such as 0.5 1 2, for words of very different sizes",
    )
    output = parser.add_argument_group("output")
    output.add_argument("--output", type=Path, help="folder of images with the words drawn in")
    output.add_argument("--print", action="store_true", help="the words of each image, as text")
    output.add_argument("--json", type=Path, help="file for one JSON line per image")
    parser.add_argument("--batch-size", type=int, default=8, help="images at once (%(default)s)")


def load_predictor(
    kind: type[AnyPredictor], args: argparse.Namespace, **options: Any
) -> AnyPredictor:
    """The model of a command line, by its files or by its name.

    Args:
        kind: of predictor.
        args: with `config_file`, `weights` and `model`.
        **options: of the predictor.
    """
    if args.config_file:
        return kind(args.config_file, args.weights, **options)
    return kind.from_name(args.model or "", **options)


def predictor_options(args: argparse.Namespace) -> dict[str, Any]:
    """The options of both predictors on a command line."""
    return {"device": args.device, "max_side": args.max_side, "scales": args.scales}


def check_common_arguments(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Report options that contradict each other as a wrong command."""
    if bool(args.config_file) != bool(args.weights):
        parser.error("--config-file and --weights belong together")
    if args.config_file and args.model:
        parser.error("give either --model or --config-file and --weights")
    check_positive(parser, args, "batch_size", "every")
    check_max_side(parser, args)


def collect_inputs(arguments: Sequence[str], every: int = 1) -> list[Input]:
    """The images of files, folders, patterns and films, each once.

    Args:
        arguments: of the command line.
        every: distance of the frames that are taken of films.

    Raises:
        UsageError: if one of them names no image.
        ImageError: for a URL, or a film that cannot be read.
    """
    found: dict[Path, Path] = {}
    for argument in arguments:
        check_no_url(argument)
        named = _files_of(argument)
        if not named:
            raise UsageError(f"{argument}: no such file, and no image in it or like it")
        for file, name in named:
            found.setdefault(file, name)
    taken: set[Path] = set()
    inputs = []
    for path, name in found.items():
        name = unique_name(name, taken)
        if path.suffix.lower() not in FILM_SUFFIXES:
            inputs.append(Input(path, name))
            continue
        film, folder = Film(path), name.with_suffix("")
        frames = range(0, film.count, every)
        inputs += [Input(path, folder / f"{frame:06}.png", film, frame) for frame in frames]
    return inputs


def _files_of(argument: str) -> list[tuple[Path, Path]]:
    """Path and name of each file that an argument stands for; of folders the images alone."""
    Image.init()
    path = Path(argument)
    if path == STDIN:
        return [(STDIN, Path("stdin"))]
    if path.is_dir():
        files = [p for p in sorted(path.rglob("*")) if p.suffix.lower() in Image.EXTENSION]
        return [(file, file.relative_to(path)) for file in files if file.is_file()]
    if path.exists():
        return [(path, Path(path.name))]
    files = [Path(match) for match in sorted(glob.glob(argument, recursive=True))]
    return [(file, Path(file.name)) for file in files if file.is_file()]


def unique_name(name: Path, taken: set[Path]) -> Path:
    """A name that is unique without its suffix, by an appended number.

    Args:
        name: of a file.
        taken: names without suffixes that other files have; this one is added.
    """
    stem, number = name.stem, 1
    while name.with_suffix("") in taken:
        number += 1
        name = name.with_name(f"{stem}-{number}{name.suffix}")
    taken.add(name.with_suffix(""))
    return name


def image_path(folder: Path, item: Input) -> Path:
    """Path of the drawing of an input."""
    return folder / item.name.with_suffix(".png")


def check_outputs(args: argparse.Namespace, inputs: Sequence[Input]) -> None:
    """Check that no output would overwrite an input.

    Raises:
        UsageError: if one would.
    """
    if args.output is not None and args.output.is_file():
        raise UsageError(f"--output {args.output} is a file; name a folder")
    given = {item.path.resolve() for item in inputs}
    targets = [] if args.output is None else [image_path(args.output, item) for item in inputs]
    for target in [*targets, *([] if args.json is None else [args.json])]:
        if target.resolve() in given:
            raise UsageError(f"{target} is an input and would be overwritten; choose another place")


def load_batch(
    inputs: Sequence[Input], words: Sequence[list[str] | None], report: Report
) -> list[tuple[Input, np.ndarray, list[str]]]:
    """Inputs with their pixels and words; unusable ones are added to `report.skipped`."""
    loaded = []
    for item, own in zip(inputs, words, strict=True):
        try:
            if own is None:
                raise ImageError("the label file of --words does not name it")
            loaded.append((item, item.read(), own))
        except ImageError as error:
            report.skipped[item.label] = str(error)
    return loaded


def process(
    args: argparse.Namespace,
    model: Model,
    inputs: Sequence[Input],
    words: Sequence[list[str] | None],
    report: Report,
) -> None:
    """Run the model over all inputs and draw the results."""
    with tqdm(total=len(inputs), unit="image", disable=None) as bar:
        for start in range(0, len(inputs), args.batch_size):
            few = slice(start, start + args.batch_size)
            batch = load_batch(inputs[few], words[few], report)
            results = model([pixels for _, pixels, _ in batch], [own for _, _, own in batch])
            for (item, _, _), result in zip(batch, results, strict=True):
                if args.output is not None:
                    save_image(image_path(args.output, item), result.draw())
                report.records.append(result.to_dict() | {"file_name": item.name.as_posix()})
                if isinstance(result, Spotting) and result.advice():
                    report.empty[item.label] = result.advice()
                if isinstance(result, Anchors) and result.unread:
                    report.unread[item.label] = " ".join(result.unread)
            bar.update(len(inputs[few]))


def write_report(args: argparse.Namespace, report: Report) -> None:
    """Write the records and list the skipped images."""
    lines = "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in report.records)
    if args.json is not None:
        with replace_file(args.json) as file:
            file.write(lines.encode("utf-8", "backslashreplace"))
    elif args.output is None and not args.print:
        print(lines, end="")
    if args.print:
        for record in report.records:
            print(f"{record['file_name']}: {' '.join(record['texts'])}")
    where = "" if args.output is None else f", drawn in {args.output}"
    print(f"{len(report.records)} images done{where}", file=sys.stderr)
    parts = {
        "skipped": report.skipped,
        "without a word": report.empty,
        "with words that have no character of the model's alphabet": report.unread,
    }
    for title, images in parts.items():
        if images:
            print(f"{len(images)} {title}:", file=sys.stderr)
        for name, reason in images.items():
            print(f"  {name}: {reason}", file=sys.stderr)


def run_inputs(
    args: argparse.Namespace,
    build_model: Callable[[], Model],
    read_words: Callable[[Sequence[Input]], Sequence[list[str] | None]],
) -> int:
    """Run a model over the inputs of a command line; finished results are written in any case.

    Args:
        args: the parsed command line, see `add_common_arguments`.
        build_model: loads the model.
        read_words: inputs -> the words to find in each, None for an input without an entry.

    Returns:
        The exit status.

    Raises:
        UsageError: if the command cannot be executed.
    """
    report, status = Report(), DONE
    inputs = collect_inputs(args.inputs, args.every)
    check_outputs(args, inputs)
    words = read_words(inputs)
    model = build_model()
    try:
        process(args, model, inputs, words, report)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        status = INTERRUPTED
    finally:
        write_report(args, report)
    return status or (LOSSES if report.skipped else DONE)
