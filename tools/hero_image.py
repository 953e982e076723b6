"""Draw README.md's first image: a rendered scene, and the map of each of its words.

    python tools/hero_image.py --model quick-anchors --max-side 160 --output docs/images/hero.jpg

The scene is none of a training, and chosen for its large words: it shows what a map is, and
docs/RESULTS.md shows how often an anchor lies on its word. A scene with a miss is refused.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np

from wecromcl_d2.data.synthetic import Scene, StreetRecipe, render
from wecromcl_d2.predictor import AnchorFinder, Anchors
from wecromcl_d2.visualizer import (
    add_caption,
    at_highest_peak,
    contact_sheet,
    draw_anchors,
    overlay_map,
    save_image,
)

WORDS = """antiques bakery bookshop bridge castle chapel cinema coffee college ferry flowers garden
gallery harbour hotel kitchen library market museum parking pharmacy school station theatre tobacco
travel village"""
WIDTH = 1200  # of the drawing, in pixels
CAPTION = 40  # pixels of the letters, before the drawing is reduced


def parse_args() -> argparse.Namespace:
    """The parsed command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="street-anchors", help="name (%(default)s)")
    parser.add_argument("--files", nargs=2, metavar=("CONFIG", "WEIGHTS"), help="of another model")
    parser.add_argument("--max-side", type=int, help="longest side that the model sees, in pixels")
    parser.add_argument("--seed", type=int, default=3, help="of the scenes (%(default)s)")
    parser.add_argument("--scene", type=int, default=22, help="its number (%(default)s)")
    parser.add_argument("--output", type=Path, required=True, help=".jpg or .png")
    return parser.parse_args()


def rendered(seed: int, index: int) -> Scene:
    """A street scene with some large words of `WORDS`."""
    with tempfile.TemporaryDirectory() as folder:
        words = Path(folder) / "words.txt"
        words.write_text("\n".join(WORDS.split()), encoding="utf-8")
        recipe = StreetRecipe(
            size=(640, 640), num_words=(5, 7), heights=(60, 105), words=str(words), seed=seed
        )
        return render(recipe, index)


def missed(scene: Scene, found: Anchors) -> list[str]:
    """Words whose anchor is not on them, or not at the highest place of their map."""
    result = []
    for word, point, cells, polygon in zip(
        found.words, found.points, found.maps, scene.polygons, strict=True
    ):
        outline = np.asarray(polygon, np.float32).reshape(-1, 1, 2)
        inside = cv2.pointPolygonTest(outline, (float(point[0]), float(point[1])), False) >= 0
        if not (inside and at_highest_peak(cells, point, scene.image.shape, found.cell_size)):
            result.append(word)
    return result


def drawing(image: np.ndarray, found: Anchors) -> np.ndarray:
    """Left the image with its words below it, right the words' maps, two in a row."""
    tiles = []
    for word, cells, point in zip(found.words, found.maps, found.points, strict=True):
        tile = draw_anchors(overlay_map(image, cells, found.cell_size), [point.tolist()])
        tiles.append(add_caption(tile, word, size=CAPTION))
    maps = contact_sheet(tiles, 2)
    # The caption is 12 pixels higher than its letters.
    side = maps.shape[0] - CAPTION - 12
    large = cv2.resize(image, (side, side), interpolation=cv2.INTER_CUBIC)
    left = add_caption(large, "  ".join(found.words), size=CAPTION)
    both = np.concatenate([left, maps], axis=1)
    height = round(both.shape[0] * WIDTH / both.shape[1])
    return cv2.resize(both, (WIDTH, height), interpolation=cv2.INTER_AREA)


def main() -> int:
    """Render, find and draw; returns the exit status."""
    args = parse_args()
    options = {"device": "cpu", "max_side": args.max_side}
    if args.files:
        finder = AnchorFinder(*args.files, **options)
    else:
        finder = AnchorFinder.from_name(args.model, **options)
    scene = rendered(args.seed, args.scene)
    found = finder(scene.image, scene.texts)
    wrong = missed(scene, found)
    if wrong:
        print(f"missed in this scene: {', '.join(wrong)}; choose another --scene", file=sys.stderr)
        return 2
    save_image(args.output, drawing(scene.image, found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
