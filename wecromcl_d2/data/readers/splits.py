"""Finding the files of a split, and reading them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..datasets import LabelError, Record
from .base import Tally
from .convert import ImageFolder, convert
from .registry import Part, Split


@dataclass(frozen=True)
class Located:
    """A part with the paths of its images and ground truth; None for a missing one."""

    part: Part
    images: Path | None
    gt: Path | None

    def missing(self, root: Path) -> list[str]:
        """What is missing, with all names under which it was looked for."""
        pieces = (
            ("images", self.images, self.part.images),
            ("ground truth", self.gt, gt_names(self.part)),
        )
        return [
            f"{kind}: {root / names[0]}" + "".join(f", or {name}" for name in names[1:])
            for kind, path, names in pieces
            if path is None
        ]


def gt_names(part: Part) -> tuple[str, ...]:
    """The possible names of a part's ground truth; folders may be zip archives."""
    archives = tuple(f"{name}.zip" for name in part.ground_truth if not Path(name).suffix)
    return part.ground_truth + archives


def locate(split: Split, root: Path) -> list[Located]:
    """The parts of a split, looked up under all their names."""
    found = []
    for part in split.parts:
        images = next((root / name for name in part.images if (root / name).is_dir()), None)
        ground_truth = (root / name for name in gt_names(part))
        gt = next((path for path in ground_truth if path.exists()), None)
        found.append(Located(part, images, gt))
    return found


def read_split(
    located: list[Located],
    root: Path,
    tally: Tally,
    *,
    words_only: bool = False,
    min_length: int = 1,
    decode: bool = False,
    **options: Any,
) -> Iterator[Record]:
    """The records of a split, with `file_name` relative to `root`.

    Args:
        located: its parts, none of them missing anything.
        root: folder of the benchmark.
        tally: counts are added to it.
        words_only: see `convert`.
        min_length: see `convert`.
        decode: see `convert`.
        options: options of the readers.

    Raises:
        LabelError: for the first fault of the source; if no annotated image exists; or if an
            image folder lies outside `root`.
    """
    for place in located:
        assert place.images is not None and place.gt is not None
        folder = ImageFolder(place.images)
        if not place.images.is_relative_to(root) or ".." in place.images.relative_to(root).parts:
            raise LabelError(f"image folder {place.images} lies outside {root}")
        prefix = place.images.relative_to(root).as_posix()
        ground_truth = place.part.read(place.gt, tally, **place.part.options, **options)
        for record in convert(
            ground_truth,
            folder,
            tally,
            prefix="" if prefix == "." else prefix,
            words_only=words_only,
            min_length=min_length,
            decode=decode,
        ):
            if len(located) > 1:
                # Identities are only unique within a part.
                record.pop("image_id", None)
            yield record
        for name in folder.unused():
            tally.note("images without ground truth", name)
    if not tally.images:
        raise LabelError(
            f"none of the {tally.missing.count} annotated images is in "
            f"{', '.join(str(place.images) for place in located)}"
        )
