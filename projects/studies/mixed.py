"""Labels with the true points of some images and pseudo points in all others."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from detectron2.config import CfgNode

from wecromcl_d2.cli.steps import names
from wecromcl_d2.data.datasets import split_name, write_labels
from wecromcl_d2.engine.forecast import plan_phases

from .points import Record, centers_of

# What stage 1 says of a point that it has found.
FOUND = ("point_scores", "point_weights", "similarity")


def mix_points(records: Sequence[Record], percent: int) -> Iterator[Record]:
    """The records, with the centers of the outlines as points in the first `percent` of them."""
    count = len(records) * percent // 100
    for number, record in enumerate(records):
        if number < count:
            kept = {key: value for key, value in record.items() if key not in FOUND}
            yield kept | {"points": centers_of(record).tolist()}
        else:
            yield record


def write_mixed(dataset: str, output: Path, percent: int) -> str:
    """Write a label file with true points in a share of its images.

    Args:
        dataset: label file of pseudo points with outlines, as `FILE` or `FILE@IMAGE_ROOT`.
        output: label file; of a `FILE` it must be in the same folder.
        percent: of the images.

    Returns:
        The new file in the place of `FILE`.
    """
    parts = split_name(dataset)
    assert parts is not None
    lines = parts[0].read_text(encoding="utf-8").splitlines()
    write_labels(output, mix_points([json.loads(line) for line in lines], percent))
    return str(output) if parts[1] is None else f"{output}@{parts[1]}"


def replace_datasets(cfg: CfgNode, replaced: dict[str, str]) -> tuple[str, ...]:
    """KEY VALUE pairs that train on other datasets in place of a config's."""
    curriculum = [[replaced[name] for name in phase] for phase in cfg.SOLVER.CURRICULUM.DATASETS]
    train = [replaced[name] for name in cfg.DATASETS.TRAIN]
    return ("SOLVER.CURRICULUM.DATASETS", repr(curriculum), "DATASETS.TRAIN", names(*train))


def training_datasets(cfg: CfgNode) -> list[str]:
    """The datasets of all phases of a training."""
    return list(dict.fromkeys(name for plan in plan_phases(cfg) for name in plan.datasets))
