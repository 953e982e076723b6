"""Background images from folders, decoded when needed and kept while they are near."""

from __future__ import annotations

import logging
from collections import OrderedDict
from typing import ClassVar

import cv2
import numpy as np
from PIL import Image

from .recipe import list_files

_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
_LONGEST_SIDE = 1200
_CACHE_BYTES = 28 * 2**20
_NEAR = 8  # images that neighbouring indices share, so that few are decoded
_LARGEST_SCALE = 0.35  # image pixels per pixel of the finest crops

logger = logging.getLogger(__name__)


class PhotoPool:
    """The images of some folders.

    Args:
        folders: searched with all folders below.
        size: (height, width) of the scenes; smaller images are enlarged, which is logged.

    Raises:
        NotADirectoryError: for a folder that does not exist.
        ValueError: if the folders hold no image that can be opened.
    """

    # Of all pools of a process, so that several recipes need no more memory than one.
    _decoded: ClassVar[OrderedDict[str, np.ndarray | None]] = OrderedDict()

    def __init__(self, folders: tuple[str, ...], size: tuple[int, int]) -> None:
        self._files: list[str] = []
        small = []
        for path in (path for folder in folders for path in list_files(folder, _SUFFIXES)):
            try:
                with Image.open(path) as file:
                    width, height = file.size
            except (OSError, ValueError, Image.DecompressionBombError) as error:
                logger.warning("%s is no image that can be opened (%s): left out", path, error)
                continue
            self._files.append(str(path))
            if height < size[0] or width < size[1]:
                small.append(path)
        if not self._files:
            raise ValueError(
                f"no usable image in {', '.join(folders)}: name a folder of "
                f"{', '.join(_SUFFIXES)} files, or none"
            )
        if small:
            logger.info(
                "%d of %d background images are smaller than the scenes of %d x %d pixels, such as "
                "%s: enlarged",
                len(small), len(self._files), size[1], size[0], small[0],
            )  # fmt: skip

    def __len__(self) -> int:
        return len(self._files)

    def crop(
        self, rng: np.random.Generator, near: tuple[int, ...], size: tuple[int, int]
    ) -> np.ndarray | None:
        """A piece of a random image, perhaps mirrored and enlarged.

        Args:
            rng: decides which image and which piece.
            near: key of the images that are at hand; equal for neighbouring indices.
            size: (height, width) of the piece.

        Returns:
            (height, width, 3) uint8 RGB, or None if the image is damaged.
        """
        at_hand = np.random.default_rng(near).integers(len(self._files), size=_NEAR)
        image = self._load(self._files[int(at_hand[int(rng.integers(_NEAR))])])
        # Drawn in any case, so that what follows does not depend on whether a file is damaged.
        share, place, flip = rng.uniform(0.0, 1.0), rng.random(2), rng.random() < 0.5
        if image is None:
            return None
        largest = min(image.shape[0] / size[0], image.shape[1] / size[1])
        smallest = min(_LARGEST_SCALE, largest)
        scale = smallest * (largest / smallest) ** share
        span = np.maximum((np.array(size) * scale).astype(int), 1)
        top, left = (place * (np.array(image.shape[:2]) - span + 1)).astype(int).tolist()
        piece = image[top : top + int(span[0]), left : left + int(span[1])]
        piece = piece[:, ::-1] if flip else piece
        how = cv2.INTER_AREA if scale > 1 else cv2.INTER_LINEAR
        return cv2.resize(np.ascontiguousarray(piece), size[::-1], interpolation=how)

    def _load(self, path: str) -> np.ndarray | None:
        if path in self._decoded:
            self._decoded.move_to_end(path)
            return self._decoded[path]
        image = _decode(path)
        self._decoded[path] = image
        while sum(i.nbytes for i in self._decoded.values() if i is not None) > _CACHE_BYTES:
            self._decoded.popitem(last=False)
        return image


def _decode(path: str) -> np.ndarray | None:
    """An image of at most `_LONGEST_SIDE` pixels a side, or None if it is damaged."""
    try:
        with Image.open(path) as file:
            file.draft("RGB", (_LONGEST_SIDE, _LONGEST_SIDE))
            whole = file if file.mode == "RGB" else file.convert("RGB")
            # A copy of a large image would cost more memory than all the rest.
            image = np.asarray(whole.reduce(max(1, max(whole.size) // _LONGEST_SIDE)))
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        # Seen by whichever process meets it, so it counts as an error there.
        logger.error("%s is a damaged image (%s): left out", path, error)
        return None
    factor = _LONGEST_SIDE / max(image.shape[:2])
    if factor >= 1:
        return image
    return cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
