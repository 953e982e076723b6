"""Measure a spotter on words that are hard in one way each.

    wecromcl stress --model quick --output stress

writes a table, stress.md and stress.json, and for each kind of difficulty a sheet of examples:
green outlines are the ground truth, the rest is the spotter's result. Images depend on --seed
alone.
"""

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from tabulate import tabulate

from ..data.synthetic.stress import STRESS_KINDS, StressCase, render_stress
from ..evaluation.counting import PointWords
from ..evaluation.report import write_json
from ..evaluation.spotting import GTWords, SpottingProtocol, score_spotting
from ..files import replace_file
from ..predictor import Spotter, Spotting, model_names
from ..predictor.drawing import draw_spotting
from ..stage1.matching import inside_polygon
from ..visualizer import contact_sheet, draw_polygons, save_image
from .inputs import load_predictor
from .status import DONE, check_positive, command, command_parser

COLUMNS = 4  # of a sheet


@dataclass(frozen=True)
class StressScore:
    """Scores of a spotter on the images of one kind.

    Attributes:
        kind: name of the kind.
        hard: its difficulty.
        images: number of images.
        words: number of ground-truth words.
        found: words with a predicted point on them.
        read: words read without a mistake, case ignored (SPTS point metric).
        false: predicted points outside of all words.
        precision: of the SPTS point metric.
        recall: of the SPTS point metric.
        f: harmonic mean of the two.
    """

    kind: str
    hard: str
    images: int
    words: int
    found: int
    read: int
    false: int
    precision: float
    recall: float
    f: float


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The parsed command line."""
    parser = command_parser("stress", __doc__)
    parser.add_argument("--model", choices=model_names(), default="quick", help="(%(default)s)")
    parser.add_argument("--config-file", help="config of another model; needs --weights")
    parser.add_argument("--weights", help="checkpoint of another model; needs --config-file")
    parser.add_argument("--output", required=True, type=Path, help="folder of the results")
    parser.add_argument("--count", type=int, default=25, help="images per kind (%(default)s)")
    parser.add_argument("--examples", type=int, default=8, help="of them shown (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the images (%(default)s)")
    parser.add_argument(
        "--size", type=int, nargs=2, default=(256, 256), metavar=("HEIGHT", "WIDTH")
    )
    parser.add_argument("--threshold", type=float, help="least score of a word (the config's)")
    args = parser.parse_args(argv)
    if bool(args.config_file) != bool(args.weights):
        parser.error("--config-file and --weights belong together")
    check_positive(parser, args, "count")
    return args


def score(kind: str, cases: Sequence[StressCase], results: Sequence[Spotting]) -> StressScore:
    """Count the words found and read in the images of one kind."""
    outlines = [[polygon.ravel().tolist() for polygon in case.polygons] for case in cases]
    ground_truth = {
        image: GTWords.from_record({"texts": case.texts, "polygons": own})
        for image, (case, own) in enumerate(zip(cases, outlines, strict=True))
    }
    predictions = {
        image: PointWords.of(result.words, result.points, result.scores)
        for image, result in enumerate(results)
    }
    (counts,) = score_spotting(ground_truth, predictions, SpottingProtocol(), [0.0])
    found = false = 0
    for own, result in zip(outlines, results, strict=True):
        on_word = np.array([inside_polygon(polygon, result.points) for polygon in own])
        on_word = on_word.reshape(len(own), len(result))
        found += int(on_word.any(axis=1).sum())
        false += int((~on_word.any(axis=0)).sum())
    return StressScore(
        kind,
        STRESS_KINDS[kind][0],
        len(cases),
        counts.ground_truth,
        found,
        counts.true_positives,
        false,
        counts.precision,
        counts.recall,
        counts.hmean,
    )


def draw(cases: Sequence[StressCase], results: Sequence[Spotting]) -> np.ndarray:
    """A sheet of images with ground truth and predictions."""
    tiles = []
    for case, result in zip(cases, results, strict=True):
        outlined = draw_polygons(case.image, [p.ravel().tolist() for p in case.polygons])
        tiles.append(draw_spotting(outlined, result.words, result.points, result.polylines))
    return contact_sheet(tiles, min(COLUMNS, len(tiles)))


def table(scores: Sequence[StressScore]) -> str:
    """A Markdown table; a kind without words has no rates."""
    rows = [
        {
            "kind": s.kind,
            "what is hard": s.hard,
            "images": s.images,
            "words": s.words,
            "found": s.found,
            "read": s.read,
            "false": s.false,
            "F": f"{s.f:.3f}" if s.words else "",
        }
        for s in scores
    ]
    return tabulate(rows, headers="keys", tablefmt="github", disable_numparse=True)


def write(args: argparse.Namespace, threshold: float, scores: Sequence[StressScore]) -> None:
    """Write the table as Markdown and JSON."""
    height, width = args.size
    head = (
        f"{args.count} images of {width} x {height} pixels per kind, seed {args.seed}, score "
        f"threshold {threshold:g}. *found*: words with a predicted point on them; *read*: words "
        "whose predicted text is also right, case ignored; *false*: predicted points outside of "
        "all words; *F*: of the SPTS point metric."
    )
    with replace_file(args.output / "stress.md") as file:
        file.write(f"{head}\n\n{table(scores)}\n".encode())
    content = {
        "seed": args.seed,
        "size": list(args.size),
        "threshold": threshold,
        "kinds": [asdict(s) for s in scores],
    }
    write_json(args.output / "stress.json", content)


@command("stress")
def main(argv: Sequence[str] | None = None) -> int:
    """Measure a spotter and draw examples; returns the exit status."""
    args = parse_args(argv)
    spotter = load_predictor(Spotter, args, threshold=args.threshold)
    scores = []
    for kind in STRESS_KINDS:
        cases = [
            render_stress(kind, index, seed=args.seed, size=tuple(args.size))
            for index in range(args.count)
        ]
        results = spotter([case.image for case in cases])
        scores.append(score(kind, cases, results))
        if args.examples > 0:
            few = slice(args.examples)
            save_image(args.output / f"{kind}.jpg", draw(cases[few], results[few]))
        print(f"{kind}: {scores[-1].read} of {scores[-1].words} words read", flush=True)
    write(args, spotter.threshold, scores)
    print(table(scores))
    return DONE
