"""Results of the predictors: lists and arrays, with conversion to a dict, to JSON and to a drawing.

Points are (x, y) in pixels of the original image, continuous in [0, width] x [0, height].
"""

from __future__ import annotations

import importlib
import io
import json
import os
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, NamedTuple

import numpy as np
from PIL import Image

from ..visualizer import WordView, anchor_sheet, save_image
from .drawing import draw_spotting, word_box
from .images import ImageSource

# Decimal digits in dicts.
_POINT_DIGITS, _SCORE_DIGITS = 2, 4


class SpottedWord(NamedTuple):
    """One word of a `Spotting`.

    Attributes:
        text: what was read.
        x: of its point.
        y: of its point.
        score: from 0 to 1.
        box: left, top, right and bottom of the box around its reading line, one character high;
            None if the model gives no line.
    """

    text: str
    x: float
    y: float
    score: float
    box: tuple[float, float, float, float] | None


class FoundWord(NamedTuple):
    """One word of an `Anchors`.

    Attributes:
        text: the given word.
        x: of its anchor.
        y: of its anchor.
        score: height of the peak; 0 if it has no anchor.
        similarity: of its place and the word, from -1 to 1.
    """

    text: str
    x: float
    y: float
    score: float
    similarity: float


class Result:
    """What results of both predictors can do.

    Attributes:
        fields: names of what each word has, in order.
    """

    fields: ClassVar[tuple[str, ...]]

    @abstractmethod
    def __iter__(self) -> Iterator[Any]:
        """The words, one after another."""

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """All of it as lists, numbers and strings."""

    @abstractmethod
    def draw(self) -> np.ndarray:
        """The image with the words drawn in, uint8 RGB."""

    def to_json(self) -> str:
        """`to_dict` as one line."""
        return json.dumps(self.to_dict(), ensure_ascii=False, allow_nan=False)

    def to_dataframe(self) -> Any:
        """The words as a `pandas.DataFrame`, one row each.

        Raises:
            ImportError: if pandas is not installed.
        """
        try:
            pandas = importlib.import_module("pandas")
        except ImportError as error:
            raise ImportError("to_dataframe needs pandas: pip install pandas") from error
        rows = [word._asdict() for word in self]
        return pandas.DataFrame(rows, columns=list(self.fields))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the drawing into a file, as its suffix says."""
        save_image(path, self.draw())

    def show(self) -> None:
        """Open the drawing in the viewer of this computer."""
        Image.fromarray(self.draw()).show()

    def _repr_png_(self) -> bytes:
        """The drawing, for notebooks."""
        stream = io.BytesIO()
        Image.fromarray(self.draw()).save(stream, "PNG")
        return stream.getvalue()


@dataclass(frozen=True, eq=False)
class Spotting(Result):
    """Words found and read in an image, by falling score.

    Attributes:
        words: N texts.
        points: (N, 2) float64.
        scores: (N,) from 0 to 1.
        det_scores: (N,) confidence of the detection.
        rec_scores: (N,) confidence of the text.
        polylines: (N, K, 2) float64 lines along which the words were read; None for a model
            without lines.
        height: of the image.
        width: of the image.
        source: the image itself, for `draw`.
        seen_size: (height, width) of the image as the model saw it, if known.
    """

    words: list[str]
    points: np.ndarray
    scores: np.ndarray
    det_scores: np.ndarray
    rec_scores: np.ndarray
    polylines: np.ndarray | None
    height: int
    width: int
    source: ImageSource = field(repr=False)
    seen_size: tuple[int, int] | None = None

    fields: ClassVar = SpottedWord._fields

    def __len__(self) -> int:
        return len(self.words)

    def __iter__(self) -> Iterator[SpottedWord]:
        boxes = [None] * len(self) if self.boxes is None else map(tuple, self.boxes.tolist())
        points, scores = self.points.tolist(), self.scores.tolist()
        for text, (x, y), score, box in zip(self.words, points, scores, boxes, strict=True):
            yield SpottedWord(text, x, y, score, box)

    @property
    def boxes(self) -> np.ndarray | None:
        """(N, 4) left, top, right, bottom of boxes around the lines, cut at the image's borders.

        A line has no height: half the distance of its characters is added all around. None if the
        model gives no lines.
        """
        if self.polylines is None:
            return None
        outlines = np.concatenate([self.points[:, None], self.polylines], axis=1)
        found = [word_box(*parts) for parts in zip(self.words, outlines, strict=True)]
        limits = (self.width, self.height, self.width, self.height)
        return np.array(found, dtype=np.float64).reshape(-1, 4).clip(0, limits)

    def advice(self) -> str:
        """What to try if nothing was found; empty if something was."""
        if self.words or self.seen_size is None:
            return ""
        height, width = self.seen_size
        smaller = max(32, max(height, width) // 2)
        large = f"a max_side of {smaller} if its words are large"
        small = ", or full_size if they are small" if height < self.height else ""
        return (
            f"nothing found at this scale, {width} x {height} pixels of {self.width} x "
            f"{self.height}; try {large}{small}"
        )

    def take(self, rows: np.ndarray) -> Spotting:
        """The words of the given rows, in the order of `rows`."""
        return replace(
            self,
            words=[self.words[row] for row in rows.tolist()],
            points=self.points[rows],
            scores=self.scores[rows],
            det_scores=self.det_scores[rows],
            rec_scores=self.rec_scores[rows],
            polylines=None if self.polylines is None else self.polylines[rows],
        )

    def to_dict(self) -> dict[str, Any]:
        """All fields in JSON types; `wecromcl evaluate` reads such records as predictions.

        The keys are always the same: `file_name` is None for an image that is no file, `polylines`
        and `boxes` if the model gives no lines.
        """
        content = _head(self.source, self.height, self.width) | {
            "texts": list(self.words),
            "points": _rounded(self.points, _POINT_DIGITS),
            "scores": _rounded(self.scores, _SCORE_DIGITS),
            "det_scores": _rounded(self.det_scores, _SCORE_DIGITS),
            "rec_scores": _rounded(self.rec_scores, _SCORE_DIGITS),
        }
        lines = {"polylines": self.polylines, "boxes": self.boxes}
        return content | {
            key: None if values is None else _rounded(values, _POINT_DIGITS)
            for key, values in lines.items()
        }

    def draw(self) -> np.ndarray:
        """The image with its words written beside their points.

        Returns:
            uint8 RGB; small images are enlarged by a whole number.
        """
        return draw_spotting(self.source.read(), self.words, self.points, self.polylines)


@dataclass(frozen=True, eq=False)
class Anchors(Result):
    """Points of the given words of an image.

    Attributes:
        words: Q words, as given.
        points: (Q, 2) float64 anchors.
        scores: (Q,) values of the maps' peaks; 0 if a word was given more often than its map has
            peaks, so that this copy has no anchor.
        similarity: (Q,) from -1 to 1, cosine of the pooled image feature and the text feature,
            which training maximises. Low for a word that is not in the image.
        maps: (Q, h, w) float32 activation maps, 0 or more.
        cell_size: (height, width) of a cell of the maps, in pixels of the image.
        unread: given words without any character of the model's alphabet; they have no anchor.
        height: of the image.
        width: of the image.
        source: the image itself, for `draw`.
    """

    words: list[str]
    points: np.ndarray
    scores: np.ndarray
    similarity: np.ndarray
    maps: np.ndarray
    cell_size: tuple[float, float]
    unread: list[str]
    height: int
    width: int
    source: ImageSource = field(repr=False)

    fields: ClassVar = FoundWord._fields

    def __len__(self) -> int:
        return len(self.words)

    def __iter__(self) -> Iterator[FoundWord]:
        columns = (self.points, self.scores, self.similarity)
        points, scores, similarity = (values.tolist() for values in columns)
        for text, (x, y), *rest in zip(self.words, points, scores, similarity, strict=True):
            yield FoundWord(text, x, y, *rest)

    def to_dict(self) -> dict[str, Any]:
        """A record of a label file with `points`, `point_scores` and `similarity`.

        Words without anchor have no point and no score, unread words no similarity either; the maps
        are left out.
        """
        found = self.scores > 0
        points: list = _rounded(self.points, _POINT_DIGITS)
        scores: list = self.scores.astype(np.float64).tolist()
        none = [None] * len(self.unread)
        return _head(self.source, self.height, self.width) | {
            "texts": [*self.words, *self.unread],
            "points": [p if ok else None for p, ok in zip(points, found, strict=True)] + none,
            "point_scores": [s if ok else None for s, ok in zip(scores, found, strict=True)] + none,
            "similarity": _rounded(self.similarity, _SCORE_DIGITS) + none,
        }

    def draw(self, columns: int = 3) -> np.ndarray:
        """A sheet of the image and one tile per word, with its map and anchor.

        Returns:
            uint8 RGB.
        """
        views = [
            WordView(word, cells, point.tolist() if score > 0 else None, float(score))
            for word, cells, point, score in zip(
                self.words, self.maps, self.points, self.scores, strict=True
            )
        ]
        title = os.path.basename(self.source.file_name or "")
        return anchor_sheet(
            self.source.read(), views, title=title, cell_size=self.cell_size, columns=columns
        )


def _head(source: ImageSource, height: int, width: int) -> dict[str, Any]:
    return {"file_name": source.file_name, "height": height, "width": width}


def _rounded(values: np.ndarray, digits: int) -> list:
    return values.astype(np.float64).round(digits).tolist()
