r"""Train every run of a grid and compare them.

    python projects/studies/run_study.py projects/studies/grids/negatives.yaml --output studies

Results go to studies/negatives: `table.md` with mean and spread, `runs.csv` with all metrics of
each run, `plot.png`, and a folder for each run in `runs`. The same command again keeps what has
finished and continues what was interrupted. KEY VALUE pairs at the end change all runs; name
another folder for them by --output.

Exit status: 0; 1 if runs failed, the others are in the table; 2 for a wrong command or grid; 130
when interrupted.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from tabulate import tabulate

from wecromcl_d2.cli.status import DONE, INTERRUPTED, LOSSES, WRONG_COMMAND
from wecromcl_d2.cli.steps import prepare_environment

from .grid import read_grid
from .report import mean, metric_of, write_report
from .study import Study, describe_rest

ROOT = Path(__file__).resolve().parents[2]


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The parsed command line."""
    parser = argparse.ArgumentParser(
        prog="run_study.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("grid", type=Path, help="YAML file, see projects/studies/README.md")
    add("--output", required=True, type=Path, help="folder of all studies")
    add("--processes", type=int, default=1, help="runs at the same time, one core each (1)")
    add("--seeds", type=_numbers, help="in place of those of the grid, such as 0,1")
    add("--list", action="store_true", help="show what is done, and run nothing")
    add("opts", nargs="*", metavar="KEY VALUE", help="changes of the configs of all runs")
    args = parser.parse_intermixed_args(argv)
    if args.processes < 1:
        parser.error(f"--processes is {args.processes}; use 1 or more")
    if len(args.opts) % 2:
        parser.error(f"KEY VALUE pairs: {args.opts[-1]!r} has no value")
    return args


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


def describe_runs(study: Study) -> str:
    """A table of all runs with what they have done, and the time that the rest will take."""
    lines, seconds, open_share = [], [], 0.0
    for run in study.all_runs:
        done, planned = study.iterations(run)
        finished = study.has_finished(run)
        state = "finished" if finished else f"iteration {done} of {planned}" if done else "open"
        shown = finished and run in study.grid.runs
        metric = f"{metric_of(study, study.summary(run)):.3f}" if shown else ""
        lines.append({"Run": run.name, "state": state, study.grid.metric: metric})
        if finished:
            seconds.append(study.seconds(run))
        else:
            open_share += 1 - done / planned
    left = mean(seconds) * open_share if seconds else None
    table = tabulate(lines, headers="keys", tablefmt="github", disable_numparse=True)
    rest = f", about {describe_rest(left)} of one process are left" if open_share else ""
    return f"{table}\n\n{len(seconds)} of {len(lines)} runs have finished{rest}"


def run(args: argparse.Namespace) -> int:
    """Run or list a study."""
    grid = read_grid(args.grid, args.seeds, args.opts)
    study = Study(grid, args.output.resolve() / grid.name)
    if args.list:
        print(describe_runs(study))
        return DONE
    prepare_environment()
    # Where the processes of the runs find this package.
    known = filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))
    os.environ["PYTHONPATH"] = os.pathsep.join(known)
    failed = study.run(args.processes)
    print(f"\n{grid.question}\n\n{write_report(study)}\n\nin {study.folder}")
    for name, said in failed.items():
        print(f"{name} failed; {said}")
    return LOSSES if failed else DONE


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line; errors of the user become one sentence."""
    args = parse_args(argv)
    try:
        return run(args)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on", file=sys.stderr)
        return INTERRUPTED
    except (ValueError, OSError) as error:
        print(f"run_study.py: {error}", file=sys.stderr)
        return WRONG_COMMAND
