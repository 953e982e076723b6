r"""Label a dataset with the points that a detector finds that `wecromcl anchors` cannot run.

    python -m projects.studies.make_points --config-file projects/studies/configs/ifl.yaml \
        --weights output/ifl/model_best.pth --dataset synth_scenes_train --output points.jsonl

Such as IFL, whose words are located without text features. All points weigh the same. Beside the
labels `points_report.json` names the dataset to train on, as that of `wecromcl anchors` does.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode

from wecromcl_d2.cli.anchor_labels import choose_root, relative_name, shown_path
from wecromcl_d2.cli.status import DONE, add_dataset_option, command
from wecromcl_d2.cli.steps import Step
from wecromcl_d2.data.datasets import write_labels
from wecromcl_d2.engine.loading import load_model
from wecromcl_d2.engine.precision import prepare_cpu
from wecromcl_d2.evaluation.report import write_json
from wecromcl_d2.stage1.mapper import AnchorMapper
from wecromcl_d2.stage1.trainer import AnchorTrainer
from wecromcl_d2.tasks import load_config

from .points import Record


@dataclass(frozen=True)
class PointsStep(Step):
    """A step that runs this module."""

    @property
    def command(self) -> list[str]:
        """The complete command line."""
        return [sys.executable, "-m", __name__, *self.arguments]


def points_step(
    name: str, config: str, weights: str, dataset: str, output: Path, opts: Sequence[str]
) -> Step:
    """Step that labels a dataset with the points that a detector finds."""
    files = ("--config-file", config, "--weights", weights, "--output", str(output))
    return PointsStep(name, "make_points", (*files, "--dataset", dataset, *opts), quiet=True)


def find_points(cfg: CfgNode, weights: str, records: Sequence[Record]) -> Iterator[Record]:
    """The records with the points that a detector of TASK "anchors" finds.

    A word has none if it cannot be read, or if its map has fewer peaks than the image has copies.
    """
    model, mapper = load_model(cfg, weights), AnchorMapper(cfg, False)
    for record in records:
        with torch.no_grad():
            (result,) = model([mapper(record)])
        found = result["instances"]
        points = zip(found.pred_points.tolist(), found.scores.tolist(), strict=True)
        places: list[tuple[Any, float]] = [
            next(points) if model.charset.normalize(text) else (None, 0.0)
            for text in record["texts"]
        ]
        yield record | {"points": [point if score > 0 else None for point, score in places]}


def make_labels(cfg: CfgNode, weights: str, dataset: str, output: Path) -> str:
    """Label a dataset; returns the name of the new one."""
    records = AnchorTrainer.load_records(cfg, [dataset])
    root, own = choose_root(records, output)
    found = find_points(cfg, weights, records)
    write_labels(output, ({**x, "file_name": relative_name(x, root)} for x in found))
    return str(output) if own else f"{output}@{shown_path(root)}"


@command("studies.make_points")
def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config-file", required=True)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--output", required=True, type=Path)
    add_dataset_option(parser)
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="changes of the config")
    args = parser.parse_intermixed_args(argv)
    prepare_cpu()
    cfg = load_config(args.config_file, args.opts)
    name = make_labels(cfg, args.weights, args.dataset, args.output)
    write_json(args.output.with_name(f"{args.output.stem}_report.json"), {"dataset_name": name})
    print(f"train on it by DATASETS.TRAIN \"('{name}',)\"")
    return DONE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
