"""Import corrected labels from another tool.

    wecromcl import export.json --from labelstudio --into output/anchors.jsonl@photos \
        --output output/corrected.jsonl
    wecromcl import annotations.json --from coco --output labels.jsonl

With --into, the words of the corrected images replace those of the label file; its other images
are not changed. From Label Studio (its JSON export of tasks that `wecromcl export` wrote) only
annotated tasks are used. docs/OWN_DATA.md shows all steps.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from ..data.datasets import LabelError, write_labels
from ..data.exchange.coco import from_coco
from ..data.exchange.label_studio import from_label_studio
from ..data.exchange.labels import merge, read_relative
from .status import DONE, command, command_parser

READERS = {"coco": from_coco, "labelstudio": from_label_studio}


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The parsed command line."""
    parser = command_parser("import", __doc__)
    add = parser.add_argument
    add("file", type=Path, metavar="FILE", help="JSON of the other tool")
    add("--from", dest="source", required=True, choices=sorted(READERS), help="its format")
    add("--into", metavar="LABELS", help="label file that is corrected, or FILE@IMAGE_ROOT")
    add("--output", required=True, type=Path, metavar="FILE", help="label file to write")
    add("--force", action="store_true", help="replace it if it exists")
    return parser.parse_args(argv)


@command("import")
def main(argv: Sequence[str] | None = None) -> int:
    """Import the labels; returns the exit status."""
    args = parse_args(argv)
    if args.output.exists() and not args.force:
        raise LabelError(f"{args.output} exists already; --force replaces it")
    records = READERS[args.source](args.file)
    corrected = len(records)
    if args.into:
        base, root = read_relative(args.into)
        records = merge(base, records)
        same = root.resolve() == args.output.parent.resolve()
        name = str(args.output) if same else f"{args.output}@{root}"
        print(f"{corrected} of {len(base)} images corrected")
    else:
        name = str(args.output)
        print(f"{corrected} images; names are relative to the image root")
    write_labels(args.output, records)
    print(f"train on it by DATASETS.TRAIN \"('{name}',)\"")
    return DONE
