r"""From images and their words to a trained spotter, measured on unseen images and drawn.

    wecromcl pipeline --config-file configs/quick/anchors.yaml \
        --spotter configs/quick/srsts_a.yaml --output demo_output

Stage 1 learns where words are and finds them in the training images; stage 2 is trained on these
points to find and read words. For your own images give label files (docs/DATASETS.md):

    wecromcl pipeline ... --train my/train.jsonl --val my/val.jsonl --test my/test.jsonl

Weights and threshold are chosen on --val, never on the test images. Without such images --hold-out
splits some off the training images.

    wecromcl pipeline ... --start

starts both trainings from the models that come with the package, --start NAME from another trained
pair, NAME-anchors and NAME; --anchors-weights names a finished detector, which is used without
training.

First it times a few steps of both trainings, and says how long they take here, what memory they
need and how many of the images each phase sees.

Each step is a command of its own, printed before it runs. Given the same command again, finished
steps are skipped and an interrupted training is resumed.
"""

import argparse
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode

from ..evaluation.report import write_json
from ..predictor.registry import DEFAULT_MODELS
from ..shipped_models import check_shipped, shipped_weights
from ..tasks import load_config
from .forecast import FORECAST, duration
from .start import start_weights
from .status import DONE, add_import_option, command, command_parser
from .steps import (
    Runner,
    best_weights,
    drawing_step,
    evaluation_step,
    forecast_step,
    labels_step,
    names,
    prepare_environment,
    print_table,
    read_metrics,
    train_step,
)
from .validation import check_label_files, check_validation, hold_out


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The parsed command line."""
    parser = command_parser("pipeline", __doc__)
    add = parser.add_argument
    add("--config-file", required=True, help="config of the anchor detector, stage 1")
    add("--spotter", help="config of the spotter, stage 2; without it, stage 1 alone is run")
    add("--output", required=True, type=Path, help="folder of all results")
    datasets = "registered dataset or label file: "
    add("--train", help=datasets + "training images (default: of the configs)")
    add("--val", help=datasets + "chooses weights and threshold (default: of the configs)")
    add(
        "--hold-out",
        type=float,
        metavar="SHARE",
        help="choose weights and threshold on this share of --train, which is not trained on",
    )
    add("--test", default="synth_scenes_test", help=datasets + "unseen images (%(default)s)")
    add(
        "--true-points",
        action="store_true",
        help="train a second spotter at the same time on the centers of the ground-truth outlines, "
        "to compare with",
    )
    add_import_option(parser)
    processes = torch.cuda.device_count() or 2
    add(
        "--processes",
        type=int,
        default=processes,
        help="that share the work (default: one a GPU, 2 without; here %(default)s)",
    )
    add("--pictures", type=int, default=12, help="test images drawn (default: %(default)s)")
    add(
        "--start",
        nargs="?",
        const=DEFAULT_MODELS["spotting"],
        metavar="NAME",
        help="start from a trained pair (default: %(const)s)",
    )
    add(
        "--anchors-weights",
        type=lambda name: Path(shipped_weights(name)),
        help="finished detector, or shipped://NAME; stage 1 is not trained",
    )
    pairs = "KEY VALUE pairs that override "
    add("--anchor-opts", nargs="+", default=[], help=pairs + "the config of stage 1")
    add("--spotter-opts", nargs="+", default=[], help=pairs + "the config of stage 2")
    add("opts", nargs="*", help=pairs + "both")
    args = parser.parse_args(argv)
    args.anchor_opts = [*args.opts, *args.anchor_opts]
    args.spotter_opts = [*args.opts, *args.spotter_opts]
    if args.anchors_weights and not args.anchors_weights.is_file():
        check_shipped(args.anchors_weights)  # tells a model that this version lacks
        parser.error(f"--anchors-weights {args.anchors_weights} does not exist")
    if args.output.is_file():
        parser.error(f"--output {args.output} is a file; name a folder")
    if args.spotter:
        check_spotter_options(parser, args.spotter_opts)
    if args.hold_out is not None and (args.val or not args.train):
        parser.error("--hold-out needs --train and takes the place of --val")
    return args


def check_spotter_options(parser: argparse.ArgumentParser, opts: Sequence[str]) -> None:
    """Report datasets that would take the place of the points that stage 1 finds."""
    for key, value in itertools.pairwise(opts):
        if key in ("DATASETS.TRAIN", "SOLVER.CURRICULUM.DATASETS") and value.strip("[]() "):
            parser.error(
                f"{key} would be the spotter's in place of the points that are found; name the "
                "images by --train, or in the configs"
            )


def run_forecasts(args: argparse.Namespace, runner: Runner) -> None:
    """Measure both trainings beforehand and print how long everything takes here."""
    train = ("DATASETS.TRAIN", names(args.train)) if args.train else ()
    val = ("DATASETS.TEST", names(args.val)) if args.val else ()
    stages = {}
    if not args.anchors_weights:
        stages["anchors"] = (args.config_file, args.anchor_opts, args.processes)
    if args.spotter:
        processes = 1 if args.true_points else args.processes
        stages["spotting"] = (args.spotter, args.spotter_opts, processes)
    found = {}
    for stage, (config, opts, processes) in stages.items():
        folder = runner.folder / stage
        own = (*opts, "OUTPUT_DIR", str(folder), *train, *val)
        runner.run(forecast_step(f"{stage}-forecast", config, own, processes))
        found[stage] = json.loads((folder / FORECAST).read_text(encoding="utf-8"))
    seconds = sum(forecast["seconds"] for forecast in found.values())
    finding = ""
    if len(found) == 2:
        images = sum(phase["images"] for phase in found["spotting"]["phases"])
        points = images * found["anchors"]["seconds_per_image"] / args.processes
        seconds += points
        finding = f", of which finding the words of {images} images {duration(points)}"
    print_table("Forecast for this computer", {"trainings": duration(seconds) + finding})


def run_anchors(args: argparse.Namespace, runner: Runner) -> dict[str, float]:
    """Train and evaluate stage 1, and draw its anchors."""
    folder = runner.folder / "anchors"
    train = ("DATASETS.TRAIN", names(args.train)) if args.train else ()
    val = ("DATASETS.TEST", names(args.val)) if args.val else ()
    opts = (*args.anchor_opts, "OUTPUT_DIR", str(folder))
    config = args.config_file
    seconds = 0.0
    if not args.anchors_weights:
        start = _start(args, runner, config, args.anchor_opts, f"{args.start}-anchors")
        training = (*start, *opts, *train, *val)
        (seconds,) = runner.run(train_step("anchors-train", config, training, args.processes))
    weights = detector_weights(args, runner)
    pictures = runner.folder / "pictures" / "anchors"
    model = (config, weights, args.test, pictures, "--count", str(args.pictures))
    runner.run(
        drawing_step("anchors-pictures", "anchors", *model),
        evaluation_step("anchors-test", config, weights, [args.test], opts),
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
    # Test images without outlines have fewer metrics.
    keys = ("inside_rate", "chance", "distance_median", "precision", "recall", "hmean")
    known = {key: metrics[key] for key in keys if key in metrics}
    return known | {"seconds": round(seconds, 1)}


def run_spotter(args: argparse.Namespace, runner: Runner) -> dict[str, float]:
    """Label the training images with anchors, train and evaluate a spotter, and draw its words."""
    cfg = load_config(args.spotter, args.spotter_opts)
    val = args.val or cfg.DATASETS.TEST[0]
    train = (args.train,) if args.train else cfg.DATASETS.TRAIN
    phases = [*cfg.SOLVER.CURRICULUM.DATASETS, train]
    found, finding = find_points(args, runner, [name for phase in phases for name in phase])
    runs = {"spotting": [tuple(found[name] for name in phase) for phase in phases]}
    if args.true_points:
        runs["spotting-true"] = [tuple(phase) for phase in phases]
    processes = 1 if args.true_points else args.processes
    start = _start(args, runner, args.spotter, args.spotter_opts, args.start)
    if not start and not cfg.MODEL.WEIGHTS:
        start = ("MODEL.BACKBONE.WEIGHTS", detector_weights(args, runner))
    start = (*start, "DATASETS.TEST", names(val))
    steps = []
    for run, (*curriculum, last) in runs.items():
        early = ("SOLVER.CURRICULUM.DATASETS", repr([list(phase) for phase in curriculum]))
        source = ("INPUT.POINT_SOURCE", "polygons") if run == "spotting-true" else ()
        data = (*early, "DATASETS.TRAIN", names(*last), *source)
        opts = (*start, *data, *_output(args, runner, run))
        steps.append(train_step(f"{run}-train", args.spotter, opts, processes))
    training, *_ = runner.run(*steps)
    metric = "spotting" if gives_points(cfg) else "words"
    metrics = _measure(args, runner, runs, val, metric)
    pictures = runner.folder / "pictures" / "words"
    model = (args.spotter, best_weights(runner.folder / "spotting"), args.test, pictures)
    options = ("--threshold", str(metrics["spotting"]["threshold"]), "--count", str(args.pictures))
    runner.run(drawing_step("spotting-pictures", "words", *model, *options))
    result = _summary(metrics, finding + training, cfg)
    true_points = f"{result['f_true_points']:.3f}" if args.true_points else "not trained"
    rows = {
        "F" if gives_points(cfg) else "F, words alone": f"{result['f']:.3f}",
        "precision": f"{result['precision']:.3f}",
        "recall": f"{result['recall']:.3f}",
        "threshold": f"{result['threshold']:.2f}, chosen on {val}",
        "F, ground-truth points": true_points,
        "training": f"{result['seconds']:.0f} s, of which finding points {finding:.0f} s",
        "pictures": str(pictures),
    }
    print_table(f"Words found and read in {args.test}, learned from the anchors", rows)
    return result


def detector_weights(args: argparse.Namespace, runner: Runner) -> str:
    """Checkpoint of stage 1: the given one, else the trained one."""
    return str(args.anchors_weights or best_weights(runner.folder / "anchors"))


def _start(
    args: argparse.Namespace, runner: Runner, config: str, opts: Sequence[str], name: str
) -> tuple[str, ...]:
    """KEY VALUE of the weights that a training starts from; empty without --start."""
    if not args.start:
        return ()
    return ("MODEL.WEIGHTS", start_weights(config, opts, name, runner.folder / "start"))


def find_points(
    args: argparse.Namespace, runner: Runner, datasets: list[str]
) -> tuple[dict[str, str], float]:
    """Label datasets with their anchors, all at the same time.

    Returns:
        For each dataset the name of the one with pseudo points, and the seconds of the slowest.
    """
    folder = runner.folder / "points"
    model = (args.config_file, detector_weights(args, runner))
    share = ("--num-gpus", str(max(1, args.processes // len(datasets))))
    options = (*share, *args.anchor_opts)
    steps = [
        labels_step(f"points-{number}", *model, dataset, folder / f"{number}.jsonl", *options)
        for number, dataset in enumerate(datasets)
    ]
    seconds = max(runner.run(*steps))
    found = {}
    for number, dataset in enumerate(datasets):
        report = folder / f"{number}_report.json"
        found[dataset] = json.loads(report.read_text(encoding="utf-8"))["dataset_name"]
    return found, seconds


def _output(args: argparse.Namespace, runner: Runner, run: str) -> tuple[str, ...]:
    return (*args.spotter_opts, "OUTPUT_DIR", str(runner.folder / run))


def gives_points(cfg: CfgNode) -> bool:
    """Whether the spotter outputs points; NPTS does not."""
    return cfg.MODEL.META_ARCHITECTURE != "SPTS" or cfg.MODEL.SPTS.POINTS


def _measure(
    args: argparse.Namespace, runner: Runner, runs: Iterable[str], val: str, metric: str
) -> dict[str, dict[str, float]]:
    """Metrics of each run on the test images, at the best threshold on the validation images."""
    folders = {run: runner.folder / run for run in runs}

    def evaluate(name: str, dataset: str, own: Mapping[str, Sequence[str]]) -> dict[str, Any]:
        steps = []
        for run, folder in folders.items():
            opts = (*_output(args, runner, run), *own.get(run, ()))
            weights = best_weights(folder)
            step = evaluation_step(f"{run}-{name}", args.spotter, weights, [dataset], opts)
            steps.append(step)
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
        "spotter": cfg.MODEL.META_ARCHITECTURE if gives_points(cfg) else "NPTS",
        "f": own["hmean"],
        "precision": own["precision"],
        "recall": own["recall"],
        "threshold": own["threshold"],
        "seconds": round(seconds, 1),
    }
    if "spotting-true" in metrics:
        result["f_true_points"] = metrics["spotting-true"]["hmean"]
    return result


@command("pipeline")
def main(argv: Sequence[str] | None = None) -> int:
    """Run all steps."""
    args = parse_args(argv)
    prepare_environment()
    runner = Runner(args.output.resolve())
    if args.hold_out is not None:
        args.train, args.val = hold_out(args.train, args.hold_out, runner.folder / "data")
    stages = ((args.config_file, args.anchor_opts), (args.spotter, args.spotter_opts))
    for config, opts in stages:
        if config:
            chosen_on = (args.val,) if args.val else load_config(config, opts).DATASETS.TEST
            check_validation(chosen_on, args.test)
    check_label_files(name for name in (args.train, args.val, args.test) if name)
    run_forecasts(args, runner)
    summary: dict[str, Any] = {"anchors": run_anchors(args, runner)}
    write_json(runner.folder / "summary.json", summary)
    if args.spotter:
        summary["spotting"] = run_spotter(args, runner)
        write_json(runner.folder / "summary.json", summary)
    return DONE
