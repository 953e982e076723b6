"""The registered datasets: their names, and what using an unprepared one says."""

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from wecromcl_d2.data.datasets import LabelError, write_labels
from wecromcl_d2.data.readers.base import Tally
from wecromcl_d2.data.readers.registry import BENCHMARKS, FORMATS, register_benchmarks
from wecromcl_d2.data.readers.splits import locate, read_split

NAMES = {
    "synthtext_train",
    "icdar2013_train",
    "icdar2013_test",
    "icdar2015_train",
    "icdar2015_test",
    "totaltext_train",
    "totaltext_test",
    "ctw1500_train",
    "ctw1500_test",
    "curvedsyntext_train",
    "mlt2017_train",
    "mlt2017_val",
    "mlt2019_train",
}


@pytest.fixture
def root(monkeypatch, tmp_path):
    """An empty folder of datasets, and the benchmarks registered."""
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    if "icdar2015_train" not in DatasetCatalog.list():
        register_benchmarks()
    return tmp_path


def test_names_and_metadata(root):
    assert {f"{name}_{split}" for name, b in BENCHMARKS.items() for split in b.splits} == NAMES
    assert set(DatasetCatalog.list()) >= NAMES
    assert MetadataCatalog.get("ctw1500_test").text_level == "line"
    assert MetadataCatalog.get("icdar2015_test").text_level == "word"
    assert MetadataCatalog.get("icdar2015_test").source_page == "https://rrc.cvc.uab.es/?ch=4"


def test_formats_and_benchmarks_share_no_name():
    assert not BENCHMARKS.keys() & FORMATS.keys()


def test_an_unprepared_set_says_how_to_prepare_it(root):
    with pytest.raises(LabelError, match=r"icdar2013_test.*ch=2.*wecromcl prepare icdar2013"):
        DatasetCatalog.get("icdar2013_test")


def test_a_prepared_set_is_read(root):
    (root / "mlt2017").mkdir()
    (root / "mlt2017" / "img.png").write_bytes(b"")
    record = {"file_name": "img.png", "height": 2, "width": 3, "texts": ["Hill"]}
    write_labels(root / "mlt2017" / "val.jsonl", [record])
    (loaded,) = DatasetCatalog.get("mlt2017_val")
    assert loaded["texts"] == ["Hill"]
    assert loaded["file_name"] == str(root / "mlt2017" / "img.png")


def test_pieces_are_found_under_each_of_their_names(tmp_path):
    split = BENCHMARKS["icdar2015"].splits["train"]
    (nothing,) = locate(split, tmp_path)
    assert nothing.missing(tmp_path) == [
        f"images: {tmp_path}/train_images, or ch4_training_images",
        f"ground truth: {tmp_path}/train_gts, or ch4_training_localization_transcription_gt, "
        "or train_gts.zip, or ch4_training_localization_transcription_gt.zip",
    ]
    (tmp_path / "ch4_training_images").mkdir()
    archive = tmp_path / "ch4_training_localization_transcription_gt.zip"
    archive.write_bytes(b"")
    (found,) = locate(split, tmp_path)
    assert found.missing(tmp_path) == []
    assert (found.images, found.gt) == (tmp_path / "ch4_training_images", archive)


def test_no_annotated_image_is_an_error(tmp_path):
    (tmp_path / "train_images").mkdir()
    (tmp_path / "train_gts").mkdir()
    (tmp_path / "train_gts" / "gt_img_1.txt").write_text("1,2,3,4,5,6,7,8,a", encoding="utf-8")
    located = locate(BENCHMARKS["icdar2015"].splits["train"], tmp_path)
    with pytest.raises(LabelError, match=r"none of the 1 annotated images is in .*train_images"):
        list(read_split(located, tmp_path, Tally()))
