r"""Draw what a model finds in a dataset beside its labels, or the labels of a file by themselves.

    wecromcl visualize anchors --config-file configs/quick/anchors.yaml \
        --weights demo_output/anchors/model_best.pth --dataset synth_scenes_test --output drawn
    wecromcl visualize words --config-file configs/quick/srsts_a.yaml \
        --weights demo_output/spotting/model_best.pth --dataset synth_scenes_test --output drawn
    wecromcl visualize labels --dataset my/train.jsonl --output drawn

"anchors" shows for each image its words with their activation maps and anchors, "words" what a
spotter reads: right words are green, wrong ones red, missed ones below the image. "labels" shows
outlines, points and texts of a label file, anchors made by `wecromcl anchors` included. For images
without labels use `wecromcl read` and `wecromcl find`.
"""

import argparse
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from detectron2.data import DatasetCatalog
from detectron2.structures import Instances
from detectron2.utils.logger import setup_logger

from ..data.datasets import Record, ensure_registered, usable_words
from ..data.images import read_image
from ..engine.loading import load_model
from ..engine.precision import prepare_cpu
from ..predictor import Spotter, Spotting
from ..predictor.drawing import draw_spotting
from ..stage1.evaluator import AnchorEvaluator
from ..stage1.mapper import AnchorMapper
from ..stage1.matching import inside_polygon
from ..tasks import load_config
from ..visualizer import (
    HIT,
    MISS,
    WordView,
    add_caption,
    anchor_sheet,
    contact_sheet,
    draw_anchors,
    save_image,
)
from .status import DONE, add_import_option, command

# Number of images in the overview, and its columns.
OVERVIEW = 6
COLUMNS = {"anchors": 2, "words": 3, "labels": 3}


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The parsed command line."""
    parser = argparse.ArgumentParser(
        prog="wecromcl visualize",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    kinds = parser.add_subparsers(dest="what", required=True, metavar="|".join(COLUMNS))
    for name, purpose in (
        ("anchors", "words, their activation maps and anchors"),
        ("words", "what a spotter reads, right and wrong"),
        ("labels", "outlines, points and texts of a label file"),
    ):
        kind = kinds.add_parser(name, help=purpose)
        add = kind.add_argument
        add(
            "--dataset",
            required=True,
            help="registered dataset, or a label file: FILE.jsonl or FILE.jsonl@IMAGE_ROOT",
        )
        add_import_option(kind)
        add("--output", required=True, type=Path, help="folder of the drawings")
        add("--count", type=int, default=12, help="images used, from the first (%(default)s)")
        if name == "labels":
            continue
        add("--config-file", required=True, help="config of the model")
        add("--weights", required=True, help="its checkpoint")
        if name == "words":
            add("--threshold", type=float, help="least score of a word (default: of the config)")
        add("opts", nargs="*", metavar="KEY VALUE", help="changes of the config")
    args = parser.parse_args(argv)
    if args.count < 1:
        parser.error(f"--count is {args.count}; use 1 or more")
    return args


def anchor_drawings(args: argparse.Namespace, records: Sequence[Record]) -> Iterator[np.ndarray]:
    """A sheet for each record; logs the metrics of all of them at the end."""
    cfg = load_config(args.config_file, args.opts)
    setup_logger(name="wecromcl_d2")
    prepare_cpu()
    model = load_model(cfg, args.weights)
    mapper, evaluator = AnchorMapper(cfg, False), AnchorEvaluator(args.dataset)
    for record in records:
        output = model([mapper(record)])[0]
        evaluator.process([record], [output])
        yield draw_found_anchors(record, output["instances"].to("cpu"))
    evaluator.evaluate()


def draw_found_anchors(record: Record, instances: Instances) -> np.ndarray:
    """Sheet of one record: ground truth, then a tile for each readable word."""
    image = read_image(record["file_name"])
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


def _own_polygon(record: Record, text: str, point: np.ndarray) -> list[float] | None:
    """Outline of the word; of equal words the one that the point lies on."""
    polygons = record.get("polygons") or []
    own = [p for t, p in zip(record["texts"], polygons, strict=False) if t == text and p]
    on_word = [p for p in own if inside_polygon(p, point[None])[0]]
    return (on_word or own or [None])[0]


def word_drawings(args: argparse.Namespace, records: Sequence[Record]) -> Iterator[np.ndarray]:
    """The drawing of each image, see `draw_read_words`."""
    spotter = Spotter(args.config_file, args.weights, args.opts, threshold=args.threshold)
    results = spotter([record["file_name"] for record in records])
    for record, result in zip(records, results, strict=True):
        yield draw_read_words(record, result)


def draw_read_words(record: Record, result: Spotting) -> np.ndarray:
    """The image with the words read in it, and below it the words that were missed."""
    usable = usable_words(record)
    missing = Counter(
        text.casefold() for text, counts in zip(record["texts"], usable, strict=True) if counts
    )
    right = []
    for word in result.words:
        right.append(missing[word.casefold()] > 0)
        missing[word.casefold()] -= right[-1]
    drawing = draw_spotting(
        result.source.read(),
        result.words,
        result.points,
        result.polylines,
        [HIT if good else MISS for good in right],
    )
    missed = ", ".join(missing.elements())
    return add_caption(drawing, f"missed: {missed}" if missed else "all words read", color=HIT)


def label_drawings(args: argparse.Namespace, records: Sequence[Record]) -> Iterator[np.ndarray]:
    """Each image with its labels."""
    return map(draw_labels, records)


def draw_labels(record: Record) -> np.ndarray:
    """The image with outlines, words and points; words without an outline stand below it."""
    image = read_image(record["file_name"]).copy()
    points = [point for point in record.get("points") or [] if point is not None]
    texts = record["texts"]
    outlines = record.get("polygons") or [None] * len(texts)
    marked = draw_anchors(image, points) if points else image
    tile = anchor_sheet(marked, [], texts, outlines, title=Path(record["file_name"]).name)
    placed = any(outline is not None for outline in outlines)
    return tile if placed else add_caption(tile, ", ".join(texts))


DRAWINGS: dict[str, Callable[[argparse.Namespace, Sequence[Record]], Iterable[np.ndarray]]] = {
    "anchors": anchor_drawings,
    "words": word_drawings,
    "labels": label_drawings,
}


@command("visualize")
def main(argv: Sequence[str] | None = None) -> int:
    """Draw the images of a dataset and an overview; returns the exit status."""
    args = parse_args(argv)
    ensure_registered(args.dataset)
    records = DatasetCatalog.get(args.dataset)[: args.count]
    drawn: list[np.ndarray] = []
    drawings = zip(records, DRAWINGS[args.what](args, records), strict=True)
    for count, (record, drawing) in enumerate(drawings, start=1):
        save_image(args.output / f"{Path(record['file_name']).stem}.png", drawing)
        print(f"{count} of {len(records)}: {record['file_name']}", flush=True)
        if len(drawn) < OVERVIEW:
            drawn.append(drawing)
    if drawn:
        save_image(args.output / "overview.png", contact_sheet(drawn, columns=COLUMNS[args.what]))
    print(f"{len(records)} drawings in {args.output}")
    return DONE
