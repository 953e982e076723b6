r"""Find the anchors of a dataset's words and write them as labels that a spotter trains on.

    wecromcl anchors --config-file configs/quick/anchors.yaml \
        --weights output/quick_anchors/model_best.pth --dataset synth_scenes_train \
        --output output/anchors.jsonl

The output has the records of the dataset with "points", "point_scores", "similarity" and
"point_weights". Points of the dataset are replaced; its outlines are kept, for evaluation only.
Ignored words and words without any character of the charset get no point; images that cannot be
used are left out. Retrieval, measured on at most 200 images, needs no positions.
OUTPUT_report.json, OUTPUT_report.png and OUTPUT_uncertain.png are written beside the output.

Images are not copied: "file_name" is relative to the folder of the output if all images are below
it, else to the folder of all datasets if they are there, else to the folder that they share. In
the first case DATASETS.TRAIN is "OUTPUT.jsonl", otherwise "OUTPUT.jsonl@FOLDER", as the last line
and the report say.

If it is interrupted, the same command continues with the finished shards in OUTPUT.shards. Other
weights, images, texts, config or batch size start from the beginning.

Exit status: 0; 1 if images were left out, which are listed at the end; 2 after an error; 130 when
interrupted.
"""

import argparse
import hashlib
import json
import logging
import os
import shutil
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode
from detectron2.engine import launch
from detectron2.utils.logger import setup_logger
from torch.multiprocessing.spawn import ProcessException

from ..data import write_labels
from ..data.datasets import Record, dataset_root, label_path
from ..engine.processes import check_gpus
from ..evaluation.report import package_version, write_json
from ..stage1.anchor_job import (
    AnchorJob,
    collect_shards,
    fingerprint,
    label_images,
    load_records,
    pending_shards,
    plan_shards,
    word_keys,
)
from ..stage1.generate import Throughput, run_shards
from ..stage1.pseudo_labels import PERCENTILES
from ..stage1.report import WITHOUT_ANCHOR, describe_labels, draw_report, draw_uncertain
from ..stage1.retrieval import (
    RetrievalImage,
    describe_retrieval,
    flat_warning,
    summarize_retrieval,
)
from ..tasks import load_config
from ..visualizer import save_image
from .status import DONE, LOSSES, add_dataset_option, check_positive, command, command_parser

logger = logging.getLogger("wecromcl_d2.anchors")

# Processes wait for the slowest one, which may need much longer than the others.
TIMEOUT = timedelta(days=1)


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The parsed command line."""
    parser = command_parser("anchors", __doc__)
    add_model_arguments(parser)
    add = parser.add_argument
    add("--output", required=True, type=Path, help="label file to write, .jsonl or .json")
    add("--num-gpus", type=int, default=1, help="processes that share the images (default: 1)")
    add("--percentiles", type=float, nargs=2, metavar=("LOW", "HIGH"), default=PERCENTILES,
        help="percentiles of all confidences up to which an anchor weighs nothing, and from which "
        "on it weighs 1 (default: %(default)s)")  # fmt: skip
    args = parser.parse_args(argv)
    if args.output.suffix not in (".jsonl", ".json"):
        parser.error(f"--output {args.output} must end in .jsonl or .json")
    low, high = args.percentiles
    if not 0 <= low <= high <= 100:
        parser.error(f"--percentiles {low} {high} must rise from 0 to 100")
    check_positive(parser, args, "num_gpus", "batch_size")
    return args


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the detector and its images, which labelling and its benchmark share."""
    add = parser.add_argument
    add("--config-file", required=True, help="config of the detector")
    add("--weights", help="its weights; by default MODEL.WEIGHTS of the config")
    add_dataset_option(parser)
    add("--batch-size", type=int, default=8, help="images in the model at once (default: 8)")
    add("opts", nargs="*", metavar="KEY VALUE", help="changes of the config")


def make_config(args: argparse.Namespace) -> CfgNode:
    """The config of the command line.

    Raises:
        ValueError: if no weights are named, or there is no such file.
    """
    weights = ["MODEL.WEIGHTS", args.weights] if args.weights else []
    cfg = load_config(args.config_file, [*args.opts, *weights])
    if not cfg.MODEL.WEIGHTS or not Path(cfg.MODEL.WEIGHTS).is_file():
        raise ValueError(f"there is no file {cfg.MODEL.WEIGHTS!r}; name the weights by --weights")
    return cfg


def choose_root(records: Sequence[Record], output: Path) -> tuple[Path, bool]:
    """Folder that image names of the output are relative to; whether it is the output's own."""
    own = Path(os.path.abspath(output.parent))
    folders = {os.path.dirname(os.path.abspath(record["file_name"])) for record in records}
    common = Path(os.path.commonpath(list(folders)))
    if common.is_relative_to(own):
        return own, True
    datasets = Path(os.path.abspath(dataset_root()))
    return (datasets if common.is_relative_to(datasets) else common), False


def relative_name(record: Record, root: Path) -> str:
    """The file name of a record relative to an image root, see `choose_root`."""
    return Path(os.path.abspath(record["file_name"])).relative_to(root).as_posix()


def shown_path(path: Path) -> str:
    """A path for display: relative to the working directory if it is below it."""
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


def find_anchors(args: argparse.Namespace, cfg: CfgNode) -> int:
    """Run the missing shards, write labels and reports, and return the exit status."""
    output: Path = args.output
    if label_path(args.dataset) == os.path.abspath(output):
        raise ValueError(f"{output} is the dataset itself, whose points would be lost")
    check_gpus(args.num_gpus)
    records = load_records(args.dataset, cfg.INPUT.MIN_TEXT_LENGTH)
    draft = AnchorJob(cfg, args.dataset, args.batch_size, output.with_name(output.name + ".shards"))
    identity = fingerprint(draft, records)
    name = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]
    job = AnchorJob(cfg, args.dataset, args.batch_size, draft.folder / name)
    job.folder.mkdir(parents=True, exist_ok=True)
    for other in sorted(draft.folder.iterdir()):
        if other != job.folder:
            logger.warning(
                "%s holds shards of a run with other settings; delete it unless you need it",
                other,
            )
    shards = plan_shards(records, args.batch_size)
    pending = pending_shards(job, shards)
    for speed in job.folder.glob("speed-*.json"):
        speed.unlink()
    done = len(records) - sum(len(shards[number]) for number in pending)
    logger.info("%s: %d images, %d of them done before", args.dataset, len(records), done)
    keys = word_keys(cfg, records)
    try:
        if pending:
            run(job, pending, args.num_gpus, records, keys)
        status = write_all(job, records, keys, shards, args, {"settings": identity})
        shutil.rmtree(job.folder)
    finally:
        for folder in (job.folder, draft.folder):
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
    return status


def run(
    job: AnchorJob,
    pending: list[int],
    processes: int,
    records: Sequence[Record],
    keys: Sequence[Sequence[str]],
) -> None:
    """Write the missing shards; several processes each read the records again."""
    work = (job, pending, *((records, keys) if processes == 1 else ()))
    try:
        launch(run_shards, processes, dist_url="auto", args=work, timeout=TIMEOUT)
    except BaseException:
        done = sum(job.shard(number).is_file() for number in pending)
        if done:
            logger.warning(
                "%d of %d shards were written; the same command continues", done, len(pending)
            )
        raise


def write_all(
    job: AnchorJob,
    records: Sequence[Record],
    keys: Sequence[Sequence[str]],
    shards: list[list[int]],
    args: argparse.Namespace,
    extra: dict[str, Any],
) -> int:
    """Write labels, report and drawings from the shards, and return the exit status."""
    output: Path = args.output
    found = collect_shards(job, shards)
    images, damaged, limits = label_images(records, keys, found, args.percentiles)
    for record, problem in damaged:
        logger.warning("left out: %s", problem or record["file_name"])
    if not images:
        raise ValueError(f"none of the {len(records)} images of {job.dataset} can be used")
    root, own = choose_root(records, output)
    write_labels(output, (image.label(relative_name(image.record, root)) for image in images))
    name = str(output) if own else f"{output}@{shown_path(root)}"
    measured = [answer["retrieval"] for answer in found.values() if "retrieval" in answer]
    retrieval = summarize_retrieval([RetrievalImage.from_dict(image) for image in measured])
    report = {
        "dataset": job.dataset,
        "labels": str(output),
        "dataset_name": name,
        "weights": job.cfg.MODEL.WEIGHTS,
        "config_file": args.config_file,
        "version": package_version(),
        **extra,
        **describe_labels(images, damaged, limits, args.percentiles, retrieval),
        "speed": total_speed(job),
    }
    write_json(output.with_name(f"{output.stem}_report.json"), report)
    draw_report(report, output.with_name(f"{output.stem}_report.png"))
    save_image(output.with_name(f"{output.stem}_uncertain.png"), draw_uncertain(images))
    without = {key: report["words"][key] for key in WITHOUT_ANCHOR if report["words"][key]}
    print(
        f"{len(images)} images, {sum(report['words'].values())} words"
        + "".join(f", {count} {key}" for key, count in without.items())
    )
    print(f"retrieval on {len(measured)} images: {describe_retrieval(retrieval)}")
    if warning := flat_warning(retrieval):
        logger.warning(warning)
    if report["truth"]:
        print(f"anchors on their word: {report['truth']['all']['inside_rate']:.4f}")
    if damaged:
        print(f"{len(damaged)} of {len(records)} images were left out, see above", file=sys.stderr)
    print(f"train on it by DATASETS.TRAIN \"('{name}',)\"")
    return LOSSES if damaged else DONE


def total_speed(job: AnchorJob) -> dict[str, float] | None:
    """Throughput of all processes of this run together; None if no shard was missing."""
    speeds = [
        Throughput(**json.loads(path.read_text(encoding="utf-8")))
        for path in job.folder.glob("speed-*.json")
    ]
    seconds = max((speed.seconds for speed in speeds), default=0.0)
    if not seconds:
        return None
    images = sum(speed.images for speed in speeds)
    forward = sum(speed.forward_seconds for speed in speeds)
    return {
        "processes": len(speeds),
        "images": images,
        "images_per_second": round(images / seconds, 3),
        "cpu_seconds": round(sum(speed.cpu_seconds for speed in speeds), 3),
        "model_share_of_time": round(forward / sum(speed.seconds for speed in speeds), 4),
        "distinct_words": sum(speed.words for speed in speeds),
        "seconds_for_words": round(max(speed.word_seconds for speed in speeds), 3),
    }


@command("anchors", ProcessException)
def main(argv: Sequence[str] | None = None) -> int:
    """Find the anchors and write them as labels; returns the exit status."""
    args = parse_args(argv)
    setup_logger(name="wecromcl_d2")
    setup_logger(name="fvcore")
    return find_anchors(args, make_config(args))
