"""Make label files from photographs and a table or text files of their words.

    wecromcl labels photos.csv --images photos/ --output shop/

The words are in a table (CSV or TSV: a column of images, one or several of words), in a folder of
text files named like the photographs, or in a label file. No positions are needed.

Sizes are read from the photographs, turned as their EXIF tag says. Cells and lines are split into
words at blanks. The images are divided at random into train.jsonl, val.jsonl and test.jsonl. If the
alphabet lacks characters of the words, an extended one is written to alphabet.txt. The last lines
of the output say how to train on the files; docs/OWN_DATA.md describes the next steps.

Exit status: 0 if all images were used, 1 if images are missing or damaged, 2 if nothing can be
written.
"""

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path, PurePath

from tqdm import tqdm

from ..data.alphabet import FEW, expanded, extended, letter, outside, write_alphabet
from ..data.datasets import LabelError, Record, write_labels
from ..data.readers.base import Names, Tally
from ..data.readers.convert import convert
from ..data.readers.transcriptions import (
    SPLITS,
    PhotoFolder,
    Reading,
    assign_splits,
    read_transcriptions,
)
from ..data.text import Charset
from .status import DONE, LOSSES, command, command_parser

ALPHABET = "alphabet.txt"
# Default of MODEL.TEXT_ENCODER.MAX_LENGTH, the number of characters that models read.
MAX_LENGTH = 25
_FOLDED, _WITH_CASE = "wecromcl", "ascii"
_MOST_LISTED = 40


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The parsed command line."""
    parser = command_parser("labels", __doc__)
    add = parser.add_argument
    add("words", type=Path, metavar="WORDS", help="table, folder of text files, or label file")
    add("--images", type=Path, required=True, metavar="FOLDER", help="of the photographs")
    add("--output", type=Path, required=True, metavar="FOLDER", help="of the label files")
    add("--lines", action="store_true", help="keep cells and lines whole, as texts with blanks")
    add(
        "--columns",
        nargs=2,
        metavar=("IMAGE", "WORDS"),
        help="headings of a table's columns, if they are not found by themselves",
    )
    add("--encoding", default="utf-8", help="of the table or text files (%(default)s)")
    add(
        "--split",
        type=int,
        nargs=3,
        default=(80, 10, 10),
        metavar=("TRAIN", "VAL", "TEST"),
        help="percent of the images (80 10 10)",
    )
    add("--seed", type=int, default=0, help="another number, another split (%(default)s)")
    add("--keep-case", action="store_true", help="tell capital from small letters")
    add(
        "--charset",
        help=f"alphabet to compare with, a name or a file ({_FOLDED}, {_WITH_CASE} with "
        "--keep-case)",
    )
    add("--force", action="store_true", help="replace the files of an earlier run")
    args = parser.parse_args(argv)
    if min(args.split) < 0 or sum(args.split) != 100:
        parser.error(
            f"--split {' '.join(map(str, args.split))}: give three percentages, 100 in all"
        )
    return args


def targets(folder: Path) -> dict[str, Path]:
    """Every file that the command may write: label files by split, and the alphabet."""
    return {split: folder / f"{split}.jsonl" for split in SPLITS} | {ALPHABET: folder / ALPHABET}


def read_records(args: argparse.Namespace, photos: PhotoFolder, tally: Tally) -> list[Record]:
    """The records of all photographs that exist and can be read.

    Raises:
        LabelError: if the words cannot be read, or no photograph has any.
    """
    reading = Reading(args.lines, args.encoding, args.columns and tuple(args.columns))
    ground_truth = list(read_transcriptions(args.words, reading, photos))
    images, output = args.images.resolve(), args.output.resolve()
    prefix = images.relative_to(output).as_posix() if images.is_relative_to(output) else ""
    bar = tqdm(ground_truth, "photographs", unit="image", disable=None)
    records = list(convert(bar, photos, tally, prefix=prefix, words_only=True, decode=True))
    first = ground_truth[0]
    name = PurePath(first.names[0])
    if first.where == f"{args.words}:1" and not name.suffix and photos.find(first.names) is None:
        tally.note("taken for an image; name a heading by --columns IMAGE WORDS", str(name))
    if not records:
        raise LabelError(
            f"{args.images} has no photograph that {args.words} names and that can be read; looked "
            f"for {', '.join(gt.names[0] for gt in ground_truth[:3])}; --columns names the columns"
        )
    if not any(record["texts"] for record in records):
        raise LabelError(
            f"{args.words} has no word for any of the {len(records)} photographs that it names"
        )
    return records


def describe_images(args: argparse.Namespace, photos: PhotoFolder, tally: Tally) -> list[str]:
    """The lines of the output on the images that were used."""
    unused = Names()
    for name in photos.unused():
        unused.add(name)
    kinds = [
        (f"named in {args.words}, but not in {args.images}", tally.missing),
        ("damaged or no JPEG, PNG or the like, left out", tally.damaged),
        (f"not named in {args.words}, left out", unused),
        *tally.notes.items(),
    ]
    lines = [f"{tally.images} images, {tally.words} {'texts' if args.lines else 'words'}"]
    if tally.turned:
        lines.append(f"  turned upright as their EXIF tag says: {tally.turned}")
    return lines + [f"  {kind}: {names}" for kind, names in kinds if names.count]


def describe_case(charset: Charset, characters: dict[str, int]) -> str:
    """The line of the output on the treatment of capital letters."""
    if not charset.case_fold:
        return "case: kept, so Hotel and HOTEL are two words"
    changed = [
        f"{letter(character)} is read as {text} ({characters[character]} times)"
        for character, text in expanded(characters, charset).items()
    ]
    return "; ".join(
        ["case: folded, so Hotel and HOTEL are one word (--keep-case tells them apart)", *changed]
    )


def describe_alphabet(name: str, missing: dict[str, int]) -> list[str]:
    """The lines of the output on the characters that an alphabet lacks."""
    if not missing:
        return [f"alphabet: every character is in {name!r}"]
    order = sorted(missing, key=lambda c: (-missing[c], c))
    listed = ", ".join(f"{letter(c)} {missing[c]}" for c in order[:_MOST_LISTED])
    more = f", and {len(order) - _MOST_LISTED} more" if len(order) > _MOST_LISTED else ""
    lines = [f"alphabet: {name!r} lacks {listed}{more}"]
    few = [letter(c) for c in order if missing[c] < FEW][:_MOST_LISTED]
    if few:
        lines.append(f"  seen fewer than {FEW} times, so hardly learned: {', '.join(few)}")
    return lines


def describe_lengths(charset: Charset, records: Sequence[Record]) -> list[str]:
    """The line of the output on texts that are too long; none if there are none."""
    lengths = [len(charset.fold(text)) for record in records for text in record["texts"]]
    long = sum(length > MAX_LENGTH for length in lengths)
    if not long:
        return []
    return [
        f"length: {long} texts are longer than the {MAX_LENGTH} characters that models read; "
        f"MODEL.TEXT_ENCODER.MAX_LENGTH {max(lengths)} reads all of them, in more time and memory"
    ]


def write_splits(args: argparse.Namespace, records: Sequence[Record]) -> dict[str, str]:
    """Write the label file of each split, and return the name of each as a dataset."""
    by_name = {record["file_name"]: record for record in records}
    inside = args.images.resolve().is_relative_to(args.output.resolve())
    names = {}
    for split, own in assign_splits(list(by_name), args.split, args.seed).items():
        path = targets(args.output)[split]
        if own:
            write_labels(path, (by_name[name] for name in own))
            names[split] = str(path) if inside else f"{path}@{args.images}"
            print(f"written {path}, images: {len(own)}")
        else:
            path.unlink(missing_ok=True)
    return names


@command("labels")
def main(argv: Sequence[str] | None = None) -> int:
    """Write the label files; returns the exit status."""
    args = parse_args(argv)
    if args.output.is_file():
        raise LabelError(f"--output {args.output} is a file; name a folder")
    there = [str(path) for path in targets(args.output).values() if path.exists()]
    if there and not args.force:
        raise LabelError(f"{', '.join(there)} exist already; --force replaces them")
    name = args.charset or (_WITH_CASE if args.keep_case else _FOLDED)
    charset = Charset.from_name(name, case_fold=not args.keep_case)
    photos, tally = PhotoFolder(args.images), Tally()
    records = read_records(args, photos, tally)
    missing = outside(tally.characters, charset)
    print("\n".join(describe_images(args, photos, tally)))
    print(describe_case(charset, tally.characters))
    print("\n".join(describe_alphabet(name, missing)))
    print("".join(f"{line}\n" for line in describe_lengths(charset, records)), end="")
    names = write_splits(args, records)
    path = targets(args.output)[ALPHABET]
    proposal = extended(charset, missing)
    options = [] if name == _FOLDED else ["MODEL.TEXT_ENCODER.CHARSET", name]
    if len(proposal) > len(charset):
        write_alphabet(path, proposal)
        print(f"written {path}: the {len(charset)} characters of {name!r} and those it lacks")
        options = ["MODEL.TEXT_ENCODER.CHARSET", str(path)]
    else:
        path.unlink(missing_ok=True)
    if args.keep_case:
        options += ["MODEL.TEXT_ENCODER.CASE_FOLD", "False"]
    datasets = [part for split, dataset in names.items() for part in (f"--{split}", dataset)]
    print(f"train on them: wecromcl pipeline ... {shlex.join([*datasets, *options])}")
    return LOSSES if tally.missing.count or tally.damaged.count else DONE
