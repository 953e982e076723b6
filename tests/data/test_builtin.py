import os

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from wecromcl_d2.data.builtin import SYNTHETIC_DATASETS, register_synthetic
from wecromcl_d2.data.synthetic.recipe import SceneRecipe


@pytest.fixture
def dataset(monkeypatch, tmp_path):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    name = "builtin_test_scenes"
    register_synthetic(name, SceneRecipe(size=(64, 96), num_words=(1, 2)), 3, language="none")
    yield name, tmp_path
    DatasetCatalog.pop(name)
    MetadataCatalog.pop(name)


def test_first_use_renders_and_later_ones_reuse(dataset):
    name, root = dataset
    assert not any(root.iterdir())
    records = DatasetCatalog.get(name)
    assert len(records) == 3
    assert all(os.path.isfile(record["file_name"]) for record in records)
    assert all(len(r["polygons"]) == len(r["texts"]) >= 1 for r in records)
    folder = root / "synthetic" / name
    stamps = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert DatasetCatalog.get(name) == records
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == stamps
    assert MetadataCatalog.get(name).language == "none"


def test_shipped_sets_keep_their_words_apart():
    for name, (recipe, _) in SYNTHETIC_DATASETS.items():
        assert name.endswith(f"_{recipe.split}")
        closed = name.startswith("synth_closed_")
        assert (recipe.vocabulary_split, recipe.vocabulary_size) == (
            ("train", 50) if closed else (None, None)
        )
    assert SYNTHETIC_DATASETS["synth_scenes_test"][1] == 300
