"""JSON of the authors' converters: words by image, or words and points by image."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..datasets import LabelError
from .base import ImageGT, Tally, Word, checked_name, checked_numbers, checked_text, load_json
from .sources import image_stem


def read_official(path: Path, tally: Tally, encoding: str = "utf-8") -> Iterator[ImageGT]:
    """Read `{"img_3.jpg": ["Hill"]}` or `{"img_3.jpg": {"text": [..], "points": [..]}}`.

    The authors leave out unreadable words and those of fewer than three characters, so images hold
    texts that these files do not name.

    Raises:
        LabelError: with file and image.
    """
    content = load_json(path, encoding)
    if not isinstance(content, dict):
        raise LabelError(f"{path}: not an object with one entry an image")
    for key, value in content.items():
        place = f"{path}: {key!a:.80}"
        try:
            name = checked_name(key)
            # One of their converters names the ground-truth file instead: img_3.jpg.txt.
            if name.endswith(".txt") and image_stem(name.removesuffix(".txt")) != name:
                name = name.removesuffix(".txt")
            yield ImageGT(place, (name,), _words(value))
        except LabelError as error:
            raise LabelError(f"{place}: {error}") from None


def _words(value: Any) -> list[Word]:
    if isinstance(value, list):
        return [Word(checked_text(text)) for text in value]
    if not isinstance(value, dict) or not isinstance(value.get("text"), list):
        raise LabelError("neither a list of words nor an object with text and points")
    if "scores" in value:
        raise LabelError("scores are results, not ground truth")
    points = value.get("points")
    texts = value["text"]
    if not isinstance(points, list) or len(points) != len(texts):
        raise LabelError(f"{len(texts)} texts need as many points")
    return [
        Word(checked_text(text), point=checked_numbers(point, 2))
        for text, point in zip(texts, points, strict=True)
    ]
