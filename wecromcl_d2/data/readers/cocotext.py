"""JSON in the style of COCO-Text: objects of images and of annotations, each under its id."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..datasets import LabelError
from .base import (
    ImageGT,
    Tally,
    Word,
    box_outline,
    checked_identity,
    checked_name,
    checked_numbers,
    checked_size,
    checked_text,
    load_json,
    outline,
)

_UNLISTED = "annotations of images that are not listed"


def read_cocotext(
    path: Path, tally: Tally, encoding: str = "utf-8", subset: str | None = None
) -> Iterator[ImageGT]:
    """Read `imgs` and `anns`; a text that is illegible or not given is ignored.

    Args:
        path: the file.
        tally: annotations of unlisted images are counted in it.
        encoding: of the file.
        subset: keep images whose `set` is this; None for all.

    Raises:
        LabelError: with file and place.
    """
    content = load_json(path, encoding)
    images = _objects(path, content, "imgs")
    words: dict[str, list[Word]] = {image: [] for image in images}
    for key, annotation in _objects(path, content, "anns").items():
        try:
            owner = str(checked_identity(annotation.get("image_id")))
            if owner in words:
                words[owner].append(_word(annotation))
            else:
                tally.drop(_UNLISTED, key)
        except LabelError as error:
            raise LabelError(f"{path}: anns[{key!a:.40}]: {error}") from None
    for key, image in images.items():
        if subset is not None and image.get("set") != subset:
            continue
        place = f"{path}: imgs[{key!a:.40}]"
        try:
            identity = checked_identity(image.get("id", key))
            if str(identity) != key:
                raise LabelError(f"id is {identity!a:.40}")
            names = (checked_name(image.get("file_name")),)
            yield ImageGT(place, names, words[key], checked_size(image), identity)
        except LabelError as error:
            raise LabelError(f"{place}: {error}") from None


def _objects(path: Path, content: Any, key: str) -> dict[str, dict[str, Any]]:
    value = content.get(key) if isinstance(content, dict) else None
    if not isinstance(value, dict) or not all(isinstance(v, dict) for v in value.values()):
        raise LabelError(f"{path}: {key} is no object of objects")
    return value


def _word(annotation: dict[str, Any]) -> Word:
    text = checked_text(annotation.get("utf8_string", ""))
    polygon = None
    if annotation.get("mask"):
        polygon = outline(checked_numbers(annotation["mask"]))
    elif annotation.get("bbox") is not None:
        x, y, width, height = checked_numbers(annotation["bbox"], 4)
        polygon = box_outline(x, y, x + width, y + height)
    ignore = not text or annotation.get("legibility", "legible") != "legible"
    return Word(text, polygon, ignore=ignore)
