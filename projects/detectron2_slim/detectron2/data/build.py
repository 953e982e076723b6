"""Loaders of training and test data, from a config or from explicit parts."""

import logging
from operator import itemgetter
from typing import Any

import torch
from torch.utils.data import DataLoader

from detectron2.config import CfgNode, configurable
from detectron2.utils.comm import get_world_size
from detectron2.utils.env import seed_all_rng

from .catalog import DatasetCatalog
from .common import AspectRatioGroupedDataset, DatasetFromList, MapDataset, ToIterableDataset
from .samplers import InferenceSampler, TrainingSampler


def get_detection_dataset_dicts(names: str | list[str], filter_empty: bool = True) -> list[dict]:
    """Load registered datasets and join them.

    Args:
        names: one name or several.
        filter_empty: leave out images whose annotations are absent or all `iscrowd`; looks only
            at data whose first record has `annotations`.

    Returns:
        A list of records. An empty dataset is an `AssertionError` that names it.
    """
    records: list[dict] = []
    for name in [names] if isinstance(names, str) else names:
        loaded = DatasetCatalog.get(name)
        assert len(loaded), f"Dataset '{name}' is empty!"
        records += loaded
    if filter_empty and records and "annotations" in records[0]:
        kept = [r for r in records if any(not a.get("iscrowd", 0) for a in r["annotations"])]
        dropped = len(records) - len(kept)
        logging.getLogger(__name__).info(f"Removed {dropped} images with no usable annotations.")
        records = kept
    assert records, f"No valid data found in {names}."
    return records


def build_batch_data_loader(dataset: Any, sampler: Any, total_batch_size: int, **kw: Any) -> Any:
    """Batches of this process, each a list of elements unless a `collate_fn` joins them.

    Args:
        dataset: indexed dataset.
        sampler: its order.
        total_batch_size: elements per step over all processes, divisible by their number.
        **kw: `aspect_ratio_grouping`, to batch wide and high images apart (off by default; needs
            `width` and `height`), and what torch's `DataLoader` takes, such as `num_workers`.
    """
    batch_size, rest = divmod(total_batch_size, get_world_size())
    assert batch_size > 0 and rest == 0, (
        f"a batch of {total_batch_size} must be divisible by {get_world_size()} processes"
    )
    dataset = ToIterableDataset(dataset, sampler, shard_chunk_size=batch_size)
    grouped, collate_fn = kw.pop("aspect_ratio_grouping", False), kw.pop("collate_fn", None)
    kw["worker_init_fn"] = worker_init_reset_seed
    if not grouped:
        kw = {"drop_last": True, "collate_fn": collate_fn or trivial_batch_collator, **kw}
        return DataLoader(dataset, batch_size, **kw)
    elements = DataLoader(dataset, collate_fn=itemgetter(0), **kw)
    batches = AspectRatioGroupedDataset(elements, batch_size)
    return MapDataset(batches, collate_fn) if collate_fn else batches


def _train_loader_from_config(
    cfg: CfgNode, mapper: Any, *, dataset: Any = None, sampler: Any = None
) -> dict[str, Any]:
    if dataset is None:
        filter_empty = cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS
        dataset = get_detection_dataset_dicts(cfg.DATASETS.TRAIN, filter_empty)
    if sampler is None:
        name = cfg.DATALOADER.SAMPLER_TRAIN
        remedy = "pass an object as sampler="
        assert name == "TrainingSampler", f"no DATALOADER.SAMPLER_TRAIN '{name}' here: {remedy}"
        sampler = TrainingSampler(len(dataset), seed=cfg.SEED)
    ret = {"dataset": dataset, "mapper": mapper, "sampler": sampler}
    ret["total_batch_size"] = cfg.SOLVER.IMS_PER_BATCH
    ret["aspect_ratio_grouping"] = cfg.DATALOADER.ASPECT_RATIO_GROUPING
    ret["num_workers"] = cfg.DATALOADER.NUM_WORKERS
    return ret


def _mapped(dataset: Any, mapper: Any) -> Any:
    if isinstance(dataset, list):
        dataset = DatasetFromList(dataset, copy=False)
    return dataset if mapper is None else MapDataset(dataset, mapper)


@configurable(from_config=_train_loader_from_config)
def build_detection_train_loader(
    dataset: Any, *, mapper: Any, sampler: Any = None, total_batch_size: int, **kw: Any
) -> Any:
    """Endless loader of mapped training batches; also callable with a config.

    Args:
        dataset: list of records or an indexed torch dataset.
        mapper: record -> model input, None to pass records on.
        sampler: defaults to a `TrainingSampler` with a random seed.
        total_batch_size: see `build_batch_data_loader`.
        **kw: see there; `aspect_ratio_grouping` is on by default.
    """
    sampler = sampler or TrainingSampler(len(dataset))
    kw.setdefault("aspect_ratio_grouping", True)
    return build_batch_data_loader(_mapped(dataset, mapper), sampler, total_batch_size, **kw)


def _test_loader_from_config(cfg: CfgNode, dataset_name: Any, mapper: Any) -> dict[str, Any]:
    dataset = get_detection_dataset_dicts(dataset_name, filter_empty=False)
    return {"dataset": dataset, "mapper": mapper, "num_workers": cfg.DATALOADER.NUM_WORKERS}


@configurable(from_config=_test_loader_from_config)
def build_detection_test_loader(dataset: Any, *, mapper: Any, **kw: Any) -> DataLoader:
    """Loader that gives every element once over all processes; also callable with a config.

    Args:
        dataset: list of records or an indexed torch dataset.
        mapper: record -> model input, None to pass records on.
        **kw: for torch's `DataLoader`, such as `num_workers`. By default the batch is a list of
            one element and the sampler an `InferenceSampler`.
    """
    kw.setdefault("collate_fn", trivial_batch_collator)
    kw["sampler"] = kw.get("sampler") or InferenceSampler(len(dataset))
    return DataLoader(_mapped(dataset, mapper), **kw)


def trivial_batch_collator(batch: list[Any]) -> list[Any]:
    """The batch as it is: a list of elements."""
    return batch


def worker_init_reset_seed(worker_id: int) -> None:
    """Give the loader worker `worker_id` its own state of all random generators."""
    seed_all_rng(torch.initial_seed() % 2**31 + worker_id)
