"""Grids: files that name what a study compares, and the runs that follow from them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import yaml
from detectron2.config import CfgNode
from detectron2.modeling import META_ARCH_REGISTRY, build_model

from wecromcl_d2.stage1 import NEGATIVE_SAMPLERS, WeCromCL
from wecromcl_d2.tasks import load_config

# Entries of a grid, the first three of which it must have.
ENTRIES = ("question", "metric", "variants")
OPTIONAL = (
    "config",
    "spotter",
    "detector",
    "test",
    "seeds",
    "settings",
    "values",
    "reach",
    "against",
    "also",
)
# Entries of a variant beside KEY: VALUE, which concern both stages.
OWN_ENTRIES = ("config", "spotter", "test", "anchors", "spotting", "true_percent")
SEEDS = (0, 1, 2)
TEST = "synth_scenes_test"


class GridError(ValueError):
    """A grid that cannot be run; the message names the file, the entry and the remedy."""


def file_name(text: str) -> str:
    """A text as the name of a file or folder."""
    return re.sub(r"[^\w.]+", "_", text)


@dataclass(frozen=True)
class Run:
    """One training of a study, of one stage or of both.

    Attributes:
        variant: name of the variant.
        value: of the key that the grid's `values` names; None without one.
        seed: SEED of the configs.
        config: config of stage 1; empty if the spotter is trained on the points of its datasets.
        spotter: config of stage 2; empty for stage 1 alone.
        test: dataset on which it is measured.
        opts: KEY VALUE pairs for both stages.
        anchor_opts: KEY VALUE pairs for stage 1.
        spotter_opts: KEY VALUE pairs for stage 2.
        true_percent: share of the images whose points are the centers of the outlines, while those
            of the others are anchors of the shared detector; None for the points of the datasets.
    """

    variant: str
    value: Any
    seed: int
    config: str
    spotter: str
    test: str
    opts: tuple[str, ...]
    anchor_opts: tuple[str, ...] = ()
    spotter_opts: tuple[str, ...] = ()
    true_percent: int | None = None

    @property
    def name(self) -> str:
        """Name of the run, which is that of its folder."""
        return f"{self.label}-seed{self.seed}"

    @property
    def label(self) -> str:
        """Name without the seed."""
        parts = (self.variant, *(() if self.value is None else (str(self.value),)))
        return "-".join(map(file_name, parts))

    @property
    def stages(self) -> dict[str, tuple[str, tuple[str, ...]]]:
        """Config and KEY VALUE pairs of each stage that is trained, by the name of its folder."""
        found = {
            "anchors": (self.config, (*self.opts, *self.anchor_opts)),
            "spotting": (self.spotter, (*self.opts, *self.spotter_opts)),
        }
        return {name: stage for name, stage in found.items() if stage[0]}

    @property
    def is_apart(self) -> bool:
        """Whether `wecromcl pipeline` runs stage 1 alone, as its model is none of our detectors."""
        if not (self.config and self.spotter):
            return False
        name = self.load_configs()["anchors"].MODEL.META_ARCHITECTURE
        return not issubclass(META_ARCH_REGISTRY.get(name), WeCromCL)

    def load_configs(self) -> dict[str, CfgNode]:
        """The config of each stage.

        Raises:
            ValueError: for a wrong config file, key or value.
        """
        return {name: load_config(config, opts) for name, (config, opts) in self.stages.items()}


@dataclass(frozen=True)
class Grid:
    """What a study compares.

    Attributes:
        name: of the grid, that of its file.
        question: that the study answers.
        metric: by its path in the summary of a run, such as "anchors/inside_rate".
        also: further metrics, shown in the table.
        against: another metric, over which the first is drawn; empty for none.
        reach: value of the validation metric, TEST.BEST_METRIC of the config, the iterations up to
            which are counted; None for none.
        key: config key that the runs of a variant differ in; empty for none.
        runs: by seed, so that an unfinished study has all variants with few seeds.
        detectors: by seed the training of the anchor detector that all runs of the seed share;
            empty for none.
    """

    name: str
    question: str
    metric: str
    also: tuple[str, ...]
    against: str
    reach: float | None
    key: str
    runs: tuple[Run, ...]
    detectors: dict[int, Run]


def read_grid(path: Path, seeds: Sequence[int] | None = None, opts: Sequence[str] = ()) -> Grid:
    """Read a grid and check the config of each of its variants.

    Args:
        path: YAML file; projects/studies/README.md describes its entries.
        seeds: in place of those of the grid.
        opts: KEY VALUE pairs for all runs, after those of the grid.

    Raises:
        GridError: for anything that is wrong in it.
        FileNotFoundError: if there is no such file.
    """
    content = _read_mapping(path)
    known = (*ENTRIES, *OPTIONAL)
    missing = [name for name in ENTRIES if not content.get(name)]
    unknown = [str(name) for name in content if name not in known]
    if missing or unknown:
        problem = f"has no {missing[0]!r}" if missing else f"has an unknown entry {unknown[0]!r}"
        raise GridError(f"{path} {problem}; a grid has {', '.join(ENTRIES)} and may have "
                        f"{', '.join(OPTIONAL)}")  # fmt: skip
    variants = _mapping(path, "variants", content["variants"])
    values = _mapping(path, "values", content.get("values", {}))
    if len(values) > 1 or not all(isinstance(v, list) and v for v in values.values()):
        raise GridError(f"{path}: 'values' names one key and a list, as KEY: [1, 2, 3]")
    chosen = tuple(seeds or content.get("seeds", SEEDS))
    if not all(isinstance(seed, int) and seed >= 0 for seed in chosen):
        raise GridError(f"{path}: 'seeds' is {list(chosen)}; give whole numbers from 0 on")
    settings = _mapping(path, "settings", content.get("settings", {}))
    base = {name: content.get(name, "") for name in ("config", "spotter")}
    base["test"] = content.get("test", TEST)
    runs = []
    for seed, (name, own) in product(chosen, variants.items()):
        variant = settings | _mapping(path, f"variants: {name}", own)
        runs += _runs_of(path, str(name), base | variant, values, seed, opts)
    detectors = {}
    if "detector" in content:
        shared = {"config": content["detector"], "spotter": "", "test": base["test"]}
        for seed in chosen:
            (detectors[seed],) = _runs_of(path, "detector", shared, {}, seed, opts)
    _check(path, [*detectors.values(), *runs], bool(detectors))
    check_mixed(path, runs, bool(detectors))
    return Grid(
        name=path.stem,
        question=content["question"],
        metric=content["metric"],
        also=tuple(content.get("also", ())),
        against=content.get("against", ""),
        reach=content.get("reach"),
        key=next(iter(values), ""),
        runs=tuple(runs),
        detectors=detectors,
    )


def _runs_of(
    path: Path,
    name: str,
    variant: Mapping[str, Any],
    values: Mapping[str, Sequence[Any]],
    seed: int,
    opts: Sequence[str],
) -> list[Run]:
    """The runs of a variant with one seed.

    A variant that sets the key of `values` by itself has that value alone.
    """
    (key, listed) = next(iter(values.items()), ("", [None]))
    runs = []
    for value in [variant[key]] if key in variant else listed:
        own = {**variant, key: value} if key else variant
        both = {k: v for k, v in own.items() if k not in OWN_ENTRIES}
        stages = [_mapping(path, stage, own.get(stage, {})) for stage in ("anchors", "spotting")]
        run = Run(
            variant=name,
            value=value,
            seed=seed,
            config=own["config"],
            spotter=own["spotter"],
            test=own["test"],
            opts=(*_pairs(both), "SEED", str(seed), *opts),
            anchor_opts=_pairs(stages[0]),
            spotter_opts=_pairs(stages[1]),
            true_percent=own.get("true_percent"),
        )
        runs.append(run)
    return runs


def _pairs(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """KEY VALUE pairs as words of a command line."""
    return tuple(word for key, value in settings.items() for word in (str(key), _word(value)))


def _word(value: Any) -> str:
    return value if isinstance(value, str) else repr(value)


def _read_mapping(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no grid {path}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise GridError(f"{path} is no YAML: {' '.join(str(error).split())}") from error
    return _mapping(path, "the file", content)


def _mapping(path: Path, name: str, value: Any) -> dict[str, Any]:
    """The value, checked to be a mapping."""
    if not isinstance(value, dict):
        raise GridError(f"{path}: {name} is {value!r}; write NAME: VALUE lines below it")
    return value


def check_mixed(path: Path, runs: Sequence[Run], has_detector: bool) -> None:
    """Check the runs whose points are true in a share of the images.

    Raises:
        GridError: if one of them cannot be run.
    """
    for run in runs:
        percent = run.true_percent
        if percent is None:
            continue
        whole = isinstance(percent, int) and 0 <= percent <= 100
        if not whole or not has_detector or not run.spotter or run.config:
            raise GridError(
                f"{path}: variant {run.variant!r} has true_percent {percent!r}; it takes a whole "
                "number up to 100, a 'detector' of the grid, a 'spotter' and no 'config'"
            )


def _check(path: Path, runs: Sequence[Run], shared: bool) -> None:
    """Build the models of all variants, so that a mistake shows before hours of training."""
    names = [run.name for run in runs]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise GridError(f"{path}: two runs are called {twice!r}; give variants other names")
    built = set()
    for run in runs:
        if run.seed != runs[0].seed:
            continue
        if not run.stages:
            raise GridError(f"{path}: variant {run.variant!r} has neither 'config' nor 'spotter'")
        fixed = {"DATASETS.TRAIN", "SOLVER.CURRICULUM.DATASETS"} & {*run.opts, *run.spotter_opts}
        if run.config and run.spotter and fixed:
            raise GridError(
                f"{path}: variant {run.variant!r} sets {min(fixed)} of a spotter that is trained "
                "on anchors, whose datasets the pipeline names; write it into the spotter's config"
            )
        try:
            if shared and run.is_apart:
                raise ValueError("its detector cannot share the 'detector' of the grid; remove one")
            for cfg in run.load_configs().values():
                if str(cfg.MODEL) not in built:
                    build_model(cfg)
                    built.add(str(cfg.MODEL))
                NEGATIVE_SAMPLERS.get(cfg.DATALOADER.SAMPLING.NEGATIVES)
        except Exception as error:  # registries, configs and models refuse by errors of many types
            # The text of a KeyError is its message in quotes.
            message = error.args[0] if isinstance(error, KeyError) and error.args else error
            first = str(message).strip().splitlines()[0]
            raise GridError(f"{path}: variant {run.variant!r}: {first}") from error
