"""Results of the predictors: lists and arrays, with conversion to a dict, to JSON and to a drawing.

Points are (x, y) in pixels of the original image, continuous in [0, width] x [0, height].
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..visualizer import WordView, anchor_sheet
from .drawing import draw_spotting
from .images import ImageSource

# Decimal digits in dicts.
_POINT_DIGITS, _SCORE_DIGITS = 2, 4


@dataclass(frozen=True, eq=False)
class Spotting:
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

    def __len__(self) -> int:
        return len(self.words)

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
        """All fields in JSON types; `wecromcl evaluate` reads such records as predictions."""
        content = _head(self.source, self.height, self.width) | {
            "texts": list(self.words),
            "points": _rounded(self.points, _POINT_DIGITS),
            "scores": _rounded(self.scores, _SCORE_DIGITS),
            "det_scores": _rounded(self.det_scores, _SCORE_DIGITS),
            "rec_scores": _rounded(self.rec_scores, _SCORE_DIGITS),
        }
        if self.polylines is not None:
            content["polylines"] = _rounded(self.polylines, _POINT_DIGITS)
        return content

    def to_json(self) -> str:
        """`to_dict` as one line."""
        return _one_line(self.to_dict())

    def draw(self) -> np.ndarray:
        """The image with its words written beside their points.

        Returns:
            uint8 RGB; small images are enlarged by a whole number.
        """
        return draw_spotting(self.source.read(), self.words, self.points, self.polylines)


@dataclass(frozen=True, eq=False)
class Anchors:
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

    def __len__(self) -> int:
        return len(self.words)

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

    def to_json(self) -> str:
        """`to_dict` as one line."""
        return _one_line(self.to_dict())

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
    name = source.file_name
    return ({} if name is None else {"file_name": name}) | {"height": height, "width": width}


def _rounded(values: np.ndarray, digits: int) -> list:
    return values.astype(np.float64).round(digits).tolist()


def _one_line(content: dict[str, Any]) -> str:
    return json.dumps(content, ensure_ascii=False, allow_nan=False)
