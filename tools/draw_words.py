#!/usr/bin/env python
"""Draw what a spotter reads in the images of a dataset, and which true words it misses.

Example: python tools/draw_words.py --config-file configs/quick/srsts_a.yaml \
             --weights demo_output/spotting/model_best.pth --dataset synth_scenes_test \
             --output pictures

Words that are right are green, others are red. For images without labels use demo/demo.py.
"""

import argparse
from collections import Counter
from pathlib import Path

import numpy as np
from detectron2.data import DatasetCatalog

from wecromcl_d2.data.datasets import ensure_registered, usable_words
from wecromcl_d2.predictor import Spotter, Spotting
from wecromcl_d2.predictor.drawing import draw_spotting
from wecromcl_d2.visualizer import HIT, MISS, add_caption, contact_sheet, save_image


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--config-file", required=True, help="config of the spotter")
    add("--weights", required=True, help="its checkpoint")
    add("--dataset", required=True, help="registered dataset, or a label file")
    add("--output", required=True, type=Path, help="folder of the pictures")
    add("--count", type=int, default=12, help="images used, from the first (%(default)s)")
    add("--threshold", type=float, help="least score of a word (default: of the config)")
    add("opts", nargs="*", help="KEY VALUE pairs that override the config")
    return parser.parse_args()


def draw_record(record: dict, result: Spotting) -> np.ndarray:
    """The image with the words read in it, and below it the words that were missed."""
    usable = usable_words(record)
    truth = Counter(
        text.casefold() for text, counts in zip(record["texts"], usable, strict=True) if counts
    )
    right = []
    for word in result.words:
        right.append(truth[word.casefold()] > 0)
        truth[word.casefold()] -= right[-1]
    picture = draw_spotting(
        result.source.read(),
        result.words,
        result.points,
        result.polylines,
        [HIT if good else MISS for good in right],
    )
    missed = ", ".join(truth.elements())
    return add_caption(picture, f"missed: {missed}" if missed else "all words read", color=HIT)


def main() -> None:
    """Draw the pictures and an overview."""
    args = parse_args()
    ensure_registered(args.dataset)
    records = DatasetCatalog.get(args.dataset)[: args.count]
    spotter = Spotter(args.config_file, args.weights, args.opts, threshold=args.threshold)
    results = spotter([record["file_name"] for record in records])
    pictures = []
    for record, result in zip(records, results, strict=True):
        pictures.append(draw_record(record, result))
        save_image(args.output / f"{Path(record['file_name']).stem}.png", pictures[-1])
    save_image(args.output / "overview.png", contact_sheet(pictures[:6], columns=3))
    print(f"{len(pictures)} pictures in {args.output}")


if __name__ == "__main__":
    main()
