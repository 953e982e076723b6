"""Labels as COCO keypoints: one category with one keypoint, the point of a word."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..datasets import LabelError, Record
from ..readers.base import checked_name, checked_numbers, checked_text, entries, load_json
from .words import LabelledWord, record_of, words_of

CATEGORY = {
    "id": 1,
    "name": "word",
    "supercategory": "text",
    "keypoints": ["anchor"],
    "skeleton": [],
}
# COCO's visibility of a keypoint: 0 not labelled, 2 labelled and visible.
_UNLABELLED, _VISIBLE = 0, 2
# Keys under which tools store the transcription of a word.
_TEXT_KEYS = ("text", "utf8_string", "transcription")


def to_coco(records: Sequence[Record]) -> dict[str, Any]:
    """Labels as the content of one COCO file.

    A word without point has a keypoint that is not labelled, an ignored word is a crowd. Beside
    COCO's own keys an annotation has `text`, and `score` and `weight` of the point if known.

    Args:
        records: of a label file, with `height` and `width`.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, record in enumerate(records, start=1):
        images.append({"id": number} | {k: record[k] for k in ("file_name", "height", "width")})
        for word in words_of(record):
            annotations.append({"id": len(annotations) + 1, "image_id": number, **_entry(word)})
    return {"images": images, "annotations": annotations, "categories": [CATEGORY]}


def _entry(word: LabelledWord) -> dict[str, Any]:
    left, top, right, bottom = word.box or (0, 0, 0, 0)
    entry: dict[str, Any] = {
        "category_id": CATEGORY["id"],
        "text": word.text,
        "keypoints": [0, 0, _UNLABELLED] if word.point is None else [*word.point, _VISIBLE],
        "num_keypoints": int(word.point is not None),
        "bbox": [left, top, right - left, bottom - top],
        "area": (right - left) * (bottom - top),
        "segmentation": [] if word.polygon is None else [word.polygon],
        "iscrowd": int(word.ignore),
    }
    known = {"score": word.score, "weight": word.weight, "similarity": word.similarity}
    return entry | {key: value for key, value in known.items() if value is not None}


def from_coco(path: Path) -> list[Record]:
    """Records of a file in the format of `to_coco`, or of another tool's keypoints.

    The first labelled point of a keypoint list is used. The transcription is the annotation's
    `text`, `utf8_string` or `transcription`, of its own or among its `attributes`.

    Raises:
        LabelError: naming the file and the entry.
    """
    content = load_json(path)
    if not isinstance(content, dict):
        raise LabelError(f"{path}: not an object with images and annotations, so not COCO")
    images: dict[Any, Record] = {}
    for place, image in entries(content.get("images"), path, "images"):
        try:
            name = checked_name(image.get("file_name"))
            size = {key: image[key] for key in ("height", "width") if image.get(key)}
            images[image["id"]] = {"file_name": name, **size}
        except (KeyError, TypeError, LabelError) as error:
            raise LabelError(f"{place}: {error}") from None
    words: dict[Any, list[LabelledWord]] = {identity: [] for identity in images}
    for place, item in entries(content.get("annotations"), path, "annotations"):
        if item.get("image_id") not in words:
            raise LabelError(f"{place}: there is no image of id {item.get('image_id')!r}")
        try:
            words[item["image_id"]].append(_word(item))
        except LabelError as error:
            raise LabelError(f"{place}: {error}") from None
    return [record_of(images[identity], own) for identity, own in words.items()]


def _word(item: dict[str, Any]) -> LabelledWord:
    attributes = item.get("attributes")
    places = [item, attributes if isinstance(attributes, dict) else {}]
    texts = [place[key] for place in places for key in _TEXT_KEYS if key in place]
    if not texts:
        raise LabelError(f"no text; it is looked for as {', '.join(_TEXT_KEYS)}")
    numbers = checked_numbers(item.get("keypoints", []))
    triples = [numbers[i : i + 3] for i in range(0, len(numbers) - len(numbers) % 3, 3)]
    found = [[x, y] for x, y, visible in triples if visible != _UNLABELLED]
    outline = item.get("segmentation")
    polygon = checked_numbers(outline[0]) if isinstance(outline, list) and outline else None
    return LabelledWord(
        checked_text(texts[0]),
        found[0] if found else None,
        item.get("score"),
        item.get("weight"),
        polygon,
        bool(item.get("iscrowd")),
        item.get("similarity"),
    )
