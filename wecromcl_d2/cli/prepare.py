"""Convert a published benchmark, or data in one of their formats, to the project's label format."""

import argparse
import inspect
import random
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..data.datasets import LabelError, Record, dataset_root, write_labels
from ..data.readers.base import Names, Tally
from ..data.readers.registry import BENCHMARKS, FORMATS, Benchmark, labels_name
from ..data.readers.splits import Located, locate, read_split
from ..data.text import Charset
from ..visualizer import (
    contact_sheet,
    save_image,
)
from .status import DONE, LOSSES, command, command_parser
from .visualize import draw_labels

_SHEET_COLUMNS = 3
_CHARACTERS_SHOWN = 12
_EXAMPLES = """\
examples:
  check which files exist and whether they are sound; nothing is written:
    wecromcl prepare icdar2015 --check
  write train.jsonl and test.jsonl, and look at nine images of each:
    wecromcl prepare icdar2015 --root datasets/icdar2015 --preview 9
  records of images and words alone:
    wecromcl prepare totaltext --words-only
  data of your own, as a table of images and words:
    wecromcl prepare table --root shop --truth words.csv --images photos
"""


def _parser() -> argparse.ArgumentParser:
    known = BENCHMARKS | FORMATS
    width = max(map(len, known))
    names = "\n".join(f"  {name:{width}}  {item.title}" for name, item in known.items())
    parser = command_parser(
        "prepare",
        f"{__doc__}\n\nnames:\n{names}",
        epilog=f"{_EXAMPLES}\nfolders and sources of each: docs/DATASETS.md",
    )
    parser.add_argument("name", metavar="NAME", choices=list(known), help="one of the names above")
    parser.add_argument("--root", type=Path, help="its folder (default: NAME among the datasets)")
    parser.add_argument("--split", help="only this one (default: all that exist)")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="(default: the root)")
    parser.add_argument(
        "--check",
        action="store_true",
        help="decode every image and write no labels; status 1 if anything is missing or left out",
    )
    parser.add_argument(
        "--preview", type=int, default=0, metavar="N", help="draw N images into SPLIT_preview.png"
    )
    parser.add_argument(
        "--words-only", action="store_true", help="no positions and no ignored words"
    )
    parser.add_argument(
        "--min-length",
        type=int,
        default=1,
        metavar="N",
        help="ignore words of fewer characters; the release has 3 for real sets (default: 1)",
    )
    parser.add_argument(
        "--charset", default="wecromcl", help="count characters outside it (default: wecromcl)"
    )
    source = parser.add_argument_group("unusual sources")
    source.add_argument("--truth", help="file, folder or zip archive in the root; needs --split")
    source.add_argument("--images", help="folder in the root; needs --split")
    source.add_argument("--encoding", help="of text files that are not UTF-8, such as latin-1")
    source.add_argument("--scripts", nargs="+", help="of MLT: ignore texts in others")
    source.add_argument("--vocabulary", type=int, help="of ABCNet's JSON: 96 (default) or 37")
    return parser


@command("prepare")
def main(argv: Sequence[str] | None = None) -> int:
    """Convert, check or preview what the command line names."""
    parser = _parser()
    args = parser.parse_args(argv)
    benchmark = (BENCHMARKS | FORMATS)[args.name]
    if args.split is not None and args.split not in benchmark.splits:
        parser.error(f"--split: {args.name} has {', '.join(benchmark.splits)}")
    if (args.truth or args.images) and args.split is None:
        parser.error("--truth and --images need --split")
    if args.preview < 0:
        parser.error("--preview: a number of images is not negative")
    args.root = args.root or dataset_root() / args.name
    args.output = args.output or args.root
    if args.encoding is not None:
        print(f"{parser.prog}: texts are read as {args.encoding}, not UTF-8", file=sys.stderr)
    return _prepare(benchmark, args)


def _prepare(benchmark: Benchmark, args: argparse.Namespace) -> int:
    charset = Charset.from_name(args.charset)
    is_sound, done = True, 0
    for split in [args.split] if args.split else benchmark.splits:
        located = _locate(benchmark, split, args)
        missing = [line for place in located for line in place.missing(args.root)]
        if missing:
            is_sound = False
            print(f"{args.name} {split}: files are missing")
            print("".join(f"  {line}\n" for line in missing), end="")
            continue
        tally, sample = _convert(benchmark, split, located, args)
        done += 1
        print("\n".join(_report(f"{args.name} {split}", tally, charset, benchmark, split)))
        is_sound &= not (tally.missing.count or tally.damaged.count or tally.dropped)
        if sample:
            target = args.output / f"{split}_preview.png"
            drawn = [
                draw_labels(record | {"file_name": str(args.root / record["file_name"])})
                for record in sample
            ]
            save_image(target, contact_sheet(drawn, min(_SHEET_COLUMNS, len(drawn))))
            print(f"  drawn {target}")
    if not is_sound:
        print(f"missing files come from {benchmark.page}; docs/DATASETS.md shows where they belong")
    if not done:
        raise LabelError(f"nothing to convert in {args.root}")
    return LOSSES if args.check and not is_sound else DONE


def _locate(benchmark: Benchmark, split: str, args: argparse.Namespace) -> list[Located]:
    """The parts of a split, with the names of the command line instead of the usual ones."""
    wanted = benchmark.splits[split]
    if (args.truth or args.images) and len(wanted.parts) > 1:
        raise LabelError(
            f"{args.name} has {len(wanted.parts)} parts; --truth and --images name one"
        )
    parts = []
    for part in wanted.parts:
        images = (args.images,) if args.images else part.images
        ground_truth = (args.truth,) if args.truth else part.ground_truth
        parts.append(replace(part, images=images, ground_truth=ground_truth))
    return locate(replace(wanted, parts=tuple(parts)), args.root)


def _options(located: list[Located], args: argparse.Namespace) -> dict[str, Any]:
    """Options of the command line for the reader.

    Raises:
        LabelError: if the reader has no such option.
    """
    scripts = None if args.scripts is None else tuple(args.scripts)
    options = {"encoding": args.encoding, "scripts": scripts, "vocabulary": args.vocabulary}
    given = {key: value for key, value in options.items() if value is not None}
    for place in located:
        unknown = given.keys() - inspect.signature(place.part.read).parameters.keys()
        if unknown:
            raise LabelError(f"--{sorted(unknown)[0]} does not apply to {args.name}")
    return given


def _convert(
    benchmark: Benchmark, split: str, located: list[Located], args: argparse.Namespace
) -> tuple[Tally, list[Record]]:
    """Write a split's labels; returns its counts and a sample of its records."""
    tally = Tally()
    records = read_split(
        located,
        args.root,
        tally,
        words_only=args.words_only,
        min_length=args.min_length,
        decode=args.check,
        **_options(located, args),
    )
    total = benchmark.splits[split].count
    bar = tqdm(records, f"{args.name} {split}", total, unit="image", disable=None)
    sample: list[Record] = []
    watched = _sampled(bar, args.preview, sample)
    if args.check:
        with tempfile.TemporaryDirectory() as folder:
            write_labels(Path(folder) / labels_name(split), watched)
    else:
        write_labels(args.output / labels_name(split), watched)
        print(f"written {args.output / labels_name(split)}")
        if args.output.resolve() != args.root.resolve():
            print(f"  register it with image_root={str(args.root)!r}")
    return tally, sorted(sample, key=lambda record: record["file_name"])


def _sampled(records: Iterable[Record], size: int, sample: list[Record]) -> Iterator[Record]:
    """All records, unchanged; a uniform sample of them, always the same one, goes to `sample`."""
    generator = random.Random(0)
    for index, record in enumerate(records):
        if len(sample) < size:
            sample.append(record)
        elif size and (place := generator.randrange(index + 1)) < size:
            sample[place] = record
        yield record


def _report(
    title: str, tally: Tally, charset: Charset, benchmark: Benchmark, split: str
) -> list[str]:
    """The lines of a report on a split."""
    published = benchmark.splits[split].count
    of_all = f" of {published} published" if published else ""
    outside = {c: n for c, n in tally.characters.items() if not charset.normalize(c)}
    total = sum(tally.characters.values())
    shown = sorted(outside, key=lambda c: (-outside[c], c))[:_CHARACTERS_SHOWN]
    listed = ", ".join(f"{c!a} {outside[c]}" for c in shown)
    lines = [
        f"{title}: {benchmark.title}",
        f"  images {tally.images}{of_all}",
        f"  {benchmark.level}s {tally.words}, of which {tally.ignored} ignored "
        f"({tally.blank} of them blank)",
        f"  characters {total}, of which {sum(outside.values())} outside the charset"
        + (f": {listed}{', ...' if len(outside) > len(shown) else ''}" if outside else ""),
        f"  centers {tally.outlines}, of which {tally.outside} outside their outline"
        + (f" ({tally.outside / tally.outlines:.2%})" if tally.outlines else ""),
    ]
    if tally.turned:
        lines.append(f"  images turned as their EXIF tag says {tally.turned}")
    faults: list[tuple[str, Names]] = [
        ("annotated images that are missing", tally.missing),
        ("images that cannot be read", tally.damaged),
        *((f"left out: {reason}", names) for reason, names in sorted(tally.dropped.items())),
        *sorted(tally.notes.items()),
    ]
    return lines + [f"  {kind} {names}" for kind, names in faults if names.count]
