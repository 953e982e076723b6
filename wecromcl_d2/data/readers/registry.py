"""The benchmarks by name: files, reader, licence and source of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog

from ..datasets import LabelError, dataset_root, load_dataset
from ..records import LabelRecords
from .abcnet import read_abcnet
from .base import ImageGT
from .cocotext import read_cocotext
from .ctw1500 import read_ctw1500_text, read_ctw1500_xml
from .icdar import read_icdar2013, read_icdar2015, read_mlt
from .official import read_official
from .synthtext import read_synthtext
from .tables import read_table
from .totaltext import read_totaltext

# Called with the ground truth's path and the tally, and with options of its own by name.
Reader = Callable[..., Iterator[ImageGT]]

_NO_LICENCE = "none stated"
_OWN = "where you have them from"
_SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Part:
    """Images and their ground truth. Names are relative to the benchmark's folder.

    Attributes:
        read: reader of the ground truth.
        images: names that the image folder may have.
        ground_truth: names that the ground truth may have: of a file, a folder, or the zip archive
            of a folder.
        options: options of the reader that belong to the part.
    """

    read: Reader
    images: tuple[str, ...]
    ground_truth: tuple[str, ...]
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Split:
    """A split of a benchmark.

    Attributes:
        parts: what it consists of; the first name of each is the one to recommend.
        count: number of annotated images as published; None if there is no such number.
    """

    parts: tuple[Part, ...]
    count: int | None = None


@dataclass(frozen=True)
class Benchmark:
    """A published set, or a format that other sets come in.

    Attributes:
        title: what it is.
        splits: its annotated splits.
        page: where to get it.
        licence: as stated there.
        level: what one text is: `word` or `line`.
    """

    title: str
    splits: dict[str, Split]
    page: str = _OWN
    licence: str = _NO_LICENCE
    level: str = "word"


def _folders(
    read: Reader,
    split: str,
    images: tuple[str, ...] = (),
    ground_truth: tuple[str, ...] = (),
    count: int | None = None,
) -> Split:
    """Images and ground truth as one folder each, under a plain name or a published one."""
    return Split(
        (Part(read, (f"{split}_images", *images), (f"{split}_gts", *ground_truth)),), count
    )


def _folder_format(title: str, read: Reader) -> Benchmark:
    return Benchmark(title, {split: _folders(read, split) for split in _SPLITS})


def _file_format(title: str, read: Reader, *suffixes: str) -> Benchmark:
    """A ground-truth file for each split, beside the images."""
    splits = {}
    for split in _SPLITS:
        ground_truth = tuple(f"{split}{suffix}" for suffix in suffixes)
        splits[split] = Split((Part(read, (f"{split}_images", "images", "."), ground_truth),))
    return Benchmark(title, splits)


BENCHMARKS: dict[str, Benchmark] = {
    "icdar2013": Benchmark(
        "ICDAR 2013 Focused Scene Text",
        {
            "train": _folders(
                read_icdar2013,
                "train",
                ("Challenge2_Training_Task12_Images",),
                ("Challenge2_Training_Task1_GT",),
                229,
            ),
            "test": _folders(
                read_icdar2013,
                "test",
                ("Challenge2_Test_Task12_Images",),
                ("Challenge2_Test_Task1_GT",),
                233,
            ),
        },
        page="https://rrc.cvc.uab.es/?ch=2",
    ),
    "icdar2015": Benchmark(
        "ICDAR 2015 Incidental Scene Text",
        {
            "train": _folders(
                read_icdar2015,
                "train",
                ("ch4_training_images",),
                ("ch4_training_localization_transcription_gt",),
                1000,
            ),
            "test": _folders(
                read_icdar2015,
                "test",
                ("ch4_test_images",),
                ("Challenge4_Test_Task4_GT", "Challenge4_Test_Task1_GT"),
                500,
            ),
        },
        page="https://rrc.cvc.uab.es/?ch=4",
        licence="CC BY 4.0",
    ),
    "totaltext": Benchmark(
        "Total-Text",
        {
            split: _folders(
                read_totaltext,
                split,
                (f"Images/{folder}",),
                (f"Groundtruth/Polygon/{folder}", f"Groundtruth/Text/{folder}"),
                count,
            )
            for split, folder, count in (("train", "Train", 1255), ("test", "Test", 300))
        },
        page="https://github.com/cs-chan/Total-Text-Dataset",
        licence="BSD-3-Clause",
    ),
    "ctw1500": Benchmark(
        "SCUT-CTW1500",
        {
            "train": _folders(
                read_ctw1500_xml, "train", ground_truth=("ctw1500_train_labels",), count=1000
            ),
            "test": _folders(read_ctw1500_text, "test", ground_truth=("gt_ctw1500",), count=500),
        },
        page="https://github.com/Yuliang-Liu/Curve-Text-Detector",
        level="line",
    ),
    "synthtext": Benchmark(
        "SynthText in the Wild",
        {
            "train": Split(
                (Part(read_synthtext, ("SynthText", "."), ("SynthText/gt.mat", "gt.mat")),), 858750
            )
        },
        page="https://www.robots.ox.ac.uk/~vgg/data/scenetext/",
        licence="the publisher's own terms",
    ),
    "curvedsyntext": Benchmark(
        "CurvedSynText150k",
        {
            "train": Split(
                tuple(
                    Part(
                        read_abcnet,
                        (f"{part}/images", f"{part}/{images}"),
                        (f"{part}/train.json", f"{part}/annotations/train.json"),
                    )
                    for part, images in (
                        ("syntext1", "syntext_word_eng"),
                        ("syntext2", "emcs_imgs"),
                    )
                ),
                149050,
            )
        },
        page="https://github.com/aim-uofa/AdelaiDet/blob/master/datasets/README.md",
    ),
    "mlt2017": Benchmark(
        "ICDAR 2017 Multi-lingual Scene Text",
        {
            split: _folders(
                read_mlt,
                split,
                (f"ch8_{published}_images",),
                (f"ch8_{published}_localization_transcription_gt_v2",),
                count,
            )
            for split, published, count in (
                ("train", "training", 7200),
                ("val", "validation", 1800),
            )
        },
        page="https://rrc.cvc.uab.es/?ch=8",
        licence="CC BY 4.0",
    ),
    "mlt2019": Benchmark(
        "ICDAR 2019 Multi-lingual Scene Text",
        {"train": _folders(read_mlt, "train", count=10000)},
        page="https://rrc.cvc.uab.es/?ch=15",
    ),
}

FORMATS: dict[str, Benchmark] = {
    "quadrilaterals": _folder_format("folders like those of ICDAR 2015", read_icdar2015),
    "polygons": _folder_format("folders like those of Total-Text", read_totaltext),
    "cocotext": Benchmark(
        "COCO-Text, or JSON in its style",
        {
            split: Split(
                (
                    Part(
                        read_cocotext,
                        ("train2014", "images", "."),
                        ("cocotext.v2.json", "COCO_Text.json"),
                        {"subset": split},
                    ),
                )
            )
            for split in _SPLITS
        },
        page="https://bgshih.github.io/cocotext/",
        licence="CC BY 4.0",
    ),
    "abcnet": _file_format("JSON as ABCNet and SPTS read it", read_abcnet, ".json"),
    "official": _file_format("JSON of the authors of WeCromCL", read_official, ".json"),
    "table": _file_format("CSV or TSV of images and words", read_table, ".csv", ".tsv"),
}


def labels_name(split: str) -> str:
    """The name of a split's label file in the benchmark's folder."""
    return f"{split}.jsonl"


def register_benchmarks() -> None:
    """Register every split of `BENCHMARKS` as `NAME_SPLIT`. Reads nothing yet."""
    for name, benchmark in BENCHMARKS.items():
        for split in benchmark.splits:
            _register(name, benchmark, split)


def _register(name: str, benchmark: Benchmark, split: str) -> None:
    dataset = f"{name}_{split}"

    def load() -> LabelRecords:
        labels = dataset_root() / name / labels_name(split)
        if not labels.is_file():
            raise LabelError(
                f"dataset {dataset!r}: {labels} does not exist; put the files of {benchmark.page} "
                f"into {labels.parent} as docs/DATASETS.md shows, and run "
                f"wecromcl prepare {name}"
            )
        return load_dataset(dataset, labels)

    DatasetCatalog.register(dataset, load)
    MetadataCatalog.get(dataset).set(
        text_level=benchmark.level, source_page=benchmark.page, licence=benchmark.licence
    )
