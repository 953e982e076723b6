"""Detectron2's own loaders take the records of label files, whether cached or not."""

import pytest
from detectron2.config import get_cfg
from detectron2.data import (
    DatasetCatalog,
    DatasetFromList,
    MetadataCatalog,
    build_detection_test_loader,
    build_detection_train_loader,
    get_detection_dataset_dicts,
)

from wecromcl_d2.data import label_cache
from wecromcl_d2.data.datasets import register_labels, write_labels

NAMES = ("loaders_test_first", "loaders_test_second")
IDS = [str(i) for i in range(7)]


@pytest.fixture(params=[1, 2**20], ids=["cached", "in memory"])
def names(tmp_path, monkeypatch, request):
    """Two datasets of five and two images."""
    monkeypatch.setattr(label_cache, "CACHED_FROM", request.param)
    for name, ids in zip(NAMES, (IDS[:5], IDS[5:]), strict=True):
        records = [{"file_name": f"{i}.jpg", "height": 4, "width": 6, "texts": ["a"]} for i in ids]
        write_labels(tmp_path / f"{name}.jsonl", records)
        (tmp_path / records[0]["file_name"]).touch()
        register_labels(name, tmp_path / f"{name}.jsonl")
        assert type(DatasetCatalog.get(name)[0]) is dict
    yield NAMES
    for name in NAMES:
        DatasetCatalog.pop(name)
        MetadataCatalog.pop(name)


def keep(record):
    return record["image_id"]


def test_their_list_of_dicts(names):
    for chosen, ids in ((names, IDS), (names[:1], IDS[:5])):
        dicts = get_detection_dataset_dicts(list(chosen))
        assert [dicts[i]["image_id"] for i in range(len(dicts))] == ids
    dataset = DatasetFromList(DatasetCatalog.get(names[0]))
    assert [record["image_id"] for record in dataset] == IDS[:5]


@pytest.mark.parametrize("workers", [0, 2])
def test_their_test_loader(names, workers):
    cfg = get_cfg()
    cfg.DATALOADER.NUM_WORKERS = workers
    by_config = build_detection_test_loader(cfg, names[0], mapper=keep)
    records = DatasetCatalog.get(names[0])
    by_parts = build_detection_test_loader(records, mapper=keep, num_workers=workers)
    for loader in (by_config, by_parts):
        assert [image for batch in loader for image in batch] == IDS[:5]


@pytest.mark.parametrize("workers", [0, 2])
def test_their_training_loader(names, workers):
    cfg = get_cfg()
    cfg.DATASETS.TRAIN = names
    cfg.DATALOADER.NUM_WORKERS = workers
    cfg.DATALOADER.ASPECT_RATIO_GROUPING = False
    cfg.SOLVER.IMS_PER_BATCH = 7
    cfg.SEED = 3
    batch = next(iter(build_detection_train_loader(cfg, mapper=keep)))
    assert sorted(batch) == IDS
