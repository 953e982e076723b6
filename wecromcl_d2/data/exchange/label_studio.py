"""Labels as Label Studio tasks: a keypoint with a text for each word."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..datasets import LabelError, Record
from ..readers.base import checked_name, checked_text, entries, load_json
from .words import LabelledWord, record_of, words_of

# Prefix of the URLs by which Label Studio serves files of its document root.
IMAGE_PREFIX = "/data/local-files/?d="
WORD, IGNORED = "word", "ignored"
MODEL_VERSION = "wecromcl"  # as Label Studio shows it
POINT_WIDTH = 0.6  # of a drawn point, percent of the image
COORDINATE_DIGITS = 3
CONFIG = f"""\
<View>
  <Header value="Words without a point"/>
  <Text name="unplaced" value="$unplaced"/>
  <Image name="image" value="$image" zoom="true" zoomControl="true"/>
  <KeyPointLabels name="kind" toName="image">
    <Label value="{WORD}" background="#d6336c"/>
    <Label value="{IGNORED}" background="#868e96"/>
  </KeyPointLabels>
  <TextArea name="text" toName="image" perRegion="true" editable="true" maxSubmissions="1"/>
</View>
"""


def to_label_studio(records: Sequence[Record], prefix: str = IMAGE_PREFIX) -> list[dict[str, Any]]:
    """Labels as tasks with predictions, for a project with `CONFIG`.

    Args:
        records: of a label file, with `height` and `width`.
        prefix: put before each file name, so that Label Studio finds the image.
    """
    return [_task(record, prefix) for record in records]


def _task(record: Record, prefix: str) -> dict[str, Any]:
    words, result = words_of(record), []
    for number, word in enumerate(words):
        if word.point is not None:
            result += _regions(f"w{number}", word, record)
    scores = [word.score for word in words if word.score is not None]
    prediction: dict[str, Any] = {"model_version": MODEL_VERSION, "result": result}
    if scores:
        prediction["score"] = min(scores)
    unplaced = ", ".join(word.text for word in words if word.point is None and not word.ignore)
    data = {
        "image": prefix + record["file_name"],
        "unplaced": unplaced or "none",
        "words": [word.text for word in words],
        **{key: record[key] for key in ("file_name", "height", "width")},
    }
    return {"data": data, "predictions": [prediction]}


def _regions(identity: str, word: LabelledWord, record: Record) -> list[dict[str, Any]]:
    """The two results that share an identity: the point, and its text."""
    assert word.point is not None
    place = {
        "x": 100 * word.point[0] / record["width"],
        "y": 100 * word.point[1] / record["height"],
        "width": POINT_WIDTH,
    }
    common = {
        "id": identity,
        "to_name": "image",
        "original_width": record["width"],
        "original_height": record["height"],
        "image_rotation": 0,
    }
    score = {} if word.score is None else {"score": word.score}
    kind = {**place, "keypointlabels": [IGNORED if word.ignore else WORD]}
    return [
        {**common, "from_name": "kind", "type": "keypointlabels", "value": kind, **score},
        {
            **common,
            "from_name": "text",
            "type": "textarea",
            "value": {**place, "text": [word.text]},
        },
    ]


def from_label_studio(path: Path) -> list[Record]:
    """Records of the annotated tasks of a JSON export; of several annotations the last is used.

    Moved points and changed texts replace the exported ones. A word whose point was deleted keeps
    its text without a point; a word whose text was emptied is removed.

    Raises:
        LabelError: naming the file and the task.
    """
    content = load_json(path)
    records = []
    for place, task in entries(content, path, "the export"):
        done = [
            annotation
            for annotation in task.get("annotations") or []
            if isinstance(annotation, dict) and not annotation.get("was_cancelled")
        ]
        if done:
            try:
                records.append(_record(task.get("data"), done[-1].get("result")))
            except (LabelError, KeyError, TypeError, ValueError) as error:
                raise LabelError(f"{place}: {error}") from None
    if not records:
        raise LabelError(f"{path}: no task has an annotation; submit the reviewed tasks first")
    return records


def _record(data: Any, result: Any) -> Record:
    if not isinstance(data, dict) or "file_name" not in data or not isinstance(result, list):
        raise LabelError(
            "no task that wecromcl export wrote; export from Label Studio as JSON, not JSON-MIN"
        )
    found = _found(result)
    words: list[LabelledWord] = []
    for number, text in enumerate(data.get("words", [])):
        word = found.pop(f"w{number}", None)
        words.append(LabelledWord(checked_text(text)) if word is None else _named(word, text))
    for word in found.values():
        if word.text is None:
            raise LabelError(f"a point at {word.point} without text; write its word, or delete it")
        # A new point of a word that had none.
        free = [i for i, own in enumerate(words) if own.point is None and own.text == word.text]
        if free:
            words[free[0]] = word
        else:
            words.append(word)
    head = {"file_name": checked_name(data["file_name"])}
    head |= {key: data[key] for key in ("height", "width") if key in data}
    return record_of(head, [word for word in words if word.text])


def _named(word: LabelledWord, text: str) -> LabelledWord:
    """The word of a region, with the exported text if the region has none."""
    return word._replace(text=checked_text(text)) if word.text is None else word


def _found(result: list[Any]) -> dict[str, Any]:
    """The words of an annotation by their identity; a text is None where a region has none."""
    points: dict[str, tuple[list[float], bool]] = {}
    texts: dict[str, str] = {}
    for item in result:
        # Label Studio appends a suffix to identities.
        identity, value = str(item["id"]).split("#")[0], item["value"]
        if item["type"] == "keypointlabels":
            size = (item["original_width"], item["original_height"])
            point = [
                round(float(value[axis]) * side / 100, COORDINATE_DIGITS)
                for axis, side in zip("xy", size, strict=True)
            ]
            points[identity] = point, IGNORED in value["keypointlabels"]
        elif item["type"] == "textarea":
            text = value["text"]
            texts[identity] = " ".join(text if isinstance(text, list) else [text]).strip()
    return {
        identity: LabelledWord(texts.get(identity), point, ignore=ignore)  # type: ignore[arg-type]
        for identity, (point, ignore) in points.items()
    }
