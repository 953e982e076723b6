"""Counting rules for spotted words: the point metric of SPTS, and metrics without points.

Letters: `T` ground-truth words, `P` predictions of one image. Points are (x, y) in pixels of the
original image.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from rapidfuzz.distance import Levenshtein

from ..data.label_format import ignored_words, per_text
from ..geometry import polygon_center
from .counting import (
    ImageMatches,
    MatchingError,
    Mode,
    PointWords,
    Score,
    best_matches,
    check_mode,
    count_matches,
    match_images,
)
from .lexicon import ImageLexicons, Lexicon

Metric = Literal["point", "nearest_text", "bag_of_words"]
METRICS: tuple[Metric, ...] = ("point", "nearest_text", "bag_of_words")

# As published, rounding included: the third value lies a little above 0.82.
SPTS_THRESHOLDS = tuple(np.arange(0.8, 0.95, 0.01).tolist())
SPTS_THRESHOLD = 0.8

_BLANKED = str.maketrans(dict.fromkeys("'!?.:,*\"()·[]/", " "))
_WORD = re.compile("[A-Za-z\u00c0-\u01bf\u01c4-\u027f\u0386-\u03ff-]{3,}")
_NO_LETTERS = frozenset("×÷·")


@dataclass(frozen=True)
class GTWords:
    """Ground-truth words of one image.

    Attributes:
        texts: `T` strings.
        points: float64 `(T, 2)`, (x, y); NaN where the source has no position.
        ignore: `(T,)` whether the word is left out of the counts.
        polygons: `T` flat outlines, None where unknown, or none at all; for drawings only.
        file_name: path of the image, if known; for drawings only.
    """

    texts: Sequence[str]
    points: np.ndarray
    ignore: np.ndarray
    polygons: Sequence[Sequence[float] | None] = ()
    file_name: str = ""

    @classmethod
    def from_record(cls, record: Mapping[str, Any], mode: Mode = "robust") -> GTWords:
        """The words of a dataset dict; without a given point a word gets its `outline_center`.

        Raises:
            MatchingError: in official mode, if an outline has 3 vertices.
        """
        texts = list(record["texts"])
        polygons = list(per_text(record, "polygons"))
        points = np.full((len(texts), 2), np.nan)
        pairs = zip(per_text(record, "points"), polygons, strict=True)
        for index, (point, polygon) in enumerate(pairs):
            if point is not None:
                points[index] = point
            elif polygon is not None:
                points[index] = outline_center(polygon, mode)
        ignore = np.array(ignored_words(record), dtype=bool)
        return cls(texts, points, ignore, polygons, record.get("file_name", ""))

    def counted(self) -> int:
        """Number of words that are not ignored."""
        return len(self.texts) - int(self.ignore.sum())

    def lacks_points(self) -> bool:
        """Whether a word that is not ignored has no position."""
        return bool(np.isnan(self.points[~self.ignore]).any())


@dataclass(frozen=True)
class SpottingProtocol:
    """Options of the count, all of which are stated in the results.

    Attributes:
        metric: how a prediction finds its ground-truth word: `"point"`, by the nearest point;
            `"nearest_text"`, by the smallest edit distance; `"bag_of_words"`, by the equal text.
        mode: `"official"` reproduces the published script and raises where it fails; `"robust"`
            counts such images, too.
        dictionary_filter: word spotting: shorten ground-truth words and ignore those that are no
            dictionary words, see `filter_word`.
        filter_predictions: shorten predictions as well; not in official mode.
        unicode_fold: compare by NFC and case folding instead of upper case; not in official mode.
        lexicon: one for all images, one per image, or none.
    """

    metric: Metric = "point"
    mode: Mode = "robust"
    dictionary_filter: bool = False
    filter_predictions: bool = False
    unicode_fold: bool = False
    lexicon: Lexicon | ImageLexicons | None = field(default=None)

    def __post_init__(self) -> None:
        check_mode(self.mode)
        if self.metric not in METRICS:
            raise ValueError(f"metric is {self.metric!r}; use one of {', '.join(METRICS)}")
        if self.mode == "official" and (self.filter_predictions or self.unicode_fold):
            raise ValueError("official mode has neither filter_predictions nor unicode_fold")
        if self.filter_predictions and not self.dictionary_filter:
            raise ValueError("filter_predictions needs dictionary_filter")

    def describe(self) -> str:
        """The name that results give the protocol, options included."""
        metric = {
            "point": "SPTS point",
            "nearest_text": "no point, nearest text",
            "bag_of_words": "no point, bag of words",
        }[self.metric]
        task = "word spotting" if self.dictionary_filter else "end-to-end"
        options = [name for name in ("filter_predictions", "unicode_fold") if getattr(self, name)]
        return ", ".join([metric, task, *options])

    def describe_lexicon(self) -> str:
        """What results say about the lexicon."""
        return "none" if self.lexicon is None else self.lexicon.describe()

    def fold(self, text: str) -> str:
        """The form in which texts are compared."""
        if self.unicode_fold:
            return unicodedata.normalize("NFC", text.casefold())
        return text.upper()


def score_spotting(
    ground_truth: Mapping[Any, GTWords],
    predictions: Mapping[Any, PointWords],
    protocol: SpottingProtocol,
    thresholds: Sequence[float] = SPTS_THRESHOLDS,
) -> list[Score]:
    """Count spotted words over a dataset, once per threshold.

    1. With `dictionary_filter` ground-truth words pass through `filter_gt`.
    2. A prediction with an empty text is left out. With a lexicon its text is replaced by the
       nearest entry's spelling, or the prediction is left out if none is near enough.
    3. A prediction whose score is below the threshold is left out.
    4. `point`: every other prediction is assigned to the word of its image with the nearest
       point, ignored words included, the first on a tie, at any distance. `nearest_text`: to the
       word of the smallest edit distance, likewise.
    5. If that word is ignored, the prediction does not count. Otherwise it counts, and it is a true
       positive if the texts are equal in upper case and the word is not yet matched.
    6. `bag_of_words` instead of 4 and 5: every prediction counts, and it is a true positive if
       the image has a word of its text left that is not ignored.

    Of several predictions that equal their word one is the match and the others are false
    positives, so counts do not depend on the order of predictions.

    Args:
        ground_truth: words by image.
        predictions: predicted words by image.
        protocol: what is counted.
        thresholds: score thresholds; a score equal to one passes it.

    Returns:
        One `Score` per threshold, in the given order.

    Raises:
        MatchingError: in official mode, where the published script fails; for `point`, if a word
            that counts has no position.
        LexiconError: if an image has no lexicon of its own, or in official mode an entry no pair.
    """
    matches, _ = match_words(ground_truth, predictions, protocol, min(thresholds))
    return count_matches(matches.values(), thresholds)


def match_words(
    ground_truth: Mapping[Any, GTWords],
    predictions: Mapping[Any, PointWords],
    protocol: SpottingProtocol,
    lowest: float,
) -> tuple[dict[Any, ImageMatches], dict[Any, list[str | None]]]:
    """Matches and corrected texts by image, by the rules of `score_spotting`.

    Args:
        ground_truth: words by image.
        predictions: predicted words by image.
        protocol: what is counted.
        lowest: lowest threshold at which the matches will be counted.

    Returns:
        Matches of the predictions that are left after step 2; and for every prediction its text
        after that step, None if it was left out.

    Raises:
        MatchingError: see `score_spotting`.
        LexiconError: see `score_spotting`.
    """
    if protocol.mode == "official" and not next((t.texts for t in ground_truth.values()), True):
        raise MatchingError("the first image has no ground truth; the published script fails there")
    rule = {"point": _nearest_point, "nearest_text": _nearest_text}.get(protocol.metric)

    def match(gt: GTWords, found: PointWords, scores: np.ndarray) -> ImageMatches:
        texts = [protocol.fold(text) for text in found.texts]
        words = [protocol.fold(text) for text in gt.texts]
        if rule is None:
            return _match_bag(gt, texts, words, scores)
        nearest = rule(gt, found, texts, words)
        counted = ~gt.ignore[nearest]
        equal = [t == words[n] for t, n in zip(texts, nearest, strict=True)]
        candidates = np.where(counted & np.array(equal, dtype=bool), nearest, -1)
        return ImageMatches(gt.counted(), scores, counted, best_matches(candidates, scores))

    texts = correct_texts(predictions, protocol, ground_truth)
    left = {image: _leave_out(found, texts[image]) for image, found in predictions.items()}
    if protocol.dictionary_filter:
        ground_truth = {image: filter_gt(gt) for image, gt in ground_truth.items()}
    return match_images(ground_truth, left, match, lowest, protocol.mode), texts


def correct_texts(
    predictions: Mapping[Any, PointWords],
    protocol: SpottingProtocol,
    known: Mapping[Any, Any],
) -> dict[Any, list[str | None]]:
    """Every prediction's text after filter and lexicon, None for one that is left out.

    Args:
        predictions: predicted words by image.
        protocol: which lexicon and filter.
        known: the images with ground truth; only these need a lexicon of their own.

    Raises:
        LexiconError: if a known image has no lexicon of its own, or in official mode an entry no
            pair.
    """
    lexicon = protocol.lexicon
    clean = _shortened if protocol.filter_predictions else str
    texts = {image: [clean(text) for text in found.texts] for image, found in predictions.items()}
    if isinstance(lexicon, Lexicon):
        distinct = list(dict.fromkeys(text for row in texts.values() for text in row if text))
        spelling = dict(zip(distinct, lexicon.correct(distinct), strict=True))
        return {image: [spelling.get(text) for text in row] for image, row in texts.items()}
    corrected: dict[Any, list[str | None]] = {}
    for image, row in texts.items():
        whole = [text for text in row if text]
        read: Sequence[str | None] = whole
        if lexicon is not None and image in known:
            read = lexicon.of(image).correct(whole)
        following = iter(read)
        corrected[image] = [next(following) if text else None for text in row]
    return corrected


def filter_word(text: str) -> tuple[str, bool]:
    """Shorten a word for word spotting, as published for Total-Text, and say if it counts.

    1. Remove a final `'s` or `'S`.
    2. Strip hyphens at both ends.
    3. Replace each of `' ! ? . : , * " ( ) · [ ] /` by a blank, and strip blanks.

    Returns:
        The shortened text, and whether it counts: without an inner blank, of 3 characters or more,
        all of them Latin or Greek letters or hyphens.
    """
    short = text[:-2] if text.endswith(("'s", "'S")) else text
    short = short.strip("-").translate(_BLANKED).strip()
    return short, bool(_WORD.fullmatch(short)) and not _NO_LETTERS & set(short)


def filter_gt(gt: GTWords) -> GTWords:
    """Apply `filter_word` to all words; a word that does not pass is ignored."""
    filtered = [filter_word(text) for text in gt.texts]
    ignore = gt.ignore | np.array([not passed for _, passed in filtered], dtype=bool)
    texts = [short for short, _ in filtered]
    return GTWords(texts, gt.points, ignore, gt.polygons, gt.file_name)


def outline_center(polygon: Sequence[float], mode: Mode = "robust") -> tuple[float, float]:
    """The center (x, y) of an outline, see `geometry.polygon_center`.

    Raises:
        MatchingError: in official mode, if the outline has 3 vertices, whose center the published
            script cannot compute.
    """
    if len(polygon) == 8:
        return sum(polygon[0::2]) / 4, sum(polygon[1::2]) / 4
    if len(polygon) == 6 and mode == "official":
        raise MatchingError("an outline of 3 vertices; the published script fails on it")
    x, y = polygon_center(polygon)
    return float(x), float(y)


def _shortened(text: str) -> str:
    return filter_word(text)[0]


def _leave_out(found: PointWords, texts: Sequence[str | None]) -> PointWords:
    """Keep the predictions that have a text."""
    rows = [row for row, text in enumerate(texts) if text is not None]
    return found.take(rows, [text for text in texts if text is not None])


def _nearest_point(
    gt: GTWords, found: PointWords, texts: Sequence[str], words: Sequence[str]
) -> np.ndarray:
    if gt.lacks_points():
        raise MatchingError(
            "a word has no position, and the point metric needs points or outlines; of words alone "
            "--metric bag_of_words counts which were read"
        )
    distance = np.linalg.norm(found.points[:, None] - gt.points[None], axis=2)
    return np.where(np.isnan(distance), np.inf, distance).argmin(axis=1)


def _nearest_text(
    gt: GTWords, found: PointWords, texts: Sequence[str], words: Sequence[str]
) -> np.ndarray:
    edits = [[Levenshtein.distance(text, word) for word in words] for text in texts]
    return np.array([row.index(min(row)) for row in edits], dtype=int)


def _match_bag(
    gt: GTWords, texts: Sequence[str], words: Sequence[str], scores: np.ndarray
) -> ImageMatches:
    """Match the predictions of a text, by falling score, to the words of that text."""
    unmatched: defaultdict[str, list[int]] = defaultdict(list)
    for index in np.flatnonzero(~gt.ignore).tolist():
        unmatched[words[index]].append(index)
    used: Counter[str] = Counter()
    matched_gt = np.full(len(texts), -1)
    for row in np.argsort(-scores, kind="stable").tolist():
        text = texts[row]
        if used[text] < len(unmatched.get(text, ())):
            matched_gt[row] = unmatched[text][used[text]]
            used[text] += 1
    return ImageMatches(gt.counted(), scores, np.ones(len(texts), dtype=bool), matched_gt)
