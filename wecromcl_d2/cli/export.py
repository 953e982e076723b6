"""Write labels for other tools: points as keypoints, with scores and texts.

    wecromcl export output/anchors.jsonl@photos --to labelstudio --output tasks.json --doubtful 10
    wecromcl export output/anchors.jsonl@photos --to coco --output anchors_coco.json

coco         one JSON file of COCO keypoints; `wecromcl import` reads it back
labelstudio  one JSON file of tasks with predictions, and beside it the project's labelling config;
             corrected, `wecromcl import` reads its JSON export
fiftyone     a folder for `fiftyone.Dataset.from_dir` with `fiftyone.types.FiftyOneDataset`
csv          a table with one row a word
icdar        a folder of text files in the style of ICDAR 2015; a point becomes a small box

docs/OWN_DATA.md shows how to correct the images with the lowest scores and train on them.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from ..data.datasets import LabelError, Record
from ..data.exchange.coco import to_coco
from ..data.exchange.fiftyone import to_fiftyone
from ..data.exchange.label_studio import CONFIG, IMAGE_PREFIX, to_label_studio
from ..data.exchange.labels import most_doubtful, read_relative
from ..data.exchange.plain import to_csv, to_icdar
from ..files import replace_file
from .status import DONE, LOSSES, command, command_parser

FORMATS = ("coco", "labelstudio", "fiftyone", "csv", "icdar")


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The parsed command line."""
    parser = command_parser("export", __doc__)
    add = parser.add_argument
    add("labels", metavar="LABELS", help="label file, or FILE@IMAGE_ROOT")
    add("--to", required=True, choices=FORMATS, help="format, see above")
    add("--output", required=True, type=Path, help="file, or folder for fiftyone and icdar")
    add(
        "--doubtful",
        type=float,
        default=100,
        metavar="PERCENT",
        help="only this share of the images, those with the lowest scores of a point (all)",
    )
    add(
        "--image-prefix",
        default=IMAGE_PREFIX,
        help="prefix of file names by which Label Studio reads images (%(default)s)",
    )
    add("--force", action="store_true", help="replace files that exist")
    args = parser.parse_args(argv)
    if not 0 < args.doubtful <= 100:
        parser.error(f"--doubtful is {args.doubtful:g}; give a percentage above 0, at most 100")
    return args


def contents(
    args: argparse.Namespace, records: list[Record], root: Path
) -> tuple[dict[Path, str], int]:
    """Content of each file to write, and the number of words that the format cannot hold."""
    output: Path = args.output
    if args.to == "coco":
        return {output: dumped(to_coco(records))}, 0
    if args.to == "labelstudio":
        tasks = dumped(to_label_studio(records, args.image_prefix))
        return {output: tasks, output.with_name(f"{output.stem}_config.xml"): CONFIG}, 0
    if args.to == "fiftyone":
        files = to_fiftyone(records, root)
        return {output / name: dumped(content) for name, content in files.items()}, 0
    if args.to == "csv":
        return {output: to_csv(records)}, 0
    texts, lost = to_icdar(records)
    return {output / name: content for name, content in texts.items()}, lost


def dumped(content: object) -> str:
    """The content as JSON."""
    return json.dumps(content, ensure_ascii=False, allow_nan=False, indent=1) + "\n"


@command("export")
def main(argv: Sequence[str] | None = None) -> int:
    """Export the labels; returns the exit status."""
    args = parse_args(argv)
    records, root = read_relative(args.labels)
    chosen = most_doubtful(records, args.doubtful) if args.doubtful < 100 else records
    files, lost = contents(args, chosen, root)
    there = [str(path) for path in files if path.exists()]
    if there and not args.force:
        raise LabelError(f"{', '.join(there[:3])} exist already; --force replaces them")
    for path, text in files.items():
        with replace_file(path) as stream:
            stream.write(text.encode())
    words = sum(len(record["texts"]) for record in chosen)
    print(f"{len(chosen)} of {len(records)} images, {words} words: {args.output}")
    if lost:
        print(f"{lost} words without a place were left out", file=sys.stderr)
    return LOSSES if lost else DONE
