r"""The published figures of one or all test sets, from downloads to a table, by one command.

    wecromcl reproduce icdar2015 --stage1 official --spotter srsts_a --output results
    wecromcl reproduce all --spotter spts --pretrained pretrained.pth --output results --num-gpus 8

Checks and converts the downloads, trains the anchor detector or takes pre-trained weights,
fine-tunes it, evaluates its anchors on training and test images, labels all training images with
them, trains the spotter and evaluates it with every published lexicon. `table.md` and `table.csv`
in the output have each measured figure beside the published one. docs/BENCHMARKS.md says where each
file comes from and how long the steps take.

Each step is a command of its own, printed before it runs. Given the same command again, finished
steps are skipped and an interrupted training is resumed. Benchmarks and spotters can share an
--output; another --stage1, --pretrained, --tiny or KEY VALUE needs one of its own.

Exit status: 0; that of the step that failed; 2 if downloads are missing; 130 when interrupted.
"""

import argparse
import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..engine.processes import check_gpus
from ..evaluation.report import write_json
from .comparison import SPLITS, format_rows, update_table
from .reproduction import SPOTTERS, TARGETS, Reproduction
from .status import DONE, check_positive, command, command_parser
from .steps import Runner, prepare_environment


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The parsed command line."""
    parser = command_parser("reproduce", __doc__)
    add = parser.add_argument
    add("name", metavar="NAME", choices=(*TARGETS, "all"), help=f"{', '.join(TARGETS)} or all")
    add(
        "--stage1",
        choices=("official", "ours"),
        default="official",
        help="configs of the anchor detector (default: %(default)s)",
    )
    add("--spotter", choices=list(SPOTTERS), help="the spotter; without it, stage 1 alone is run")
    add("--output", required=True, type=Path, help="folder of all results")
    add("--pretrained", type=Path, help="pre-trained anchor detector; without it, it is trained")
    add(
        "--imagenet",
        type=Path,
        default=Path("weights/resnet50-19c8e357.pth"),
        help="torchvision's ResNet-50 (default: %(default)s)",
    )
    add("--available", action="store_true", help="go on without downloads that are missing")
    add("--num-gpus", type=int, default=1, help="processes that share the work (default: 1)")
    add("--dry-run", action="store_true", help="print all commands, and what is missing")
    add(
        "--tiny",
        action="store_true",
        help="all steps in minutes on one CPU core, with the existing files and tiny models, whose "
        "figures have no meaning",
    )
    add("opts", nargs="*", metavar="KEY VALUE", help="changes of all configs")
    args = parser.parse_intermixed_args(argv)
    check_positive(parser, args, "num_gpus")
    if len(args.opts) % 2:
        parser.error(f"KEY VALUE pairs: {args.opts[-1]!r} has no value")
    return args


def plan(args: argparse.Namespace) -> Reproduction:
    """The reproduction of a command line."""
    return Reproduction(
        targets=TARGETS if args.name == "all" else (args.name,),
        stage1=args.stage1,
        spotter=args.spotter,
        output=args.output.resolve(),
        pretrained=args.pretrained,
        imagenet=args.imagenet,
        available=args.available or args.tiny,
        tiny=args.tiny,
        processes=args.num_gpus,
        opts=tuple(args.opts),
    )


def describe_missing(missing: Mapping[str, Sequence[str]]) -> str:
    """A message on the missing downloads, with their sources and folders."""
    lines = ["Downloads are missing; docs/BENCHMARKS.md says where each belongs:"]
    for name, places in missing.items():
        lines += [f"  {name}", *(f"    {place}" for place in places)]
    return "\n".join(lines)


def check_targets(work: Reproduction) -> None:
    """Check that the figures can be measured.

    Raises:
        ValueError: if downloads are missing, and not all can be left out.
    """
    missing = work.missing()
    wanted = [f"{target}_{split}" for target in work.targets for split in SPLITS]
    lost = [name for name in wanted if name not in work.datasets]
    if missing and (lost or not work.available):
        remedy = f"{', '.join(lost)} cannot be done without" if lost else "--available goes on"
        raise ValueError(f"{describe_missing(missing)}\n{remedy}")
    if missing:
        print(f"{describe_missing(missing)}\nwhat needs them is left out")


def keep_settings(work: Reproduction) -> None:
    """Write down the settings that all results of an output share.

    Raises:
        ValueError: if the output has results of other settings, whose trainings would be resumed.
    """
    path = work.output / "settings.json"
    settings = {
        "--stage1": work.stage1,
        "--pretrained": work.pretrained and str(work.pretrained.resolve()),
        "--tiny": work.tiny,
        "KEY VALUE": list(work.opts),
    }
    kept = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else settings
    for name, value in settings.items():
        if kept[name] != value:
            raise ValueError(
                f"{work.output} holds results with {name} {kept[name]}, not {value}; give the same "
                "settings, or name another --output"
            )
    write_json(path, settings)


@command("reproduce")
def main(argv: Sequence[str] | None = None) -> int:
    """Run or print all steps."""
    args = parse_args(argv)
    work = plan(args)
    if work.pretrained is not None and not work.pretrained.is_file():
        raise ValueError(f"--pretrained: there is no file {work.pretrained}")
    work.check_opts()
    check_gpus(args.num_gpus)
    if args.dry_run:
        missing = work.missing()
        if missing:
            print(describe_missing(missing))
        for task in work.tasks():
            print(shlex.join(["wecromcl", task.step.action, *task.step.arguments]))
        return DONE
    check_targets(work)
    keep_settings(work)
    prepare_environment()
    runner = Runner(work.output)
    for task in work.tasks():
        runner.run(task.step)
        if task.rows is not None:
            rows = task.rows()
            paths = update_table(work.output, rows)
            print(f"\n{format_rows(rows)}\nadded to {' and '.join(map(str, paths))}\n", flush=True)
    return DONE
