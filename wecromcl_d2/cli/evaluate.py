r"""Evaluate predictions from files alone: no model, no config.

    wecromcl evaluate spotting --truth test_gts.zip --results results.json --dataset ctw1500
    wecromcl evaluate spotting --truth test.jsonl --results results.json \
        --lexicon generic_new.txt --pairs generic_new_pair_list.txt --lexicon-kind generic
    wecromcl evaluate anchors --truth gt_points.json --results anchors.json --mode official

Ground truth: a label file of this project (.jsonl, .json); the authors' JSON
{image: {"text", "points"}}; a folder or zip of text files, one per image, with lines
x1,y1,...,xn,yn,####word.

Results: a .json list or .jsonl lines of {"image_id" or "file_name", "texts", "points", "scores"};
what this project's evaluators write with every image's words; the result JSON of SPTS,
[{"image_id", "polys": [[x, y]], "rec", "score"}, ...]; the authors' JSON with "scores".

docs/EVALUATION.md explains protocols, modes, lexicons and thresholds.
"""

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..evaluation.counting import PointWords, Threshold, choose_threshold
from ..evaluation.evaluator import WORST, run_spotting
from ..evaluation.image_names import by_path_end
from ..evaluation.lexicon import DISTANCE_LIMIT, ImageLexicons, Lexicon, distance_limit
from ..evaluation.readers import (
    by_number,
    read_ground_truth,
    read_image_lexicons,
    read_lexicon,
    read_predictions,
)
from ..evaluation.report import Result, format_table, write_results
from ..evaluation.spotting import (
    METRICS,
    SPTS_THRESHOLD,
    SPTS_THRESHOLDS,
    GTWords,
    SpottingProtocol,
    match_words,
)
from ..stage1.evaluator import AnchorImage, run_anchors
from ..stage1.matching import NEAREST_POINT_THRESHOLDS, match_nearest_points
from .status import DONE, command, command_parser

GroundTruth = Mapping[int | str, GTWords]
Predictions = Mapping[int | str, PointWords]


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The parsed command line."""
    parser = command_parser("evaluate", __doc__)
    tasks = parser.add_subparsers(dest="task", required=True)
    spotting = tasks.add_parser("spotting", help="words found and read, by the SPTS point metric")
    anchors = tasks.add_parser("anchors", help="anchors of given words, the first stage")
    for task, thresholds, start in (
        (spotting, SPTS_THRESHOLDS, SPTS_THRESHOLD),
        (anchors, NEAREST_POINT_THRESHOLDS, NEAREST_POINT_THRESHOLDS[0]),
    ):
        _add_common(task, thresholds, start)
    _add_spotting(spotting)
    args = parser.parse_args(argv)
    if (args.validation_truth is None) != (args.validation_results is None):
        parser.error("--validation-truth and --validation-results go together")
    if args.task == "spotting":
        if (args.lexicon is None) != (args.lexicon_kind is None):
            parser.error("--lexicon and --lexicon-kind go together")
        if args.lexicon is None and (args.pairs or args.keep_unmatched):
            parser.error("--pairs and --keep-unmatched need --lexicon")
        if args.lexicon_kind == "generic" and args.keep_unmatched:
            parser.error("a generic lexicon replaces every word; --keep-unmatched has no effect")
    return args


def _add_common(parser: argparse.ArgumentParser, sweep: Sequence[float], start: float) -> None:
    add = parser.add_argument
    add("--truth", required=True, type=Path, help="ground truth: file, folder or zip")
    add("--results", required=True, type=Path, help="predicted words: .json or .jsonl")
    add("--dataset", help="name of the set in the results; the ground truth's file name by default")
    add(
        "--mode",
        choices=("robust", "official"),
        default="robust",
        help="official: as the published script to the last bit, and an error where that fails",
    )
    add(
        "--image-key",
        choices=("id", "number"),
        default="id",
        help="match images by identity, or by the number it ends in (img_12 is 12)",
    )
    add("--threshold", type=float, default=start, help=f"score threshold, by default {start:g}")
    add("--validation-truth", type=Path, help="choose the threshold on this split instead")
    add("--validation-results", type=Path, help="predictions on that split")
    add(
        "--sweep",
        action="store_true",
        help=f"also the best of {len(sweep)} thresholds, {sweep[0]:g} to {sweep[-1]:g}, on this "
        "very set, as published: an optimistic figure",
    )
    add("--output", type=Path, help="folder for JSON and CSV")


def _add_spotting(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--metric",
        choices=METRICS,
        default="point",
        help="how a prediction finds its ground-truth word, by default by the point",
    )
    add(
        "--word-spotting",
        action="store_true",
        help="shorten ground-truth words and ignore those that are no dictionary words, as "
        "published for Total-Text",
    )
    add("--filter-predictions", action="store_true", help="shorten predictions in the same way")
    add("--unicode-fold", action="store_true", help="compare by NFC and case folding")
    add("--lexicon", type=Path, help="word list; for strong the folder or zip of the lists")
    add(
        "--lexicon-kind",
        choices=("full", "weak", "strong", "generic"),
        help=f"generic replaces every word, the others drop words at {DISTANCE_LIMIT:g} or farther",
    )
    add("--pairs", help="pair list; for strong the name of its files, such as pair_voc_img_{n}")
    add("--lists", default="voc_img_{n}", help="for strong: name of the lists, without .txt")
    add("--keep-unmatched", action="store_true", help="keep words far from the lexicon as read")
    add("--details", action="store_true", help="write every image's words into the JSON")
    add("--worst", type=int, default=WORST, help="worst images to list, by default %(default)s")


@command("evaluate")
def main(argv: Sequence[str] | None = None) -> int:
    """Evaluate and print the table."""
    args = parse_args(argv)
    start = time.perf_counter()
    ground_truth, predictions = _read(args.truth, args.results, args)
    evaluate = _evaluate_spotting if args.task == "spotting" else _evaluate_anchors
    results, extra = evaluate(ground_truth, predictions, args)
    print(format_table(results))
    print(f"read and counted in {time.perf_counter() - start:.2f} s")
    if args.output is not None:
        for path in write_results(args.output, args.task, results, extra):
            print(f"wrote {path}")
    return DONE


def _read(gt: Path, results: Path, args: argparse.Namespace) -> tuple[GroundTruth, Predictions]:
    ground_truth, predictions = read_ground_truth(gt, args.mode), read_predictions(results)
    if args.image_key == "number":
        ground_truth, predictions = by_number(ground_truth), by_number(predictions)
    else:
        predictions = by_path_end(predictions, ground_truth.keys())
    outside = len(predictions.keys() - ground_truth.keys())
    if predictions and outside == len(predictions):
        raise ValueError(
            f"no image of {results} is in {gt}: the first are {next(iter(predictions))!r} and "
            f"{next(iter(ground_truth), None)!r}; --image-key number matches both by their number"
        )
    unseen = len(ground_truth.keys() - predictions.keys())
    if unseen:
        print(f"{unseen} of {len(ground_truth)} images have no prediction", file=sys.stderr)
    if outside:
        first = next(image for image in predictions if image not in ground_truth)
        print(
            f"{outside} of {len(predictions)} predicted images are not in {gt}, such as {first!r}; "
            "their words count as wrong",
            file=sys.stderr,
        )
    return ground_truth, predictions


def _evaluate_spotting(
    ground_truth: GroundTruth, predictions: Predictions, args: argparse.Namespace
) -> tuple[Sequence[Result], dict[str, Any]]:
    protocol = SpottingProtocol(
        metric=args.metric,
        mode=args.mode,
        dictionary_filter=args.word_spotting,
        filter_predictions=args.filter_predictions,
        unicode_fold=args.unicode_fold,
        lexicon=_lexicon(args),
    )
    threshold = Threshold(args.threshold)
    if args.validation_truth is not None:
        split = _read(args.validation_truth, args.validation_results, args)
        matches, _ = match_words(*split, protocol, min(SPTS_THRESHOLDS))
        threshold = choose_threshold(matches.values(), SPTS_THRESHOLDS, args.validation_truth.name)
    name = args.dataset or args.truth.name
    run = run_spotting(name, ground_truth, predictions, protocol, threshold)
    chosen, best = run.results()
    return [chosen, *([best] if args.sweep else [])], run.content(args.worst, args.details)


def _evaluate_anchors(
    ground_truth: GroundTruth, predictions: Predictions, args: argparse.Namespace
) -> tuple[Sequence[Result], dict[str, Any]]:
    threshold = Threshold(args.threshold)
    if args.validation_truth is not None:
        split = _anchor_images(*_read(args.validation_truth, args.validation_results, args))
        matches = match_nearest_points(
            {image.image_id: image.pointed() for image in split},
            {image.image_id: image.predictions for image in split},
            min(NEAREST_POINT_THRESHOLDS),
            args.mode,
        )
        name = args.validation_truth.name
        threshold = choose_threshold(matches.values(), NEAREST_POINT_THRESHOLDS, name)
    images = _anchor_images(ground_truth, predictions)
    run = run_anchors(args.dataset or args.truth.name, images, args.mode, threshold)
    for name, value in run.accuracy.items():
        print(f"{name}: {value:.4f}")
    return run.results[: 2 if args.sweep else 1], run.content()


def _anchor_images(ground_truth: GroundTruth, predictions: Predictions) -> list[AnchorImage]:
    no_words = GTWords([], np.zeros((0, 2)), np.zeros(0, dtype=bool))
    nothing = PointWords.of([], [])
    return [
        AnchorImage.of(image, ground_truth.get(image, no_words), predictions.get(image, nothing))
        for image in dict.fromkeys([*ground_truth, *predictions])
    ]


def _lexicon(args: argparse.Namespace) -> Lexicon | ImageLexicons | None:
    if args.lexicon is None:
        return None
    options: dict[str, Any] = {
        "mode": args.mode,
        "limit": distance_limit(args.lexicon_kind),
        "keep_unmatched": args.keep_unmatched,
    }
    if args.lexicon_kind == "strong":
        return read_image_lexicons(args.lexicon, args.lists, args.pairs, **options)
    return read_lexicon(args.lexicon, args.pairs and Path(args.pairs), **options)
