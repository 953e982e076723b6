"""Loaders of training and test data, from a config or from explicit parts."""

import logging
from collections.abc import Callable
from operator import itemgetter
from typing import Any

import torch
from torch.utils.data import ConcatDataset, DataLoader, Dataset, IterableDataset

from detectron2.config import CfgNode, configurable
from detectron2.utils.comm import get_world_size
from detectron2.utils.env import seed_all_rng

from .catalog import DatasetCatalog
from .common import AspectRatioGroupedDataset, DatasetFromList, MapDataset, ToIterableDataset
from .dataset_mapper import DatasetMapper
from .samplers import InferenceSampler, TrainingSampler

logger = logging.getLogger(__name__)


def get_detection_dataset_dicts(names: str | list[str], filter_empty: bool = True) -> Any:
    """Load registered datasets and join them.

    Args:
        names: one name or several.
        filter_empty: leave out images whose annotations are absent or all `iscrowd`; looks only
            at data whose first record has `annotations`.

    Returns:
        A list of records, or the torch dataset(s) if that is what the functions return. An
        empty dataset is an `AssertionError` that names it.
    """
    names = [names] if isinstance(names, str) else names
    assert len(names), "no dataset given: DATASETS.TRAIN or the argument is empty"
    loaded = [DatasetCatalog.get(name) for name in names]
    if isinstance(loaded[0], Dataset):
        return ConcatDataset(loaded) if len(loaded) > 1 else loaded[0]
    for name, dicts in zip(names, loaded, strict=True):
        assert len(dicts), f"Dataset '{name}' is empty!"
    records = [record for dicts in loaded for record in dicts]
    if filter_empty and "annotations" in records[0]:
        kept = [r for r in records if any(not a.get("iscrowd", 0) for a in r["annotations"])]
        logger.info(f"Removed {len(records) - len(kept)} images with no usable annotations.")
        records = kept
    assert records, f"No valid data found in {', '.join(names)}."
    return records


def build_batch_data_loader(
    dataset: Any,
    sampler: Any,
    total_batch_size: int,
    *,
    aspect_ratio_grouping: bool = False,
    collate_fn: Callable | None = None,
    **kwargs: Any,
) -> Any:
    """Batches of this process, each a list of elements unless `collate_fn` joins them.

    Args:
        dataset: indexed or iterable dataset.
        sampler: order of an indexed dataset; None for an iterable one.
        total_batch_size: elements per step over all processes, divisible by their number.
        aspect_ratio_grouping: batch wide and high images apart; needs `width` and `height`.
        collate_fn: list of elements -> batch.
        **kwargs: for torch's `DataLoader`, such as `num_workers`.
    """
    world_size = get_world_size()
    assert total_batch_size > 0 and total_batch_size % world_size == 0, (
        f"the total batch size {total_batch_size} must be divisible by {world_size} processes"
    )
    batch_size = total_batch_size // world_size
    assert (sampler is None) == isinstance(dataset, IterableDataset), "only indexed data is sampled"
    if sampler is not None:
        dataset = ToIterableDataset(dataset, sampler, shard_chunk_size=batch_size)
    kwargs["worker_init_fn"] = worker_init_reset_seed
    if not aspect_ratio_grouping:
        kwargs = {"drop_last": True, "collate_fn": collate_fn or trivial_batch_collator, **kwargs}
        return DataLoader(dataset, batch_size, **kwargs)
    single_elements = DataLoader(dataset, collate_fn=itemgetter(0), **kwargs)
    batches = AspectRatioGroupedDataset(single_elements, batch_size)
    return MapDataset(batches, collate_fn) if collate_fn else batches


def _train_loader_from_config(
    cfg: CfgNode, mapper: Callable | None = None, *, dataset: Any = None, sampler: Any = None
) -> dict[str, Any]:
    if dataset is None:
        filter_empty = cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS
        dataset = get_detection_dataset_dicts(cfg.DATASETS.TRAIN, filter_empty)
    if sampler is None and not isinstance(dataset, IterableDataset):
        if (name := cfg.DATALOADER.SAMPLER_TRAIN) != "TrainingSampler":
            raise ValueError(f"Unknown training sampler: {name}; pass an object as sampler=")
        sampler = TrainingSampler(len(dataset), seed=cfg.SEED)
    ret = {"dataset": dataset, "sampler": sampler, "mapper": mapper or DatasetMapper(cfg, True)}
    ret["total_batch_size"] = cfg.SOLVER.IMS_PER_BATCH
    ret["aspect_ratio_grouping"] = cfg.DATALOADER.ASPECT_RATIO_GROUPING
    ret["num_workers"] = cfg.DATALOADER.NUM_WORKERS
    return ret


def _mapped(dataset: Any, mapper: Callable | None, sampler: Any, default: type) -> tuple[Any, Any]:
    if isinstance(dataset, list):
        dataset = DatasetFromList(dataset, copy=False)
    if sampler is None and not isinstance(dataset, IterableDataset):
        sampler = default(len(dataset))
    return (dataset if mapper is None else MapDataset(dataset, mapper)), sampler


@configurable(from_config=_train_loader_from_config)
def build_detection_train_loader(
    dataset: Any, *, mapper: Any, sampler: Any = None, total_batch_size: int, **kwargs: Any
) -> Any:
    """Endless loader of mapped training batches; also callable with a config.

    Args:
        dataset: list of records or a torch dataset.
        mapper: record -> model input, None to pass records on.
        sampler: defaults to a `TrainingSampler` with a random seed; None for iterable data.
        total_batch_size: see `build_batch_data_loader`.
        **kwargs: see there; `aspect_ratio_grouping` is on by default.
    """
    dataset, sampler = _mapped(dataset, mapper, sampler, TrainingSampler)
    kwargs.setdefault("aspect_ratio_grouping", True)
    return build_batch_data_loader(dataset, sampler, total_batch_size, **kwargs)


def _test_loader_from_config(cfg: CfgNode, dataset_name: Any, mapper: Any = None) -> dict[str, Any]:
    dataset = get_detection_dataset_dicts(dataset_name, filter_empty=False)
    mapper = mapper or DatasetMapper(cfg, False)
    return {"dataset": dataset, "mapper": mapper, "num_workers": cfg.DATALOADER.NUM_WORKERS}


@configurable(from_config=_test_loader_from_config)
def build_detection_test_loader(
    dataset: Any, *, mapper: Any, sampler: Any = None, collate_fn: Any = None, **kwargs: Any
) -> DataLoader:
    """Loader that gives every element once over all processes; also callable with a config.

    Args:
        dataset: list of records or a torch dataset.
        mapper: record -> model input, None to pass records on.
        sampler: defaults to an `InferenceSampler`; None for iterable data.
        collate_fn: list of elements -> batch; by default the batch is the list.
        **kwargs: for torch's `DataLoader`, such as `num_workers` and `batch_size`, by default 1.
    """
    dataset, sampler = _mapped(dataset, mapper, sampler, InferenceSampler)
    collate_fn = collate_fn or trivial_batch_collator
    return DataLoader(dataset, sampler=sampler, collate_fn=collate_fn, **kwargs)


def trivial_batch_collator(batch: list[Any]) -> list[Any]:
    """The batch as it is: a list of elements."""
    return batch


def worker_init_reset_seed(worker_id: int) -> None:
    """Give the loader worker `worker_id` its own state of all random generators."""
    seed_all_rng(torch.initial_seed() % 2**31 + worker_id)
