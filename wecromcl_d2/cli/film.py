"""Films as inputs: their frames, decoded by OpenCV."""

from pathlib import Path

import cv2
import numpy as np

from ..data.images import ImageError

# Suffixes of files that are opened as films.
FILM_SUFFIXES = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv")


class Film:
    """Frames of a film; those asked for in rising order are decoded without going back.

    Args:
        path: of the file.

    Attributes:
        count: number of frames, as the file states it.

    Raises:
        ImageError: if OpenCV cannot read the file.
    """

    def __init__(self, path: Path):
        self.path, self._next = path, 0
        self._capture = cv2.VideoCapture(str(path))
        self.count = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        if not self._capture.isOpened() or self.count < 1:
            raise ImageError(
                f"cannot use film {path}: OpenCV finds no frame in it; convert it to MP4, or save "
                "its frames as images"
            )

    def read(self, number: int) -> np.ndarray:
        """RGB pixels (H, W, 3) of a frame, counted from 0.

        Raises:
            ImageError: if the file ends before it, or is damaged there.
        """
        if number < self._next:
            self._capture, self._next = cv2.VideoCapture(str(self.path)), 0
        there = True
        while there and self._next <= number:
            there = self._capture.grab()
            self._next += 1
        image = self._capture.retrieve()[1] if there else None
        if image is None:
            raise ImageError(f"cannot use film {self.path}: frame {number} cannot be decoded")
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
