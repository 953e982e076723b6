"""Tiny images and random weights, and a command line for them."""

import json
from pathlib import Path

from detectron2.config import get_cfg
from detectron2.modeling import build_model

from wecromcl_d2 import add_wecromcl_config

ROOT = Path(__file__).resolve().parents[3]
CONFIG = str(ROOT / "configs/quick/anchors.yaml")
SIZES = ((32, 64), (48, 48), (64, 32))
IMAGES = 20
WORDS = ["alpha", "Beta", "alpha", "gamma7", "漢字", "delta", "ALPHA", "beta!"]
# Shards of 8 images.
COMMON = ["--config-file", CONFIG, "--batch-size", "1"]


def make_record(index):
    height, width = SIZES[index % 3]
    texts = [WORDS[(index + k) % len(WORDS)] for k in range(index % 5)]
    record = {"file_name": f"images/{index}.png", "height": height, "width": width}
    record |= {"texts": texts, "points": [[1.0, 1.0]] * len(texts), "source": f"camera {index}"}
    record["polygons"] = [[0, 0, width / 2, 0, width / 2, height, 0, height]] * len(texts)
    record["ignore"] = [text == "delta" for text in texts]
    return record


def make_model(*opts):
    cfg = get_cfg()
    add_wecromcl_config(cfg)
    cfg.merge_from_file(CONFIG)
    cfg.merge_from_list(list(opts))
    return build_model(cfg).eval()


def arguments(source, output, *more, dataset="labels.jsonl"):
    weights = ["--weights", str(source / "weights.pth")]
    return [*COMMON, *weights, "--dataset", str(source / dataset), "--output", str(output), *more]


def records_of(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
