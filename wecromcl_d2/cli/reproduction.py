"""The steps of `wecromcl reproduce`: required downloads, and commands in their order."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

from ..data.datasets import dataset_root, split_name
from ..data.readers.registry import BENCHMARKS
from ..data.readers.splits import locate
from ..evaluation.published import PAGE as LEXICON_PAGE
from ..evaluation.published import missing_lexicons
from ..stage1.checkpoint_names import official_names
from ..tasks import load_config
from ..weights_file import read_weights
from .comparison import PUBLISHED_ANCHORS, SPLITS, Row, anchor_rows, parts_of, spotting_rows
from .status import DONE, LOSSES
from .steps import (
    Step,
    drawing_step,
    evaluation_step,
    labels_step,
    names,
    read_metrics,
    train_step,
)
from .tiny import TINY

TARGETS = tuple(PUBLISHED_ANCHORS)
# Trained models start from torchvision's ResNet-50.
IMAGENET_PAGE = "https://download.pytorch.org/models/resnet50-19c8e357.pth"
PICTURES = 12
PARTIAL_HINT = "complete the download, or go on with what is there by --available"


@dataclass(frozen=True)
class Spotter:
    """The configs of a spotter.

    Attributes:
        folder: below configs/stage2.
        prefix: of their names.
        phases: trainings before the one on a single set, in order.
    """

    folder: str
    prefix: str
    phases: tuple[str, ...]

    def config(self, name: str) -> str:
        """Path of the config of a phase or a benchmark."""
        return f"configs/stage2/{self.folder}/{self.prefix}{name}.yaml"


_SRSTS_A_PHASES = ("pretrain_synthtext", "joint")
SPOTTERS = {
    "srsts_a": Spotter("srsts_a", "", _SRSTS_A_PHASES),
    "srsts_a_v2": Spotter("srsts_a", "v2_", _SRSTS_A_PHASES),
    "spts": Spotter("spts", "", ("pretrain",)),
    "spts_official": Spotter("spts", "official_", ("pretrain",)),
    "sptsv2": Spotter("spts", "sptsv2_", ("pretrain",)),
    "npts": Spotter("spts", "npts_", ("pretrain",)),
}


@dataclass(frozen=True)
class Task:
    """A step, and a function that returns its rows of the table after it has finished."""

    step: Step
    rows: Callable[[], list[Row]] | None = None


@dataclass(frozen=True)
class Reproduction:
    """Options of a reproduction, and its steps.

    Attributes:
        targets: benchmarks to evaluate on.
        stage1: `official` or `ours`, the configs of the anchor detector.
        spotter: one of `SPOTTERS`, or None for stage 1 alone.
        output: folder of all results.
        pretrained: weights from which the detector is fine-tuned; None to train them.
        imagenet: torchvision's file of ResNet-50.
        available: continue with the existing images and lexicons if others are missing.
        tiny: tiny models and short trainings.
        processes: number of processes of a training.
        opts: KEY VALUE pairs that override all configs.
    """

    targets: tuple[str, ...]
    stage1: str
    spotter: str | None
    output: Path
    pretrained: Path | None
    imagenet: Path
    available: bool
    tiny: bool
    processes: int
    opts: tuple[str, ...]

    def missing(self) -> dict[str, list[str]]:
        """Lines on each missing download, by its name and source."""
        found: dict[str, list[str]] = {}
        for dataset in self.wanted:
            if lines := _missing_files(dataset):
                found[f"{dataset}, from {BENCHMARKS[parts_of(dataset)[0]].page}"] = lines
        if self.needs_imagenet and not self.imagenet.is_file():
            found[f"ImageNet weights, from {IMAGENET_PAGE}"] = [f"file: {self.imagenet}"]
        for target in self.targets if self.spotter else ():
            lines = missing_lexicons(target, dataset_root() / target)
            if lines:
                source = f"{LEXICON_PAGE} or {BENCHMARKS[target].page}"
                found[f"lexicons of {target}, from {source}"] = lines
        return found

    @cached_property
    def wanted(self) -> tuple[str, ...]:
        """All datasets of the targets and trainings, in the order of their conversion."""
        own = [f"{target}_{split}" for target in self.targets for split in SPLITS]
        first = () if self.pretrained else self._trained_on(self._stage1_config("pretrain"))
        chain = [name for config in self._phases for name in self._trained_on(config)]
        return tuple(dict.fromkeys([*own, *first, *chain]))

    @cached_property
    def datasets(self) -> tuple[str, ...]:
        """The datasets of `wanted` that are used."""
        return tuple(name for name in self.wanted if not (self.available and _missing_files(name)))

    @property
    def needs_imagenet(self) -> bool:
        """Whether a training starts from ImageNet weights."""
        return self.pretrained is None or self._family == "spts"

    def tasks(self) -> Iterator[Task]:
        """All steps in their order."""
        yield from map(Task, self._conversions())
        detectors = tuple(t for t in TARGETS if f"{t}_train" in self.datasets)
        yield from map(Task, self._pretraining())
        for target in detectors:
            yield from self._detector(target)
        if self.spotter is not None:
            yield from map(Task, self._labels(detectors))
            yield from self._spotting()

    def _conversions(self) -> Iterator[Step]:
        accepted = (DONE, LOSSES) if self.available else (DONE,)
        prepared: dict[str, list[str]] = {}
        for dataset in self.datasets:
            benchmark, split = parts_of(dataset)
            prepared.setdefault(benchmark, []).append(split)
        for action, options in (("check", ("--check",)), ("prepare", ())):
            for benchmark, splits in prepared.items():
                all_splits = set(splits) == set(BENCHMARKS[benchmark].splits)
                for split in [""] if all_splits else splits:
                    one = ("--split", split) if split else ()
                    name = "-".join(filter(None, (action, benchmark, split)))
                    command = (benchmark, *one, *options)
                    yield Step(name, "prepare", command, accepted, hint=PARTIAL_HINT)
        if self.needs_imagenet and (not self.available or self.imagenet.is_file()):
            arguments = ("--source", "torchvision", str(self.imagenet), str(self._resnet))
            yield Step("convert-imagenet", "convert", arguments)
        if self._is_published:
            arguments = ("--source", "official", str(self.pretrained), self._first_weights)
            yield Step("convert-pretrained", "convert", arguments)

    def _pretraining(self) -> Iterator[Step]:
        config = self._stage1_config("pretrain")
        data = self._used(config)
        if self.pretrained is None and data:
            start = ("MODEL.WEIGHTS", self._imagenet_weights, "DATASETS.TRAIN", names(*data))
            yield self._training("anchors-pretrain", config, "stage1", start)

    def _detector(self, target: str) -> Iterator[Task]:
        """Fine-tuning on one set, and for a target its measurement."""
        config, name = self._stage1_config(target), f"anchors-{target}"
        yield Task(self._training(name, config, "stage1", ("MODEL.WEIGHTS", self._first_weights)))
        if target not in self.targets:
            return
        weights, opts = self._weights(name), self._opts("stage1", name)
        data = [f"{target}_{split}" for split in SPLITS]
        step = evaluation_step(f"{name}-test", config, weights, data, opts)
        yield Task(step, partial(self._anchor_rows, name, data))
        model = (config, weights, data[-1], self.output / "pictures" / name)
        yield Task(self._drawing(f"{name}-pictures", "anchors", *model, "stage1"))

    def _labels(self, detectors: tuple[str, ...]) -> Iterator[Step]:
        """Pseudo points for every set that a spotter trains on."""
        configs = (*self._phases, *map(self._spotter_config, self.targets))
        sources = [(d, s) for config in configs for d, s in self._sources(config).items()]
        for dataset in dict.fromkeys(name for name, source in sources if source != name):
            benchmark = parts_of(dataset)[0]
            own = benchmark in detectors
            config = self._stage1_config(benchmark if own else "pretrain")
            weights = self._weights(f"anchors-{benchmark}") if own else self._first_weights
            share = ("--num-gpus", str(self.processes), *self._overrides("stage1"))
            output = self._points(dataset)
            yield labels_step(f"points-{dataset}", config, weights, dataset, output, *share)

    def _spotting(self) -> Iterator[Task]:
        """The trainings of a spotter and its measurement on each target."""
        assert self.spotter is not None
        start = ("MODEL.WEIGHTS", "", "MODEL.BACKBONE.WEIGHTS", self._backbone)
        for config in self._phases:
            data = self._used(config)
            if not data:
                continue
            name = f"{self.spotter}-{Path(config).stem}"
            opts = (*start, *self._trains(config), *self._proportions(config, data))
            yield Task(self._training(name, config, self._family, opts))
            start = ("MODEL.WEIGHTS", self._weights(name), "MODEL.BACKBONE.WEIGHTS", "")
        for target in self.targets:
            config, name = self._spotter_config(target), f"{self.spotter}-{target}"
            opts = (*start, *self._trains(config))
            yield Task(self._training(name, config, self._family, opts))
            weights, dataset = self._weights(name), f"{target}_test"
            opts = self._opts(self._family, name)
            step = evaluation_step(f"{name}-test", config, weights, [dataset], opts)
            yield Task(step, partial(self._spotting_rows, name, dataset))
            model = (config, weights, dataset, self.output / "pictures" / name)
            yield Task(self._drawing(f"{name}-pictures", "words", *model, self._family))

    def _anchor_rows(self, name: str, datasets: Sequence[str]) -> list[Row]:
        folder = self.output / name
        measured = {dataset: read_metrics(folder, dataset, "anchors") for dataset in datasets}
        return [
            row
            for dataset, metrics in measured.items()
            for row in anchor_rows(dataset, metrics, self.stage1, self._models)
        ]

    def _spotting_rows(self, name: str, dataset: str) -> list[Row]:
        metrics = read_metrics(self.output / name, dataset, "spotting")
        return spotting_rows(dataset, metrics, self.stage1, self.spotter or "", self._models)

    @property
    def _models(self) -> str:
        return "tiny" if self.tiny else "full"

    def _training(self, name: str, config: str, kind: str, own: tuple[str, ...]) -> Step:
        """A training without evaluation on test images, which follows once, after it."""
        opts = (*self._opts(kind, name), *own, "DATASETS.TEST", names())
        return train_step(name, config, opts, self.processes)

    def _drawing(
        self, name: str, what: str, config: str, weights: str, dataset: str, folder: Path, kind: str
    ) -> Step:
        options = ("--count", str(PICTURES), *self._overrides(kind))
        return drawing_step(name, what, config, weights, dataset, folder, *options)

    def _overrides(self, kind: str) -> tuple[str, ...]:
        tiny = TINY[kind] if self.tiny else {}
        return (*(word for key, value in tiny.items() for word in (key, str(value))), *self.opts)

    def _opts(self, kind: str, name: str) -> tuple[str, ...]:
        return (*self._overrides(kind), "OUTPUT_DIR", str(self.output / name))

    def _weights(self, name: str) -> str:
        """The last checkpoint of a training: none is chosen on test images."""
        return str(self.output / name / "model_final.pth")

    def _points(self, dataset: str) -> Path:
        return self.output / "points" / f"{dataset}.jsonl"

    def _labels_name(self, dataset: str) -> str:
        """Dataset name of the labels by `wecromcl anchors`, with the root of all datasets."""
        return f"{self._points(dataset)}@{os.path.abspath(dataset_root())}"

    def _trained_on(self, config: str) -> tuple[str, ...]:
        """Datasets of a config's DATASETS.TRAIN; of a label file, the set that it labels."""
        found = {name: split_name(name) for name in load_config(config).DATASETS.TRAIN}
        return tuple(parts[0].stem if parts else name for name, parts in found.items())

    def _sources(self, config: str) -> dict[str, str]:
        """What a spotter trains on, by dataset that is used: its labels or, as for NPTS, itself."""
        found = dict(zip(self._trained_on(config), load_config(config).DATASETS.TRAIN, strict=True))
        return {
            dataset: dataset if name == dataset else self._labels_name(dataset)
            for dataset, name in found.items()
            if dataset in self.datasets
        }

    def _trains(self, config: str) -> tuple[str, ...]:
        return ("DATASETS.TRAIN", names(*self._sources(config).values()))

    def _proportions(self, config: str, data: Sequence[str]) -> tuple[str, ...]:
        """Shares of those datasets that are used, where a config gives shares to others, too."""
        given, all_data = load_config(config).DATASETS.PROPORTIONS, self._trained_on(config)
        if not given or len(data) == len(all_data):
            return ()
        shares = dict(zip(all_data, given, strict=True))
        return ("DATASETS.PROPORTIONS", repr(tuple(shares[name] for name in data)))

    def _used(self, config: str) -> tuple[str, ...]:
        return tuple(name for name in self._trained_on(config) if name in self.datasets)

    def check_opts(self) -> None:
        """Refuse a change that the configs do not know, before hours of conversion.

        Raises:
            ValueError: naming the key or the value.
        """
        configs = [self._stage1_config(target) for target in self.targets]
        if self.spotter:
            configs += map(self._spotter_config, self.targets)
        for config in configs:
            load_config(config, self.opts)

    def _stage1_config(self, name: str) -> str:
        stem = "pretrain_synthtext" if name == "pretrain" else name
        return f"configs/stage1/{'official_' if self.stage1 == 'official' else ''}{stem}.yaml"

    def _spotter_config(self, name: str) -> str:
        return SPOTTERS[self.spotter or ""].config(name)

    @property
    def _family(self) -> str:
        return SPOTTERS[self.spotter].folder if self.spotter else ""

    @cached_property
    def _phases(self) -> tuple[str, ...]:
        """Configs of the trainings before the one on a target."""
        if self.spotter is None:
            return ()
        return tuple(map(self._spotter_config, SPOTTERS[self.spotter].phases))

    @property
    def _resnet(self) -> Path:
        return self.output / "weights" / "R-50.pth"

    @property
    def _imagenet_weights(self) -> str:
        """Weights that a first training starts from; none for tiny models, as they do not fit."""
        missing = self.available and not self.imagenet.is_file()
        return "" if self.tiny or missing else str(self._resnet)

    @cached_property
    def _first_weights(self) -> str:
        """Checkpoint of the detector before fine-tuning."""
        if self._is_published:
            return str(self.output / "weights" / "pretrained.pth")
        if self.pretrained is not None:
            return str(self.pretrained)
        trained = bool(self._used(self._stage1_config("pretrain")))
        return self._weights("anchors-pretrain") if trained else self._imagenet_weights

    @cached_property
    def _is_published(self) -> bool:
        """Whether `pretrained` is a file of the authors, whose names differ from ours."""
        if self.pretrained is None or not self.pretrained.is_file():
            return False
        found = {name.removeprefix("module.") for name in read_weights(self.pretrained)}
        return len(found & set(official_names())) > len(found & set(official_names().values()))

    @property
    def _backbone(self) -> str:
        """Weights of a spotter's backbone: for SPTS those of ImageNet, for SRSTS-A stage 1's."""
        return self._imagenet_weights if self._family == "spts" else self._first_weights


def _missing_files(dataset: str) -> list[str]:
    """A line on each missing download of a dataset."""
    benchmark, split = parts_of(dataset)
    root = dataset_root() / benchmark
    found = locate(BENCHMARKS[benchmark].splits[split], root)
    return [line for part in found for line in part.missing(root)]
