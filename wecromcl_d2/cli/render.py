"""Render synthetic scene-text pictures, or a contact sheet of them with their truth drawn on it."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import cv2

from ..data.synthetic import (
    DIFFICULTIES,
    FAMILIES,
    SPLITS,
    SceneRecipe,
    build_cache,
    contact_sheet,
    parse_difficulty,
    render,
)
from .status import DONE, command

_EXAMPLES = f"""\
difficulties: {", ".join(f"{name} = {value:g}" for name, value in DIFFICULTIES.items())}

examples:
  look at 24 medium scenes:
    wecromcl render --contact-sheet scenes.png
  render 5000 training scenes into a folder, then use its labels.jsonl as a data set:
    wecromcl render --output datasets/synthetic/train --count 5000
  single words for the start of a curriculum:
    wecromcl render --family words --size 48 128 --contact-sheet words.png
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="wecromcl render",
        description=__doc__,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    target = parser.add_argument_group("what to write (at least one)")
    target.add_argument("--output", metavar="FOLDER", help="render all pictures and labels here")
    target.add_argument("--contact-sheet", metavar="PNG", help="draw pictures and truth here")
    recipe = parser.add_argument_group("recipe")
    recipe.add_argument("--family", choices=FAMILIES, default="scenes")
    recipe.add_argument("--difficulty", default="medium", help="a name or a number from 0 to 1")
    recipe.add_argument("--split", choices=SPLITS, default="train", help="no word is in two splits")
    recipe.add_argument("--seed", type=int, default=0)
    recipe.add_argument(
        "--size", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"), default=(160, 160)
    )
    recipe.add_argument(
        "--max-size", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"), help="sizes vary up to"
    )
    recipe.add_argument("--num-words", type=int, nargs=2, metavar=("FEWEST", "MOST"))
    recipe.add_argument(
        "--font-heights", type=int, nargs=2, metavar=("SMALLEST", "LARGEST"), help="in pixels"
    )
    recipe.add_argument(
        "--word-lengths", type=int, nargs=2, metavar=("SHORTEST", "LONGEST"), default=(3, 8)
    )
    recipe.add_argument("--vocabulary-size", type=int, help="distinct words (default: no limit)")
    parser.add_argument("--count", type=int, default=24, help="pictures (default: 24)")
    parser.add_argument("--workers", type=int, help="processes (default: one per CPU)")
    parser.add_argument("--columns", type=int, default=6, help="of the contact sheet")
    parser.add_argument("--zoom", type=int, default=2, help="of the contact sheet")
    parser.add_argument("--no-truth", action="store_true", help="contact sheet without polygons")
    return parser


def _recipe(args: argparse.Namespace) -> SceneRecipe:
    return SceneRecipe(
        family=args.family,
        size=args.size,
        max_size=args.max_size,
        difficulty=parse_difficulty(args.difficulty),
        num_words=args.num_words,
        font_heights=args.font_heights,
        word_lengths=args.word_lengths,
        split=args.split,
        seed=args.seed,
        vocabulary_size=args.vocabulary_size,
    )


def _write_sheet(recipe: SceneRecipe, args: argparse.Namespace) -> None:
    scenes = [render(recipe, index) for index in range(args.count)]
    sheet = contact_sheet(scenes, columns=args.columns, zoom=args.zoom, truth=not args.no_truth)
    _, data = cv2.imencode(".png", sheet[:, :, ::-1])
    Path(args.contact_sheet).write_bytes(data.tobytes())
    print(args.contact_sheet)


@command("render")
def main(argv: Sequence[str] | None = None) -> int:
    """Render what the command line asks for."""
    parser = _parser()
    args = parser.parse_args(argv)
    if args.output is None and args.contact_sheet is None:
        parser.error("nothing to write: give --output FOLDER, --contact-sheet PNG, or both")
    recipe = _recipe(args)
    if args.output is not None:
        print(build_cache(recipe, args.count, args.output, workers=args.workers))
    if args.contact_sheet is not None:
        _write_sheet(recipe, args)
    return DONE
