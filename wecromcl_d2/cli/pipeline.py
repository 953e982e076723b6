r"""From images and their words to a trained spotter, measured on unseen images and drawn.

    wecromcl pipeline --config-file configs/quick/anchors.yaml \
        --spotter configs/quick/srsts_a.yaml --output demo_output

Stage 1 learns where words are, finds them in the training images, and stage 2 learns from the found
points to find and read words by itself. For your own pictures give label files (docs/DATASETS.md):

    wecromcl pipeline ... --train my/train.jsonl --val my/val.jsonl --test my/test.jsonl

Each step is a command of its own, printed before it runs. A step that has finished is not run
again, and an interrupted training goes on where it stopped: just give the same command again.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode

from ..engine import results_folder
from ..evaluation.report import write_json
from ..tasks import load_config
from .status import DONE, LOSSES, command

# Runs a command in a process of its own, wherever the package is installed.
PROGRAM = (sys.executable, "-m", "wecromcl_d2")

# Which anchors a spotter trusts, see `wecromcl anchors`. Most of those with a low score are
# right all the same, and their words are the ones that are hard to read.
PERCENTILES = ("2", "15")

# How glibc, where there is one, keeps memory: in large pages, and for the next training step.
MEMORY = ":".join(
    f"glibc.malloc.{setting}"
    for setting in ("hugetlb=1", f"mmap_threshold={2**25}", f"trim_threshold={2**32}")
)


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The parsed command line."""
    parser = argparse.ArgumentParser(
        prog="wecromcl pipeline",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--config-file", required=True, help="config of the anchor detector, stage 1")
    add("--spotter", help="config of the spotter, stage 2; without it, stage 1 alone is run")
    add("--output", required=True, type=Path, help="folder of all results")
    datasets = "registered dataset or label file: "
    add("--train", help=datasets + "training images (default: of the configs)")
    add("--val", help=datasets + "chooses weights and threshold (default: of the configs)")
    add("--test", default="synth_scenes_test", help=datasets + "unseen images (%(default)s)")
    add(
        "--true-points",
        action="store_true",
        help="train a second spotter at the same time on the middles of the true outlines, to "
        "compare with",
    )
    add("--processes", type=int, default=2, help="that share the work (default: %(default)s)")
    add("--pictures", type=int, default=12, help="test images drawn (default: %(default)s)")
    add("opts", nargs="*", help="KEY VALUE pairs that override all configs")
    return parser.parse_args(argv)


@dataclass(frozen=True)
class Step:
    """One command of the pipeline.

    Attributes:
        name: of the step.
        action: the command, one of `wecromcl --help`.
        arguments: of the command.
        accepted: exit statuses with which it has done its work.
        quiet: keep what it says in a file.
    """

    name: str
    action: str
    arguments: tuple[str, ...]
    accepted: tuple[int, ...] = (DONE,)
    quiet: bool = False

    @property
    def command(self) -> list[str]:
        """What is run."""
        return [*PROGRAM, self.action, *self.arguments]


class Runner:
    """Runs steps that have not finished before.

    Args:
        folder: of all results; `steps` in it keeps what has finished.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    def run(self, *steps: Step) -> list[float]:
        """Run steps at the same time; the first one's output is shown, the others' kept in files.

        Returns:
            Seconds that each step took, all its attempts together.

        Raises:
            SystemExit: with a command's own status if it fails.
        """
        states = [self._state(step) for step in steps]
        open_steps = [i for i, s in enumerate(steps) if states[i].get("finished") != s.command]
        for i, step in enumerate(steps):
            if i not in open_steps:
                print(f"== {step.name}: finished before, in {states[i]['seconds']:.0f} s")
        start = time.monotonic()
        processes = {
            i: self._start(steps[i], i == open_steps[0] and not steps[i].quiet) for i in open_steps
        }
        codes: dict[int, int] = {}
        try:
            while len(codes) < len(processes):
                time.sleep(0.2)
                for i, process in processes.items():
                    if i in codes or process.poll() is None:
                        continue
                    codes[i] = process.returncode
                    states[i]["seconds"] += time.monotonic() - start
                    self._keep(steps[i], states[i], finished=codes[i] in steps[i].accepted)
        finally:
            for i in processes.keys() - codes.keys():
                processes[i].wait()
                states[i]["seconds"] += time.monotonic() - start
                self._keep(steps[i], states[i], finished=False)
        for i, code in codes.items():
            if code not in steps[i].accepted:
                print(f"{steps[i].name} failed with status {code}; see what it said above or in")
                print(f"{self.folder / 'steps'}; what is done is kept")
                raise SystemExit(code)
        return [state["seconds"] for state in states]

    def _start(self, step: Step, shown: bool) -> subprocess.Popen:
        print(f"== {step.name}: {subprocess.list2cmdline(step.command)}", flush=True)
        if shown:
            return subprocess.Popen(step.command)
        path = self.folder / "steps" / f"{step.name}.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        print(f"   its output is in {path}", flush=True)
        with path.open("ab") as log:
            return subprocess.Popen(step.command, stdout=log, stderr=subprocess.STDOUT)

    def _note(self, step: Step) -> Path:
        return self.folder / "steps" / f"{step.name}.json"

    def _state(self, step: Step) -> dict[str, Any]:
        note = self._note(step)
        return json.loads(note.read_text(encoding="utf-8")) if note.exists() else {"seconds": 0.0}

    def _keep(self, step: Step, state: dict[str, Any], finished: bool) -> None:
        done = {"finished": step.command} if finished else {}
        write_json(self._note(step), {"seconds": state["seconds"]} | done)


def names(*datasets: str) -> str:
    """Datasets as a value of the command line."""
    return repr(datasets)


def run_anchors(args: argparse.Namespace, runner: Runner) -> dict[str, float]:
    """Train and measure stage 1, and draw what it finds."""
    folder = runner.folder / "anchors"
    config = ("--config-file", args.config_file)
    train = ("DATASETS.TRAIN", names(args.train)) if args.train else ()
    val = ("DATASETS.TEST", names(args.val)) if args.val else ()
    opts = (*args.opts, "OUTPUT_DIR", str(folder))
    share = share_of(args)
    (seconds,) = runner.run(
        Step("anchors-train", "train", (*config, "--resume", *share, *opts, *train, *val))
    )
    weights = ("--weights", detector_weights(runner))
    best = ("MODEL.WEIGHTS", detector_weights(runner))
    test = ("--eval-only", *opts, *best, "DATASETS.TEST", names(args.test))
    pictures = runner.folder / "pictures" / "anchors"
    draw = ("--dataset", args.test, "--count", str(args.pictures), "--output", str(pictures))
    runner.run(
        Step("anchors-pictures", "visualize", ("anchors", *config, *draw, *weights)),
        Step("anchors-test", "train", (*config, *test), quiet=True),
    )
    metrics = read_metrics(folder, args.test, "anchors")
    names_of_rows = {
        "inside_rate": "inside rate",
        "chance": "chance",
        "distance_median": "distance, median",
        "hmean": "nearest-point H",
    }
    rows = {row: f"{metrics[key]:.3f}" for key, row in names_of_rows.items() if key in metrics}
    rows |= {
        "images / words": f"{metrics['images']:.0f} / {metrics['words']:.0f}",
        "training": f"{seconds:.0f} s",
        "pictures": str(pictures),
    }
    print_table(f"Anchors in {args.test}, learned without any position", rows)
    # Without outlines of the test words nobody knows where they are.
    keys = ("inside_rate", "chance", "distance_median", "precision", "recall", "hmean")
    known = {key: metrics[key] for key in keys if key in metrics}
    return known | {"seconds": round(seconds, 1)}


def run_spotter(args: argparse.Namespace, runner: Runner) -> dict[str, float]:
    """Label the training images with anchors, train and measure a spotter and let it read."""
    cfg = load_config(args.spotter, args.opts)
    val = args.val or cfg.DATASETS.TEST[0]
    train = (args.train,) if args.train else cfg.DATASETS.TRAIN
    phases = [*cfg.SOLVER.CURRICULUM.DATASETS, train]
    share = share_of(args)
    found, finding = find_points(args, runner, [name for phase in phases for name in phase])
    runs = {"spotting": [tuple(found[name] for name in phase) for phase in phases]}
    own: dict[str, tuple[str, ...]] = {"spotting": share}
    if args.true_points:
        runs["spotting-true"] = [tuple(phase) for phase in phases]
        own = {"spotting": (), "spotting-true": ()}
    config = ("--config-file", args.spotter, "--resume")
    start = ("MODEL.BACKBONE.WEIGHTS", detector_weights(runner), "DATASETS.TEST", names(val))
    steps = []
    for run, (*curriculum, last) in runs.items():
        early = ("SOLVER.CURRICULUM.DATASETS", repr([list(phase) for phase in curriculum]))
        source = ("INPUT.POINT_SOURCE", "polygons") if run == "spotting-true" else ()
        data = (*early, "DATASETS.TRAIN", names(*last), *source)
        opts = (*start, *data, *_output(args, runner, run))
        steps.append(Step(f"{run}-train", "train", (*config, *own[run], *opts)))
    training, *_ = runner.run(*steps)
    metric = "spotting" if _gives_points(cfg) else "words"
    metrics = _measure(args, runner, runs, val, metric)
    pictures = runner.folder / "pictures" / "words"
    model = ("--config-file", args.spotter, "--weights", best_weights(runner.folder / "spotting"))
    draw = ("--dataset", args.test, "--count", str(args.pictures), "--output", str(pictures))
    threshold = ("--threshold", str(metrics["spotting"]["threshold"]))
    runner.run(Step("spotting-pictures", "visualize", ("words", *model, *draw, *threshold)))
    result = _summary(metrics, finding + training, cfg)
    rows = {
        "F" if _gives_points(cfg) else "F, words alone": f"{result['f']:.3f}",
        "precision": f"{result['precision']:.3f}",
        "recall": f"{result['recall']:.3f}",
        "threshold": f"{result['threshold']:.2f}, chosen on {val}",
        "F, true points": f"{result['f_true_points']:.3f}" if args.true_points else "not trained",
        "training": f"{result['seconds']:.0f} s, of which finding points {finding:.0f} s",
        "pictures": str(pictures),
    }
    print_table(f"Words found and read in {args.test}, learned from the anchors", rows)
    return result


def share_of(args: argparse.Namespace) -> tuple[str, ...]:
    """Options of a training in several processes, on a port that no other training has."""
    return ("--num-gpus", str(args.processes), "--dist-url", "auto")


def best_weights(folder: Path) -> str:
    """The best checkpoint of a training; the last one if nothing told them apart."""
    best = folder / "model_best.pth"
    return str(best if best.is_file() else folder / "model_final.pth")


def detector_weights(runner: Runner) -> str:
    """Checkpoint of stage 1."""
    return best_weights(runner.folder / "anchors")


def find_points(
    args: argparse.Namespace, runner: Runner, datasets: list[str]
) -> tuple[dict[str, str], float]:
    """Find the anchors of datasets, of all at the same time.

    Returns:
        For each dataset the name of the one with the found points, and the seconds it took.
    """
    folder = runner.folder / "points"
    model = ("--config-file", args.config_file, "--weights", detector_weights(runner))
    share = ("--num-gpus", str(max(1, args.processes // len(datasets))))
    steps = []
    for number, dataset in enumerate(datasets):
        data = ("--dataset", dataset, "--output", str(folder / f"{number}.jsonl"))
        command = (*model, *data, "--percentiles", *PERCENTILES, *share, *args.opts)
        # Images that cannot be used are listed and left out.
        steps.append(Step(f"points-{number}", "anchors", command, (DONE, LOSSES)))
    seconds = max(runner.run(*steps))
    found = {}
    for number, dataset in enumerate(datasets):
        report = folder / f"{number}_report.json"
        found[dataset] = json.loads(report.read_text(encoding="utf-8"))["dataset_name"]
    return found, seconds


def _output(args: argparse.Namespace, runner: Runner, run: str) -> tuple[str, ...]:
    return (*args.opts, "OUTPUT_DIR", str(runner.folder / run))


def _gives_points(cfg: CfgNode) -> bool:
    """Whether the spotter says where words are; NPTS does not."""
    return cfg.MODEL.META_ARCHITECTURE != "SPTS" or cfg.MODEL.SPTS.POINTS


def _measure(
    args: argparse.Namespace, runner: Runner, runs: Iterable[str], val: str, metric: str
) -> dict[str, dict[str, float]]:
    """Metrics of each run on the test images, at the threshold best on the validation images."""
    folders = {run: runner.folder / run for run in runs}

    def evaluate(name: str, dataset: str, own: Mapping[str, Sequence[str]]) -> dict[str, Any]:
        config = ("--config-file", args.spotter, "--eval-only")
        data = ("DATASETS.TEST", names(dataset))
        steps = []
        for run, folder in folders.items():
            weights = (*_output(args, runner, run), "MODEL.WEIGHTS", best_weights(folder))
            command = (*config, *weights, *data, *own.get(run, ()))
            steps.append(Step(f"{run}-{name}", "train", command, quiet=True))
        runner.run(*steps)
        return {run: read_metrics(x, dataset, "spotting") for run, x in folders.items()}

    thresholds = {
        run: ("TEST.SPOTTING_THRESHOLD", str(metrics["words"]["sweep_threshold"]))
        for run, metrics in evaluate("validate", val, {}).items()
    }
    tested = evaluate("test", args.test, thresholds)
    return {run: metrics.get(metric, metrics["words"]) for run, metrics in tested.items()}


def _summary(metrics: dict[str, dict], seconds: float, cfg: CfgNode) -> dict[str, Any]:
    own = metrics["spotting"]
    result = {
        "spotter": cfg.MODEL.META_ARCHITECTURE if _gives_points(cfg) else "NPTS",
        "f": own["hmean"],
        "precision": own["precision"],
        "recall": own["recall"],
        "threshold": own["threshold"],
        "seconds": round(seconds, 1),
    }
    if "spotting-true" in metrics:
        result["f_true_points"] = metrics["spotting-true"]["hmean"]
    return result


def read_metrics(folder: Path, dataset: str, task: str) -> dict[str, Any]:
    """Metrics of the last evaluation of a dataset."""
    path = Path(results_folder(str(folder), dataset)) / f"{task}.json"
    return json.loads(path.read_text(encoding="utf-8"))["metrics"]


def print_table(title: str, rows: dict[str, str]) -> None:
    """Print what was reached."""
    print(f"\n{title}")
    for name, value in rows.items():
        print(f"  {name:<17} {value}")
    print(flush=True)


@command("pipeline")
def main(argv: Sequence[str] | None = None) -> int:
    """Run all steps."""
    args = parse_args(argv)
    # Threads of torch spin while they wait for each other: processes share the work better.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("GLIBC_TUNABLES", MEMORY)
    runner = Runner(args.output.resolve())
    summary: dict[str, Any] = {"anchors": run_anchors(args, runner)}
    write_json(runner.folder / "summary.json", summary)
    if args.spotter:
        summary["spotting"] = run_spotter(args, runner)
        write_json(runner.folder / "summary.json", summary)
    return DONE
