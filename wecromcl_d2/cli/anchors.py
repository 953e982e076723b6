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

Several machines with a common file system share the images as parts, for example of a SLURM array,
or as tasks of a Ray cluster; the labels are the same to the last byte:

    wecromcl anchors ... --shard $SLURM_ARRAY_TASK_ID/100   # for 1 to 100, at once or one by one
    wecromcl anchors ... --merge                            # when all have finished
    wecromcl anchors ... --engine ray --address 10.0.0.1:6379

Exit status: 0; 1 if images were left out, which are listed at the end; 2 after an error; 130 when
interrupted.
"""

import argparse
import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.engine import launch
from detectron2.utils.logger import setup_logger
from torch.multiprocessing.spawn import ProcessException

from ..data.datasets import Record, label_path
from ..engine.processes import check_gpus
from ..stage1.anchor_job import (
    AnchorJob,
    ShardPlan,
    fingerprint,
    load_records,
    pending_shards,
    plan_shards,
)
from ..stage1.generate import run_shards
from ..stage1.pseudo_labels import PERCENTILES
from ..stage1.ray_engine import run_on_ray
from ..tasks import load_config
from .anchor_labels import write_all
from .status import DONE, add_dataset_option, check_positive, command, command_parser

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
    add("--shard", type=shard_of, metavar="I/N",
        help="find the I-th of N parts alone, from 1 on, and write no labels yet")  # fmt: skip
    add("--merge", action="store_true", help="write the labels of a run whose parts are all done")
    add("--engine", choices=("processes", "ray"), default="processes",
        help="what runs the shards (default: %(default)s); ray is the extra [ray]")  # fmt: skip
    add("--address", help="of a running Ray cluster; by default one is started on this machine")
    args = parser.parse_args(argv)
    check_engine(parser, args)
    if args.output.suffix not in (".jsonl", ".json"):
        parser.error(f"--output {args.output} must end in .jsonl or .json")
    low, high = args.percentiles
    if not 0 <= low <= high <= 100:
        parser.error(f"--percentiles {low} {high} must rise from 0 to 100")
    check_positive(parser, args, "num_gpus", "batch_size")
    return args


def shard_of(text: str) -> tuple[int, int]:
    """Number, from 1 on, and count of `--shard`."""
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise argparse.ArgumentTypeError(f"{text!r} is no I/N with I from 1 to N, such as 3/10")
    return int(match[1]), int(match[2])


def check_engine(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Refuse options that exclude each other."""
    if args.shard and args.merge:
        parser.error("--shard finds a part, --merge writes the labels of all: give one of them")
    if args.address and args.engine != "ray":
        parser.error(f"--address {args.address} is of a Ray cluster: give --engine ray too")
    if args.engine == "ray" and (args.shard or args.merge or args.num_gpus > 1):
        parser.error("--engine ray shares the images by itself: no --shard, --merge or --num-gpus")


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
    if args.shard:
        return find_part(job, shards, args, records)
    pending = pending_shards(job, range(len(shards)))
    done = len(records) - sum(len(shards[number]) for number in pending)
    logger.info("%s: %d images, %d of them done before", args.dataset, len(records), done)
    try:
        if pending and args.merge:
            raise ValueError(
                f"{len(pending)} of {len(shards)} shards of {draft.folder} are missing, first "
                f"{job.shard(pending[0]).name}: run the parts that have not finished again, or "
                "leave out --merge to find what is missing here"
            )
        if not args.merge:
            for speed in job.folder.glob("speed-*.json"):
                speed.unlink()
        if pending:
            run(job, shards, pending, args, records)
        status = write_all(job, records, shards, args, {"settings": identity})
        shutil.rmtree(job.folder)
    finally:
        for folder in (job.folder, draft.folder):
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
    return status


def find_part(
    job: AnchorJob, shards: ShardPlan, args: argparse.Namespace, records: Sequence[Record]
) -> int:
    """Run the missing shards of `--shard`, and return the exit status."""
    number, count = args.shard
    own = range(number - 1, len(shards), count)
    if pending := pending_shards(job, own):
        run(job, shards, pending, args, records)
    print(
        f"part {number} of {count}: all of its {len(own)} shards are written; once all parts are, "
        "give the same command --merge in place of --shard"
    )
    return DONE


def run(
    job: AnchorJob,
    shards: ShardPlan,
    pending: list[int],
    args: argparse.Namespace,
    records: Sequence[Record],
) -> None:
    """Write the missing shards; several processes each read the records again."""
    name = "run" if args.shard is None else "{}-of-{}".format(*args.shard)
    work = (job, pending, records if args.num_gpus == 1 else None, name)
    try:
        if args.engine == "ray":
            run_on_ray(job, shards, pending, args.address)
        else:
            launch(run_shards, args.num_gpus, dist_url="auto", args=work, timeout=TIMEOUT)
    except BaseException:
        done = sum(job.shard(number).is_file() for number in pending)
        if done:
            logger.warning(
                "%d of %d shards were written; the same command continues", done, len(pending)
            )
        raise


@command("anchors", ProcessException)
def main(argv: Sequence[str] | None = None) -> int:
    """Find the anchors and write them as labels; returns the exit status."""
    args = parse_args(argv)
    setup_logger(name="wecromcl_d2")
    setup_logger(name="fvcore")
    return find_anchors(args, make_config(args))
