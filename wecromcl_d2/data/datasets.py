"""The label format of the project, and its registration as Detectron2 datasets.

A label file is UTF-8, either JSON lines (`*.jsonl`, one record a line) or JSON (`*.json`, a
list of records). A record describes one image::

    {"file_name": "img_1.jpg", "height": 720, "width": 1280, "texts": ["Hill", "Street"],
     "points": [[258.0, 74.5], null], "polygons": [[211, 64, 305, 61, 306, 85, 211, 88], null],
     "ignore": [false, true]}

Points are (x, y) in pixels of the image, continuous in `[0, width] x [0, height]`; polygons are
`x1, y1, x2, y2, ...`. `docs/DATASETS.md` describes every key.
"""

from __future__ import annotations

import json
import os
import posixpath
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog

from ..files import replace_file
from ..own_modules import unknown_dataset
from .first_uses import FirstUses
from .images import ImageError, image_exists, upright_size
from .label_cache import load_table
from .label_format import (
    LabelError,
    PathLike,
    Record,
    check_record,
    is_list_file,
    ordered,
    usable_words,
)
from .records import LabelRecords
from .shards import ShardError

__all__ = [
    "LabelError",
    "Record",
    "dataset_root",
    "ensure_registered",
    "label_path",
    "load_dataset",
    "read_labels",
    "register_labels",
    "split_name",
    "usable_words",
    "write_labels",
]

_COMMON_ROOT = "$DETECTRON2_DATASETS"
# Label files by the names that `register_labels` gave them.
_registered_files: dict[str, PathLike] = {}
# A label file as the name of a dataset, with the image root after an "@" if it is another folder.
_FILE_NAME = re.compile(r"(?P<path>.+?\.jsonl?)(?:@(?P<root>.+))?")


def dataset_root() -> Path:
    """The folder of all datasets: `$DETECTRON2_DATASETS` or `datasets`."""
    return Path(os.environ.get("DETECTRON2_DATASETS", "datasets")).expanduser()


def read_labels(path: PathLike, image_root: PathLike | None = None) -> LabelRecords:
    """Read and check a label file; a large one is checked once, see `label_cache`.

    Args:
        path: file ending in `.jsonl` (one record a line) or `.json` (a list of records).
        image_root: folder that `file_name` is relative to; the label file's folder by default.

    Returns:
        One Detectron2 dataset dict per record, made anew at each access: the record with
        `file_name` joined to the root and with an `image_id` (the record's own, else `file_name`
        without its suffix).

    Raises:
        LabelError: if the file cannot be read or has no record or a bad one.
    """
    path = Path(path)
    return LabelRecords(load_table(path), path.parent if image_root is None else Path(image_root))


def write_labels(path: PathLike, records: Iterable[Record]) -> None:
    """Check records and write them as a label file; if that fails, an old file is kept.

    Args:
        path: target, ending in `.jsonl` or `.json`.
        records: records whose `file_name` is relative to the image root.

    Raises:
        LabelError: if the suffix or a record is bad, or there is no record.
        OSError: if the file cannot be written.
    """
    path = Path(path)
    as_list = is_list_file(path)
    names = FirstUses("file_name", "merge the two records")
    number = 0
    with replace_file(path) as stream:
        stream.write(b"[\n" if as_list else b"")
        for number, value in enumerate(records, start=1):
            try:
                check_record(value)
                names.check(posixpath.normpath(value["file_name"]), number)
            except LabelError as error:
                raise LabelError(f"{path}: record {number}: {error}") from None
            line = json.dumps(ordered(value), ensure_ascii=False, allow_nan=False)
            separator = ",\n" if as_list else "\n"
            stream.write((separator if number > 1 else "").encode() + line.encode())
        if not number:
            raise LabelError(f"{path}: no record to write")
        stream.write(b"\n]\n" if as_list else b"\n")


def register_labels(
    name: str, path: PathLike, image_root: PathLike | None = None, **metadata: Any
) -> None:
    """Register a label file as a Detectron2 dataset. The file is read at its first use.

    Args:
        name: dataset name for `DATASETS.TRAIN` and `DATASETS.TEST`.
        path: label file; a relative path starts at `dataset_root()`.
        image_root: image folder, relative to `dataset_root()`; the label file's by default.
        metadata: attributes for `MetadataCatalog.get(name)`.
    """

    def load() -> LabelRecords:
        root = dataset_root()
        images = None if image_root is None else root / image_root
        return load_dataset(name, root / path, images)

    DatasetCatalog.register(name, load)
    _registered_files[name] = path
    MetadataCatalog.get(name).set(**metadata)


def ensure_registered(name: str) -> None:
    """Register a label file that is given in place of the name of a dataset.

    `FILE.jsonl` or `FILE.json`, or with another image root than the file's folder
    `FILE.jsonl@IMAGE_ROOT`, is registered under exactly this name; relative paths start at the
    working directory, and `$DETECTRON2_DATASETS` is `dataset_root()`. Registered names stay.

    Args:
        name: an entry of `DATASETS.TRAIN` or `DATASETS.TEST`.

    Raises:
        LabelError: for a name that is neither.
    """
    known = DatasetCatalog.list()
    if name in known:
        return
    parts = split_name(name)
    if parts is None:
        # Label files that were named before are no names that somebody gave.
        raise LabelError(unknown_dataset(name, [other for other in known if not split_name(other)]))
    path, root = parts
    images = None if root is None else os.path.abspath(root)
    register_labels(name, os.path.abspath(path), images)


def split_name(name: str) -> tuple[Path, Path | None] | None:
    """The label file and the image root of a `FILE` or `FILE@IMAGE_ROOT`, see `ensure_registered`.

    Returns:
        Both as they are given, the root None where the name has none; None for any other name.
    """
    parts = _FILE_NAME.fullmatch(name)
    if parts is None:
        return None
    root = parts["root"]
    if root == _COMMON_ROOT:
        return Path(parts["path"]), dataset_root()
    return Path(parts["path"]), None if root is None else Path(root)


def label_path(name: str) -> str | None:
    """The absolute path of a dataset's label file; None for other datasets and unknown names."""
    parts = split_name(name)
    if parts is not None:
        return os.path.abspath(parts[0])
    if name in DatasetCatalog.list() and name in _registered_files:
        return os.path.abspath(dataset_root() / _registered_files[name])
    return None


def load_dataset(name: str, path: PathLike, image_root: PathLike | None = None) -> LabelRecords:
    """Read a registered dataset's labels and check that at least one image is usable.

    Raises:
        LabelError: naming the dataset, if the labels are bad, no image has a usable word, or
            the file of the first such image does not exist.
    """
    try:
        records = read_labels(path, image_root)
    except LabelError as error:
        start = (
            f"relative paths start at {str(dataset_root())!r}; set DETECTRON2_DATASETS to change it"
        )
        hint = "wecromcl anchors writes files of found points" if split_name(name) else start
        raise LabelError(f"dataset {name!r}: {error} ({hint})") from error
    records = _complete_sizes(name, records)
    usable = np.flatnonzero(np.diff(records.table.bounds))
    if not len(usable):
        raise LabelError(
            f"dataset {name!r}: none of the {len(records)} images of {path} has a word that is "
            "neither empty nor ignored; nothing can be trained or evaluated on such images"
        )
    image = records[int(usable[0])]["file_name"]
    try:
        exists = image_exists(image)
    except ShardError as error:
        raise LabelError(f"dataset {name!r}: {error}") from error
    if not exists:
        raise LabelError(
            f"dataset {name!r}: image {image!r} of {path} does not exist; {_remedy(name)}"
        )
    return records


def _remedy(name: str) -> str:
    """What to do if the images of a dataset are not where it says."""
    parts = split_name(name)
    if parts is None or name.endswith(_COMMON_ROOT):
        return "correct image_root or DETECTRON2_DATASETS"
    return f"name the folder of the images after the @: {parts[0]}@FOLDER"


def _complete_sizes(name: str, records: LabelRecords) -> LabelRecords:
    """Read the sizes that records do not state from the headers of their images.

    Args:
        name: of the dataset, for messages.
        records: of a label file.

    Raises:
        LabelError: naming the dataset, if the image of such a record cannot be read.
    """
    unstated = np.flatnonzero(records.sizes[:, 0] == 0)
    if not len(unstated):
        return records
    sizes = records.sizes.copy()
    for index in unstated.tolist():
        try:
            sizes[index] = upright_size(records[index]["file_name"])
        except ImageError as error:
            raise LabelError(
                f"dataset {name!r}: {error}; its size is not stated either: {_remedy(name)}, or "
                "remove the record"
            ) from None
    return LabelRecords(records.table, records.root, sizes)
