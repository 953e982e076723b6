"""Labels, report and drawings from the shards of a finished labelling run."""

import argparse
import json
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..data import write_labels
from ..data.datasets import Record, dataset_root
from ..evaluation.report import package_version, write_json
from ..stage1.anchor_job import AnchorJob, ShardPlan
from ..stage1.generate import Throughput
from ..stage1.merge import Answers, label_images
from ..stage1.pseudo_labels import percentile_limits
from ..stage1.report import WITHOUT_ANCHOR, LabelReport, draw_report, draw_uncertain
from ..stage1.retrieval import (
    RetrievalImage,
    describe_retrieval,
    flat_warning,
    summarize_retrieval,
)
from ..visualizer import save_image
from .status import DONE, LOSSES

logger = logging.getLogger("wecromcl_d2.anchors")


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


def write_all(
    job: AnchorJob,
    records: Sequence[Record],
    shards: ShardPlan,
    args: argparse.Namespace,
    extra: dict[str, Any],
) -> int:
    """Write labels, report and drawings from the shards, and return the exit status."""
    output: Path = args.output
    root, own = choose_root(records, output)
    answers = Answers(job, shards)
    limits = percentile_limits(answers.confidence, args.percentiles)
    labels = LabelReport(limits, args.percentiles)

    def lines() -> Iterator[Record]:
        found = label_images(job.cfg, records, answers, limits)
        for record, image in zip(records, found, strict=True):
            if isinstance(image, str):
                labels.leave_out(record, image)
                logger.warning("left out: %s", image or record["file_name"])
                continue
            labels.add(image)
            yield image.label(relative_name(record, root))
        if not labels.labelled:
            raise ValueError(f"none of the {len(records)} images of {job.dataset} can be used")

    write_labels(output, lines())
    name = str(output) if own else f"{output}@{shown_path(root)}"
    retrieval = summarize_retrieval([RetrievalImage.from_dict(i) for i in answers.measured])
    report = {
        "dataset": job.dataset,
        "labels": str(output),
        "dataset_name": name,
        "weights": job.cfg.MODEL.WEIGHTS,
        "config_file": args.config_file,
        "version": package_version(),
        **extra,
        **labels.content(retrieval),
        "speed": total_speed(job),
    }
    write_json(output.with_name(f"{output.stem}_report.json"), report)
    draw_report(report, output.with_name(f"{output.stem}_report.png"))
    save_image(output.with_name(f"{output.stem}_uncertain.png"), draw_uncertain(labels.uncertain))
    print_summary(report, retrieval)
    return LOSSES if labels.damaged else DONE


def print_summary(report: dict[str, Any], retrieval: dict[str, float]) -> None:
    """Say what was labelled, and how to train on it."""
    words, images = report["words"], report["images"]
    without = {key: words[key] for key in WITHOUT_ANCHOR if words[key]}
    print(
        f"{images['labelled']} images, {sum(words.values())} words"
        + "".join(f", {count} {key}" for key, count in without.items())
    )
    print(f"retrieval on {retrieval['images']} images: {describe_retrieval(retrieval)}")
    if warning := flat_warning(retrieval):
        logger.warning(warning)
    if report["truth"]:
        print(f"anchors on their word: {report['truth']['all']['inside_rate']:.4f}")
    if images["damaged"]:
        total = images["labelled"] + images["damaged"]
        print(f"{images['damaged']} of {total} images were left out, see above", file=sys.stderr)
    print(f"train on it by DATASETS.TRAIN \"('{report['dataset_name']}',)\"")


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
