"""Labels as a FiftyOne dataset on disk: keypoints with texts and scores."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..datasets import Record
from .words import LabelledWord, words_of

FIELD = "words"


def to_fiftyone(records: Sequence[Record], image_root: Path) -> dict[str, dict[str, Any]]:
    """Names and contents of the JSON files that `fiftyone.types.FiftyOneDataset` reads.

    A sample has the words with a point as keypoints, in shares of the image, and the others as a
    list of texts.

    Args:
        records: of a label file, with `height` and `width`.
        image_root: that file names are relative to.
    """
    samples = []
    for record in records:
        words = words_of(record)
        placed = [_keypoint(word, record) for word in words if word.point is not None]
        samples.append(
            {
                "filepath": os.path.abspath(image_root / record["file_name"]),
                "tags": [],
                FIELD: {"_cls": "Keypoints", "keypoints": placed},
                "words_without_point": [word.text for word in words if word.point is None],
            }
        )
    # Without a version, FiftyOne reads the plain form of samples.
    return {"metadata.json": {"media_type": "image"}, "samples.json": {"samples": samples}}


def _keypoint(word: LabelledWord, record: Record) -> dict[str, Any]:
    assert word.point is not None
    point = [word.point[0] / record["width"], word.point[1] / record["height"]]
    keypoint: dict[str, Any] = {
        "_cls": "Keypoint",
        "label": word.text,
        "points": [point],
        "tags": ["ignored"] if word.ignore else [],
    }
    if word.score is not None:
        keypoint["confidence"] = [word.score]
    return keypoint
