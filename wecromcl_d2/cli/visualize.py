r"""Draw what a model finds in a dataset beside its labels, or the labels of a file by themselves.

    wecromcl visualize anchors --config-file configs/quick/anchors.yaml \
        --weights demo_output/anchors/model_best.pth --dataset synth_scenes_test --output drawn
    wecromcl visualize words --config-file configs/quick/srsts_a.yaml \
        --weights demo_output/spotting/model_best.pth --dataset synth_scenes_test --output drawn
    wecromcl visualize labels --dataset my/train.jsonl --output drawn
    wecromcl visualize results --results scores/spotting.json --worst --output drawn

"anchors" shows for each image its words with their activation maps and anchors, "words" what a
spotter reads: right words are green, wrong ones red, missed ones below the image. "labels" shows
outlines, points and texts of a label file, anchors made by `wecromcl anchors` included. "results"
shows what became of the words of an evaluation, right ones green, wrong and missed ones red, from a
`spotting.json` that a training or `wecromcl evaluate spotting --details` wrote. For images without
labels use `wecromcl read` and `wecromcl find`.
"""

import argparse
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.data import DatasetCatalog
from detectron2.structures import Instances
from detectron2.utils.logger import setup_logger

from ..data.datasets import Record, ensure_registered, usable_words
from ..data.images import read_image
from ..data.label_format import per_text, texts_that_count
from ..engine.loading import load_model
from ..engine.precision import prepare_cpu
from ..evaluation.readers import read_details
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
    draw_polygons,
    draw_words,
    save_image,
)
from .inputs import unique_name
from .status import DONE, add_dataset_option, check_positive, command, command_parser

# The file name of each image and the drawing of it.
Drawings = Iterable[tuple[str, np.ndarray]]

# The overview's file, the number of images in it, and its columns.
OVERVIEW_NAME = "overview.png"
OVERVIEW = 6
COLUMNS = {"anchors": 2, "words": 3, "labels": 3, "results": 3}


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The parsed command line."""
    parser = command_parser("visualize", __doc__)
    kinds = parser.add_subparsers(dest="what", required=True, metavar="|".join(COLUMNS))
    for name, purpose in (
        ("anchors", "words, their activation maps and anchors"),
        ("words", "what a spotter reads, right and wrong"),
        ("labels", "outlines, points and texts of a label file"),
        ("results", "right, wrong and missed words of an evaluation, the worst images"),
    ):
        kind = kinds.add_parser(name, help=purpose)
        add = kind.add_argument
        add("--output", required=True, type=Path, help="folder of the drawings")
        add("--count", type=int, default=12, help="images drawn, from the first (%(default)s)")
        if name == "results":
            _add_results(kind)
            continue
        add_dataset_option(kind)
        if name == "labels":
            continue
        add("--config-file", required=True, help="config of the model")
        add("--weights", required=True, help="its checkpoint")
        if name == "words":
            add("--threshold", type=float, help="least score of a word (default: of the config)")
        add("opts", nargs="*", metavar="KEY VALUE", help="changes of the config")
    args = parser.parse_args(argv)
    check_positive(parser, args, "count")
    return args


def _add_results(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--results", required=True, type=Path, help="spotting.json with every image's words")
    add("--protocol", help="one of the file's protocols; by default its first")
    add("--worst", action="store_true", help="only images with errors, those with the most first")
    add("--image-root", type=Path, help="folder of the images, if they are not where the file says")


def labelled_images(args: argparse.Namespace) -> list[Record]:
    """The records that are drawn."""
    ensure_registered(args.dataset)
    return DatasetCatalog.get(args.dataset)[: args.count]


def anchor_drawings(args: argparse.Namespace) -> Drawings:
    """A sheet for each record; logs the metrics of all of them at the end."""
    cfg = load_config(args.config_file, args.opts)
    setup_logger(name="wecromcl_d2")
    prepare_cpu()
    model = load_model(cfg, args.weights)
    mapper, evaluator = AnchorMapper(cfg, False), AnchorEvaluator(args.dataset)
    for record in labelled_images(args):
        output = model([mapper(record)])[0]
        evaluator.process([record], [output])
        yield record["file_name"], draw_found_anchors(record, output["instances"].to("cpu"))
    evaluator.evaluate()


def draw_found_anchors(record: Record, instances: Instances) -> np.ndarray:
    """Sheet of one record: ground truth, then a tile for each readable word that is not ignored."""
    image = read_image(record["file_name"])
    height, width = image.shape[:2]
    polygons = per_text(record, "polygons")
    rows, columns = instances.pred_maps.shape[1:] if len(instances) else (1, 1)
    counted = set(texts_that_count(record))
    words = [
        WordView(
            text=instances.pred_texts[i],
            activation=instances.pred_maps[i].numpy(),
            point=instances.pred_points[i].tolist(),
            score=float(instances.scores[i]),
            polygon=_own_polygon(record, instances.pred_texts[i], instances.pred_points[i].numpy()),
        )
        for i in range(len(instances))
        if instances.pred_texts[i] in counted
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
    """Outline of the word; of equal words that are not ignored the one that the point lies on."""
    words = zip(record["texts"], per_text(record, "polygons"), usable_words(record), strict=True)
    own = [outline for known, outline, counts in words if counts and known == text and outline]
    on_word = [p for p in own if inside_polygon(p, point[None])[0]]
    return (on_word or own or [None])[0]


def word_drawings(args: argparse.Namespace) -> Drawings:
    """The drawing of each image, see `draw_read_words`."""
    records = labelled_images(args)
    spotter = Spotter(args.config_file, args.weights, args.opts, threshold=args.threshold)
    results = spotter([record["file_name"] for record in records])
    for record, result in zip(records, results, strict=True):
        yield record["file_name"], draw_read_words(record, result)


def draw_read_words(record: Record, result: Spotting) -> np.ndarray:
    """The image with the words read in it, and below it the words that were missed."""
    missing = Counter(text.casefold() for text in texts_that_count(record))
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
    if missed := ", ".join(missing.elements()):
        return add_caption(drawing, f"missed: {missed}", color=MISS)
    return add_caption(drawing, "all words read" if missing else "no words to read", color=HIT)


def label_drawings(args: argparse.Namespace) -> Drawings:
    """Each image with its labels."""
    return ((record["file_name"], draw_labels(record)) for record in labelled_images(args))


def draw_labels(record: Record) -> np.ndarray:
    """The image with outlines, words and points; words without an outline stand below it."""
    image = read_image(record["file_name"]).copy()
    points = [point for point in record.get("points") or [] if point is not None]
    texts = record["texts"]
    outlines = per_text(record, "polygons")
    marked = draw_anchors(image, points) if points else image
    tile = anchor_sheet(marked, [], texts, outlines, title=Path(record["file_name"]).name)
    placed = any(outline is not None for outline in outlines)
    return tile if placed else add_caption(tile, ", ".join(texts))


def result_drawings(args: argparse.Namespace) -> Drawings:
    """Each image of a results file, by the file's order or by the number of errors."""
    entries = read_details(args.results, args.protocol)
    if args.worst:
        wrong = [entry for entry in entries if entry["wrong"] + entry["missed"]]
        entries = sorted(wrong, key=lambda entry: -entry["wrong"] - entry["missed"])
    for rank, entry in enumerate(entries[: args.count], start=1):
        path = image_file(args.image_root, entry)
        print(f"{path}: {entry['wrong']} wrong, {entry['missed']} missed")
        name = f"worst_{rank:03d}_{path.name}" if args.worst else path.name
        yield name, draw_result(read_image(path), entry)


def image_file(root: Path | None, entry: Mapping[str, Any]) -> Path:
    """Find an image by its file name, else by its identity with any suffix, under the root."""
    if entry["file_name"]:
        path = Path(entry["file_name"])
        return path if root is None else root / path.name
    if root is None:
        raise ValueError("the results do not name the files of the images; give --image-root")
    identity = str(entry["image_id"])
    stems = {identity, identity.zfill(7)}
    found = sorted(path for path in root.iterdir() if path.stem in stems)
    if not found:
        raise FileNotFoundError(f"{root}: no image is called {' or '.join(sorted(stems))}")
    return found[0]


def draw_result(image: np.ndarray, entry: Mapping[str, Any]) -> np.ndarray:
    """Outlines and points, green where right, red where wrong or missed."""
    words = entry["words"]
    missed = [word for word in words if not (word["found"] or word["ignore"])]
    outlines = [word["polygon"] for word in missed]
    image = draw_polygons(image, [word["polygon"] for word in words if word["found"]], HIT)
    image = draw_polygons(image, outlines, MISS)
    for state, color in (("right", HIT), ("wrong", MISS)):
        rows = [row for row, name in enumerate(entry["states"]) if name == state]
        points = [entry["points"][row] for row in rows]
        image = draw_anchors(image, points, color)
        # A point has no outline to write above: the point itself stands for it.
        texts = [entry["read_as"][row] for row in rows]
        image = draw_words(image, texts, [3 * point for point in points], color)
    return draw_words(image, [word["text"] for word in missed], outlines, MISS)


DRAWINGS: dict[str, Callable[[argparse.Namespace], Drawings]] = {
    "anchors": anchor_drawings,
    "words": word_drawings,
    "labels": label_drawings,
    "results": result_drawings,
}


@command("visualize")
def main(argv: Sequence[str] | None = None) -> int:
    """Draw images and an overview of the first ones; returns the exit status."""
    args = parse_args(argv)
    drawn: list[np.ndarray] = []
    count, taken = 0, {Path(OVERVIEW_NAME).with_suffix("")}
    for count, (name, drawing) in enumerate(DRAWINGS[args.what](args), start=1):
        path = args.output / unique_name(Path(Path(name).name), taken).with_suffix(".png")
        save_image(path, drawing)
        print(f"{count}: {path}", flush=True)
        if count <= OVERVIEW:
            drawn.append(drawing)
    if drawn:
        save_image(args.output / OVERVIEW_NAME, contact_sheet(drawn, columns=COLUMNS[args.what]))
    print(f"{count} drawings in {args.output}")
    return DONE
