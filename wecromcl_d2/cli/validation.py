"""Validation images, on which weights and threshold are chosen; never the test images."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from ..data.datasets import Record, ensure_registered, label_path, usable_words, write_labels
from ..data.readers.registry import BENCHMARKS
from ..stage1.anchor_job import load_records
from .anchor_labels import choose_root, relative_name

_PUBLISHED_TESTS = {f"{name}_test" for name, item in BENCHMARKS.items() if "test" in item.splits}


def check_validation(datasets: Sequence[str], test: str) -> None:
    """Check that there are validation datasets and that none of them is a test set.

    Args:
        datasets: on which weights or threshold are chosen.
        test: on which the final figures are measured.

    Raises:
        ValueError: naming the dataset and the remedy.
    """
    remedy = "name others by --val, or split some off the training images by --hold-out 0.1"
    if not datasets:
        raise ValueError(f"there are no images to choose weights and threshold on; {remedy}")
    for name in datasets:
        if name in _PUBLISHED_TESTS or (label_path(name) or name) == (label_path(test) or test):
            raise ValueError(
                f"weights and threshold would be chosen on the test images of {name!r}; {remedy}"
            )


def check_label_files(datasets: Iterable[str]) -> None:
    """Check the labels of datasets and that their images are there, rather than after a training.

    Args:
        datasets: names; those without a label file, which may have to be rendered, are left alone.

    Raises:
        LabelError: naming the dataset and the remedy.
    """
    for name in datasets:
        ensure_registered(name)
        if label_path(name):
            load_records(name)


def hold_out(dataset: str, share: float, folder: Path) -> tuple[str, str]:
    """Split a dataset at random into training and validation images, always in the same way.

    Args:
        dataset: registered dataset or label file.
        share: share of the images with words that go into the validation part.
        folder: where `train.jsonl` and `val.jsonl` are written.

    Returns:
        The two parts as names of datasets, the larger one first.

    Raises:
        ValueError: if a part would be empty.
    """
    records = load_records(dataset)
    worded = [i for i, record in enumerate(records) if any(usable_words(record))]
    count = round(share * len(worded))
    if not 0 < count < len(worded):
        raise ValueError(
            f"--hold-out {share:g} of {len(worded)} images with words leaves a part of {dataset!r} "
            "empty"
        )
    held = set(np.random.default_rng(0).permutation(worded)[:count].tolist())
    root, _ = choose_root(records, folder / "train.jsonl")
    parts = {
        "train": [record for i, record in enumerate(records) if i not in held],
        "val": [records[i] for i in sorted(held)],
    }
    for name, part in parts.items():
        write_labels(folder / f"{name}.jsonl", _relative(part, root))
    return f"{folder / 'train.jsonl'}@{root}", f"{folder / 'val.jsonl'}@{root}"


def _relative(records: Iterable[Record], root: Path) -> Iterable[Record]:
    for record in records:
        yield record | {"file_name": relative_name(record, root)}
