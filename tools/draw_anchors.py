#!/usr/bin/env python
"""Draw what an anchor detector sees: for each image its words, their maps, anchors and truth.

Example: python tools/draw_anchors.py --config-file configs/quick/anchors.yaml \
             --dataset synth_scenes_test --output pictures MODEL.WEIGHTS output/model_best.pth
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog
from detectron2.data import detection_utils as utils
from detectron2.modeling import build_model
from detectron2.structures import Instances
from detectron2.utils.logger import setup_logger
from torch import nn

from wecromcl_d2.data.datasets import ensure_registered
from wecromcl_d2.engine.loading import CheckedCheckpointer
from wecromcl_d2.stage1.evaluator import AnchorEvaluator
from wecromcl_d2.stage1.mapper import AnchorMapper
from wecromcl_d2.stage1.matching import inside_polygon
from wecromcl_d2.tasks import load_config
from wecromcl_d2.visualizer import WordView, anchor_sheet, contact_sheet, save_image


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config-file", required=True, help="config of the detector")
    parser.add_argument(
        "--dataset",
        required=True,
        help="registered dataset, or a label file: FILE.jsonl or FILE.jsonl@IMAGE_ROOT",
    )
    parser.add_argument("--output", required=True, type=Path, help="folder of the pictures")
    parser.add_argument("--count", type=int, default=12, help="images used, from the first")
    parser.add_argument("opts", nargs="*", help="KEY VALUE pairs that override the config")
    return parser.parse_args()


def build_detector(cfg: CfgNode) -> nn.Module:
    """The model of a config with the weights of MODEL.WEIGHTS, for inference.

    Raises:
        ValueError: if no weights are named.
    """
    if not cfg.MODEL.WEIGHTS:
        raise ValueError("MODEL.WEIGHTS is empty; name the checkpoint of a trained detector")
    model = build_model(cfg).eval()
    CheckedCheckpointer(model).load(cfg.MODEL.WEIGHTS)
    return model


def draw_record(record: dict, instances: Instances) -> np.ndarray:
    """Sheet of one dataset record: truth, then a tile for each readable word."""
    image = utils.read_image(record["file_name"], "RGB")
    height, width = image.shape[:2]
    polygons = record.get("polygons") or [None] * len(record["texts"])
    rows, columns = instances.pred_maps.shape[1:] if len(instances) else (1, 1)
    words = [
        WordView(
            text=instances.pred_texts[i],
            activation=instances.pred_maps[i].numpy(),
            point=instances.pred_points[i].tolist(),
            score=float(instances.scores[i]),
            polygon=_own_polygon(record, instances.pred_texts[i], instances.pred_points[i].numpy()),
        )
        for i in range(len(instances))
    ]
    return anchor_sheet(
        image,
        words,
        record["texts"],
        polygons,
        title=Path(record["file_name"]).name,
        cell_size=(height / rows, width / columns),
    )


def _own_polygon(record: dict, text: str, point: np.ndarray) -> list[float] | None:
    """Outline of the word; of equal words the one that the point lies on."""
    polygons = record.get("polygons") or []
    own = [p for t, p in zip(record["texts"], polygons, strict=False) if t == text and p]
    on_word = [p for p in own if inside_polygon(p, point[None])[0]]
    return (on_word or own or [None])[0]


def main() -> None:
    """Draw the pictures and an overview, and measure where truth is known."""
    args = parse_args()
    cfg = load_config(args.config_file, args.opts)
    setup_logger(name="wecromcl_d2")
    torch.set_flush_denormal(True)
    ensure_registered(args.dataset)
    records = DatasetCatalog.get(args.dataset)
    model, mapper = build_detector(cfg), AnchorMapper(cfg, False)
    evaluator = AnchorEvaluator(args.dataset)
    sheets = []
    for record in records[: args.count]:
        output = model([mapper(record)])[0]
        evaluator.process([record], [output])
        sheets.append(draw_record(record, output["instances"].to("cpu")))
        save_image(args.output / f"{Path(record['file_name']).stem}.png", sheets[-1])
        print(
            f"{len(sheets)} of {min(args.count, len(records))}: {record['file_name']}", flush=True
        )
    evaluator.evaluate()
    save_image(args.output / "overview.png", contact_sheet(sheets[:6], columns=2))
    print(f"{len(sheets)} pictures in {args.output}")


if __name__ == "__main__":
    main()
