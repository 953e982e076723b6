"""Contract of `detectron2.data`: catalogs, dataset wrappers, samplers, loaders."""

import itertools
from typing import Any

import pytest
import torch
from detectron2.config import get_cfg
from detectron2.data import (
    DatasetCatalog,
    DatasetFromList,
    MapDataset,
    MetadataCatalog,
    ToIterableDataset,
    build_batch_data_loader,
    build_detection_test_loader,
    build_detection_train_loader,
    get_detection_dataset_dicts,
)
from detectron2.data.common import AspectRatioGroupedDataset
from detectron2.data.samplers import InferenceSampler, TrainingSampler
from torch.utils.data import DataLoader, IterableDataset


def take(iterable: Any, count: int) -> list:
    """The first `count` elements."""
    return list(itertools.islice(iterable, count))


def as_rank(monkeypatch: pytest.MonkeyPatch, rank: int, world_size: int) -> None:
    """Let samplers and loaders made from now on believe in `world_size` processes."""
    monkeypatch.setattr("detectron2.utils.comm.get_rank", lambda: rank)
    monkeypatch.setattr("detectron2.utils.comm.get_world_size", lambda: world_size)
    monkeypatch.setattr("detectron2.data.build.get_world_size", lambda: world_size)


def ignore_record(record: Any) -> Any:
    """A mapper."""
    return record


# Item 6
def test_training_sampler_is_an_endless_stream_of_shuffled_passes() -> None:
    stream = take(TrainingSampler(7, seed=3), 16)
    assert stream == [5, 3, 4, 6, 0, 2, 1, 2, 6, 3, 1, 5, 0, 4, 0, 6]
    assert take(TrainingSampler(3, shuffle=False), 7) == [0, 1, 2, 0, 1, 2, 0]


def test_training_sampler_deals_the_stream_out_to_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    as_rank(monkeypatch, 0, 2)
    assert take(TrainingSampler(7, seed=3), 6) == [5, 4, 0, 1, 6, 1]
    as_rank(monkeypatch, 1, 2)
    assert take(TrainingSampler(7, seed=3), 6) == [3, 6, 2, 2, 3, 5]


# Item 7
def test_training_sampler_takes_a_negative_seed_as_a_seed() -> None:
    sampler = TrainingSampler(5, seed=-1)
    assert take(sampler, 5) == take(sampler, 5) == [1, 3, 4, 2, 0]


def test_training_sampler_refuses_bad_sizes() -> None:
    with pytest.raises(ValueError, match="0"):
        TrainingSampler(0)
    with pytest.raises(TypeError):
        TrainingSampler("x")  # type: ignore[arg-type]


# Item 8
def test_inference_sampler_cuts_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = []
    for rank in range(4):
        as_rank(monkeypatch, rank, 4)
        sampler = InferenceSampler(10)
        blocks.append(list(sampler))
        assert len(sampler) == len(blocks[-1])
    assert blocks == [[0, 1, 2], [3, 4, 5], [6, 7], [8, 9]]


@pytest.mark.parametrize("world_size", [1, 2, 3, 7, 12])
def test_inference_sampler_covers_everything_once(
    monkeypatch: pytest.MonkeyPatch, world_size: int
) -> None:
    indices = []
    for rank in range(world_size):
        as_rank(monkeypatch, rank, world_size)
        indices += list(InferenceSampler(10))
    assert indices == list(range(10))


# Item 10
@pytest.mark.parametrize("num_workers", [0, 2])
def test_batches_do_not_depend_on_the_number_of_workers(num_workers: int) -> None:
    loader = build_detection_train_loader(
        list(range(12)),
        mapper=ignore_record,
        sampler=TrainingSampler(12, seed=1),
        total_batch_size=3,
        aspect_ratio_grouping=False,
        num_workers=num_workers,
    )
    expected = [[1, 4, 6], [8, 11, 0], [5, 3, 2], [9, 10, 7], [9, 5, 1]]
    assert take(loader, 5) == expected


# Item 11
def test_a_batch_is_a_list_of_dicts() -> None:
    data = [{"image": torch.zeros(3, 2, 2 + i)} for i in range(4)]
    train = build_detection_train_loader(
        data, mapper=None, total_batch_size=2, aspect_ratio_grouping=False
    )
    (batch,) = take(train, 1)
    assert isinstance(batch, list) and len(batch) == 2 and set(batch[0]) == {"image"}
    test = build_detection_test_loader(data, mapper=None, batch_size=3)
    assert [[d["image"].shape[-1] for d in b] for b in test] == [[2, 3, 4], [5]]
    assert len(build_detection_test_loader(data, mapper=None)) == 4


def test_the_batch_must_divide_by_the_world_size(monkeypatch: pytest.MonkeyPatch) -> None:
    as_rank(monkeypatch, 0, 2)
    loader = build_batch_data_loader(list(range(4)), TrainingSampler(4, shuffle=False, seed=0), 4)
    assert take(loader, 2) == [[0, 2], [0, 2]]
    with pytest.raises(AssertionError, match="5"):
        build_batch_data_loader(list(range(4)), TrainingSampler(4, seed=0), 5)


# Item 12
def test_aspect_ratio_grouping() -> None:
    widths = (20, 5, 20, 10, 20, 5, 3)
    data = [{"id": i, "height": 10, "width": w} for i, w in enumerate(widths)]
    batches = [[d["id"] for d in batch] for batch in AspectRatioGroupedDataset(data, 2)]
    assert batches == [[0, 2], [1, 3], [5, 6]]
    loader = build_detection_train_loader(
        data, mapper=None, sampler=TrainingSampler(7, shuffle=False), total_batch_size=2
    )
    assert [[d["id"] for d in batch] for batch in take(loader, 3)] == [[0, 2], [1, 3], [5, 6]]


# Item 13
def test_map_dataset_replaces_what_the_mapper_refuses() -> None:
    dataset = MapDataset(list(range(10)), lambda x: None if x < 3 else x)
    assert [dataset[i] for i in range(5)] == [8, 5, 4, 3, 4]
    assert len(dataset) == 10
    with pytest.raises(ValueError):
        MapDataset([1, 2, 3], lambda x: None)[0]


class Naturals(IterableDataset):
    def __iter__(self) -> Any:
        return itertools.count()


def test_map_dataset_skips_in_iterable_data() -> None:
    mapped = MapDataset(Naturals(), lambda x: None if x % 3 else x * 10)
    assert isinstance(mapped, IterableDataset)
    assert take(mapped, 3) == [0, 30, 60]


def test_lambdas_and_serialised_items_survive_spawn() -> None:
    dataset = MapDataset(
        DatasetFromList([{"n": i} for i in range(4)]), map_func=lambda d: d["n"] + 1
    )
    loader = DataLoader(dataset, num_workers=1, multiprocessing_context="spawn")
    assert [int(x) for x in loader] == [1, 2, 3, 4]


# Item 14
def test_dataset_from_list_isolates_its_elements() -> None:
    for options, leaks in (({}, False), ({"serialize": False}, False), ({"copy": False}, False)):
        dataset = DatasetFromList([{"texts": ["a"]}], **options)
        dataset[0]["texts"].append("b")
        assert (dataset[0]["texts"] == ["a", "b"]) is leaks
    bare = DatasetFromList([{"texts": ["a"]}], copy=False, serialize=False)
    bare[0]["texts"].append("b")
    assert bare[0]["texts"] == ["a", "b"]


def test_dataset_from_list_ends() -> None:
    dataset = DatasetFromList(["x", "yy", "zzz"])
    assert len(dataset) == 3 and list(dataset) == ["x", "yy", "zzz"] and dataset[1] == "yy"


def test_to_iterable_dataset_follows_its_sampler() -> None:
    dataset = ToIterableDataset("abc", InferenceSampler(3))
    assert list(dataset) == ["a", "b", "c"] and len(dataset) == 3


# Item 15
def test_dataset_catalog() -> None:
    name, calls = "contract_catalog", []
    DatasetCatalog.register(name, lambda: calls.append(1) or [{"n": 1}])  # type: ignore[func-returns-value]
    try:
        assert DatasetCatalog.get(name) == DatasetCatalog.get(name) == [{"n": 1}]
        assert len(calls) == 2 and name in DatasetCatalog.list()
        with pytest.raises(AssertionError, match=name):
            DatasetCatalog.register(name, list)
        with pytest.raises(KeyError, match=name):
            DatasetCatalog.get("contract_unknown")
    finally:
        DatasetCatalog.remove(name)
    assert name not in DatasetCatalog.list()


def test_metadata_keeps_its_first_value() -> None:
    metadata = MetadataCatalog.get("contract_metadata")
    try:
        assert metadata.set(words=["a"], root="r") is metadata
        assert MetadataCatalog.get("contract_metadata").words == ["a"]
        metadata.words = ["a"]
        with pytest.raises(AssertionError, match="words"):
            metadata.words = ["b"]
        assert metadata.get("root", 1) == "r" and metadata.get("absent", 1) == 1
        with pytest.raises(AttributeError, match="absent"):
            metadata.absent  # noqa: B018
        assert metadata.as_dict() == {"name": "contract_metadata", "words": ["a"], "root": "r"}
    finally:
        MetadataCatalog.remove("contract_metadata")


# Item 16
@pytest.fixture
def crowded() -> Any:
    """The name of a dataset whose images 1 and 2 are unusable for training."""
    annotations = [[{"iscrowd": 0}], [{"iscrowd": 1}], [], [{"iscrowd": 1}, {}]]
    data = [{"image_id": i, "annotations": a} for i, a in enumerate(annotations)]
    DatasetCatalog.register("contract_crowded", lambda: data)
    yield "contract_crowded"
    DatasetCatalog.remove("contract_crowded")


def test_config_loaders_filter_in_training_only(crowded: str) -> None:
    cfg = get_cfg()
    cfg.DATASETS.TRAIN = (crowded,)
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.DATALOADER.ASPECT_RATIO_GROUPING = False
    cfg.SOLVER.IMS_PER_BATCH = 2
    train = build_detection_train_loader(cfg, mapper=ignore_record)
    assert {d["image_id"] for batch in take(train, 4) for d in batch} == {0, 3}
    test = build_detection_test_loader(cfg, crowded, mapper=ignore_record)
    assert [d["image_id"] for (d,) in test] == [0, 1, 2, 3]
    assert len(get_detection_dataset_dicts([crowded, crowded])) == 4
    assert len(get_detection_dataset_dicts(crowded, filter_empty=False)) == 4


def test_empty_datasets_are_refused() -> None:
    DatasetCatalog.register("contract_empty", list)
    try:
        with pytest.raises(AssertionError, match="contract_empty"):
            get_detection_dataset_dicts("contract_empty")
    finally:
        DatasetCatalog.remove("contract_empty")
