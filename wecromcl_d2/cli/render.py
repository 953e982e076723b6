"""Render scenes with words, or a preview of them with the outlines of the words drawn in.

Plain scenes need nothing: a few fonts, painted backgrounds, invented words. Street scenes
(--street) are for models that shall read photographs: they take fonts and background images from
folders and words from a list, and imitate boards in perspective, light and camera.
"""

import argparse
import logging
import sys
from collections.abc import Sequence

import cv2
import numpy as np

from ..data.synthetic import (
    DIFFICULTIES,
    SPLITS,
    STREET_FAMILIES,
    Recipe,
    Scene,
    SceneRecipe,
    StreetRecipe,
    build_cache,
    prepare,
    render,
)
from ..visualizer import add_caption, contact_sheet, draw_polygons, save_image
from .status import DONE, LOSSES, check_positive, command, command_parser

_EXAMPLES = f"""\
difficulties: {", ".join(f"{name} = {value:g}" for name, value in DIFFICULTIES.items())}

examples:
  look at 24 medium plain scenes:
    wecromcl render --preview scenes.png
  render 5000 training scenes into a folder, then use its labels.jsonl as a data set:
    wecromcl render --output datasets/synthetic/train --count 5000
  look at street scenes of your own fonts, photographs and words:
    wecromcl render --street --fonts fonts --backgrounds photos --words words.txt --preview s.png
"""

# Options of one kind of scenes alone, and what they are called in its recipe.
_PLAIN = ("difficulty", "max_size", "vocabulary_size")
_STREET = ("fonts", "backgrounds", "words")
_SHEET_WIDTH = 1800  # pixels of a preview whose columns are not given


def _parser() -> argparse.ArgumentParser:
    parser = command_parser("render", __doc__, epilog=_EXAMPLES)
    target = parser.add_argument_group("what to write (at least one)")
    target.add_argument("--output", metavar="FOLDER", help="render all scenes and labels here")
    target.add_argument("--preview", metavar="PNG", help="draw scenes and outlines here")
    recipe = parser.add_argument_group("recipe")
    recipe.add_argument(
        "--family",
        choices=STREET_FAMILIES,
        default="scenes",
        help="(%(default)s); groups, of a few words, are street scenes",
    )
    recipe.add_argument("--split", choices=SPLITS, default="train", help="no word is in two splits")
    recipe.add_argument("--seed", type=int, default=0)
    _add_range(recipe, "--size", ("HEIGHT", "WIDTH"), "in pixels")
    _add_range(recipe, "--num-words", ("FEWEST", "MOST"), "of a scene")
    heights = "in pixels: font sizes of plain scenes, heights of street scenes' lines"
    _add_range(recipe, "--font-heights", ("SMALLEST", "LARGEST"), heights)
    _add_range(recipe, "--word-lengths", ("SHORTEST", "LONGEST"), "in characters")
    plain = parser.add_argument_group("plain scenes")
    plain.add_argument("--difficulty", help="a name or a number from 0 to 1 (medium)")
    _add_range(plain, "--max-size", ("HEIGHT", "WIDTH"), "sizes vary up to")
    plain.add_argument("--vocabulary-size", type=int, help="distinct words (default: no limit)")
    street = parser.add_argument_group("street scenes")
    street.add_argument("--street", action="store_true", help="render street scenes")
    street.add_argument("--fonts", nargs="+", metavar="FOLDER", help="of font files")
    street.add_argument("--backgrounds", nargs="+", metavar="FOLDER", help="of textless images")
    street.add_argument("--words", metavar="FILE", help="one a line, perhaps tab and frequency")
    parser.add_argument("--count", type=int, default=24, help="scenes (%(default)s)")
    parser.add_argument("--workers", type=int, help="processes (default: one per CPU)")
    preview = parser.add_argument_group("preview")
    preview.add_argument("--columns", type=int, help="(default: by the scenes' size)")
    preview.add_argument("--zoom", type=int, default=1, help="(%(default)s)")
    preview.add_argument("--no-truth", action="store_true", help="no outlines and words")
    return parser


def _add_range(
    group: argparse._ArgumentGroup, name: str, metavar: tuple[str, str], purpose: str
) -> None:
    group.add_argument(name, type=int, nargs=2, metavar=metavar, help=purpose)


def _recipe(parser: argparse.ArgumentParser, args: argparse.Namespace) -> Recipe:
    """The recipe of the given options; those not given have the recipe's own defaults."""
    common = ("family", "split", "seed", "size", "num_words", "word_lengths")
    own, foreign = (_STREET, _PLAIN) if args.street else (_PLAIN, _STREET)
    for name in foreign:
        if getattr(args, name) is not None:
            option = f"--{name.replace('_', '-')}"
            parser.error(f"{option} is for {'plain' if args.street else 'street'} scenes only")
    given = {name: getattr(args, name) for name in (*common, *own)}
    given["heights" if args.street else "font_heights"] = args.font_heights
    options = {name: value for name, value in given.items() if value is not None}
    return StreetRecipe(**options) if args.street else SceneRecipe(**options)


def _tile(scene: Scene, zoom: int, truth: bool) -> np.ndarray:
    # The stored file is what training sees, so show the scene after its JPEG round trip.
    options = [cv2.IMWRITE_JPEG_QUALITY, scene.jpeg_quality]
    encoded, data = cv2.imencode(".jpg", scene.image[:, :, ::-1], options)
    assert encoded
    stored = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))[:, :, ::-1]
    image = cv2.resize(stored, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_NEAREST)
    if not truth:
        return image
    outlines = [(polygon * zoom).ravel().tolist() for polygon in scene.polygons]
    return add_caption(draw_polygons(image, outlines), " ".join(scene.texts), size=11)


def _write_preview(recipe: Recipe, args: argparse.Namespace) -> None:
    scenes = (render(recipe, index) for index in range(args.count))
    tiles = [_tile(scene, args.zoom, not args.no_truth) for scene in scenes]
    columns = args.columns or max(1, _SHEET_WIDTH // max(tile.shape[1] for tile in tiles))
    save_image(args.preview, contact_sheet(tiles, min(columns, len(tiles)), gap=4))
    print(args.preview)


class _Losses(logging.Handler):
    """Prints what the renderer says of its input, and remembers whether something was left out."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.any = False

    def emit(self, record: logging.LogRecord) -> None:
        self.any |= record.levelno >= logging.WARNING
        print(f"wecromcl render: {record.getMessage()}", file=sys.stderr)


@command("render")
def main(argv: Sequence[str] | None = None) -> int:
    """Render what the command line asks for."""
    parser = _parser()
    args = parser.parse_args(argv)
    if args.output is None and args.preview is None:
        parser.error("nothing to write: give --output FOLDER, --preview PNG, or both")
    check_positive(parser, args, "count", "zoom")
    recipe = _recipe(parser, args)
    losses, logger = _Losses(), logging.getLogger("wecromcl_d2.data.synthetic")
    logger.addHandler(losses)
    logger.setLevel(logging.INFO)
    try:
        prepare(recipe)
        if args.output is not None:
            print(build_cache(recipe, args.count, args.output, workers=args.workers))
        if args.preview is not None:
            _write_preview(recipe, args)
    finally:
        logger.removeHandler(losses)
    return LOSSES if losses.any else DONE
