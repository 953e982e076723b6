"""Images inside tar files: found by an index, read like any other image."""

import io
import os
import tarfile

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from wecromcl_d2.data import shards
from wecromcl_d2.data.datasets import LabelError, ensure_registered, read_labels, write_labels
from wecromcl_d2.data.images import ImageError, image_exists, read_image, read_record, upright_size
from wecromcl_d2.data.loader import Phase, TrainBatches, TrainLoader
from wecromcl_d2.data.shards import ShardError, shard_paths
from wecromcl_d2.stage2.sampler import ShuffleSampler

LONG = "deep/" * 40 + "ü.png"
MEMBERS = [["a/0.png", "./a/1.png"], [LONG], ["2.png", "3.png", "4.png"]]
NAMES = ["a/0.png", "a/1.png", LONG, "2.png", "3.png", "4.png"]


@pytest.fixture(autouse=True)
def forget_indices():
    shards._open_index.cache_clear()
    yield
    shards._open_index.cache_clear()


def png(shade, size=(6, 4)):
    stream = io.BytesIO()
    Image.new("RGB", size, (shade, 0, 0)).save(stream, "png")
    return stream.getvalue()


def write_tar(path, members, kind=tarfile.PAX_FORMAT):
    """Images whose shade is their number, each with a file of text beside it."""
    with tarfile.open(path, "w", format=kind) as tar:
        folder = tarfile.TarInfo("a")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        for name in members:
            shade = NAMES.index(os.path.normpath(name)) + 1
            for suffix, content in (("", png(shade)), (".txt", b"word")):
                info = tarfile.TarInfo(name + suffix)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))


@pytest.fixture(params=[tarfile.PAX_FORMAT, tarfile.GNU_FORMAT], ids=["pax", "gnu"])
def root(tmp_path, request):
    for number, members in enumerate(MEMBERS, start=9):
        write_tar(tmp_path / f"{number:03d}.tar", members, request.param)
    return tmp_path / "{009..011}.tar"


def path_of(root, name):
    return str(root / name)


def test_ranges_are_numbers_of_fixed_width():
    assert shard_paths("x/{08..11}.tar") == ["x/08.tar", "x/09.tar", "x/10.tar", "x/11.tar"]
    assert shard_paths("{0..1}/{a}-{3..4}.tar") == [
        f"{i}/{{a}}-{j}.tar" for i in (0, 1) for j in (3, 4)
    ]
    assert shard_paths("one.tar") == ["one.tar"]
    with pytest.raises(ShardError, match=r"5\.\.4 runs backwards"):
        shard_paths("{5..4}.tar")


def test_every_member_is_read_and_the_index_is_made_once(root, monkeypatch):
    for _ in range(2):
        for shade, name in enumerate(NAMES, start=1):
            image = read_image(path_of(root, name))
            assert image.shape == (4, 6, 3) and (image == (shade, 0, 0)).all()
            assert upright_size(path_of(root, name)) == (4, 6)
        shards._open_index.cache_clear()
        monkeypatch.setattr(shards, "_members", None)
    assert os.path.isfile(f"{root}.index")


def test_shards_are_the_image_root_of_a_label_file(root, tmp_path):
    labels = tmp_path / "l.jsonl"
    write_labels(labels, [{"file_name": name, "texts": ["word"]} for name in NAMES])
    name = f"{labels}@{root}"
    ensure_registered(name)
    try:
        records = DatasetCatalog.get(name)
        for shade, record in enumerate(records, start=1):
            kept, image = read_record(record, ("height", "width"), "RGB")
            assert kept == {"height": 4, "width": 6} and image[0, 0, 0] == shade
        os.unlink(str(root).replace("{009..011}", "010"))
        shards._open_index.cache_clear()
        with pytest.raises(LabelError, match=r"010\.tar cannot be read: No such file"):
            DatasetCatalog.get(name)
    finally:
        DatasetCatalog.pop(name)
        MetadataCatalog.pop(name)


def test_a_folder_may_look_like_a_tar_file(tmp_path):
    (tmp_path / "x.tar").mkdir()
    (tmp_path / "x.tar" / "a.png").write_bytes(png(7))
    assert read_image(str(tmp_path / "x.tar" / "a.png"))[0, 0, 0] == 7
    assert image_exists(str(tmp_path / "x.tar" / "a.png"))


def test_members_that_are_missing_or_twice_there_are_named(root):
    assert not image_exists(path_of(root, "5.png")) and not image_exists(path_of(root, "a"))
    with pytest.raises(ImageError, match=r"cannot use image .*5\.png: no shard has it"):
        read_image(path_of(root, "5.png"))
    write_tar(str(root).replace("{009..011}", "010"), ["2.png"])
    with pytest.raises(ImageError, match=r"2\.png: .*010\.tar and .*011\.tar both have it"):
        shards._open_index.cache_clear()
        read_image(path_of(root, "2.png"))
    assert read_image(path_of(root, "3.png"))[0, 0, 0] == 5


def damage(path, what):
    """Spoil the file 3.png of a tar file, or all from there on."""
    with tarfile.open(path) as tar:
        member = tar.getmember("3.png")
    content = bytearray(path.read_bytes())
    if what == "content":
        content[member.offset_data : member.offset_data + 20] = bytes(20)
    elif what == "header":
        content[member.offset : member.offset + 100] = b"x" * 100
    else:
        del content[member.offset_data + 10 :]
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("what", "said", "lost"),
    [
        ("content", "no image, or of a type", ["3.png"]),
        ("header", "no shard has it", ["3.png", "4.png"]),
        ("end", "ends within it", ["3.png", "4.png"]),
    ],
)
def test_damaged_members_are_reported_and_skipped(root, tmp_path, caplog, what, said, lost):
    damage(tmp_path / "011.tar", what)
    write_labels(tmp_path / "l.jsonl", [{"file_name": name, "texts": ["word"]} for name in NAMES])
    records = read_labels(tmp_path / "l.jsonl", root)
    with pytest.raises(ImageError, match=rf"3\.png: .*{said}"):
        read_image(records[4]["file_name"])

    def mapper(record):
        return read_record(record | {"height": 4, "width": 6}, ("image_id",), "RGB")[0]

    sampler = ShuffleSampler(len(records), 3, 0)
    loader = TrainLoader(TrainBatches([Phase(records, sampler, float("inf"))], mapper), 0)
    seen = {x["image_id"] for _, batch in zip(range(20), loader, strict=False) for x in batch}
    assert seen == {os.path.splitext(name)[0] for name in NAMES if name not in lost}
    skipped = [r.getMessage() for r in caplog.records if "skipped" in r.getMessage()]
    assert len(skipped) == len(lost)
    assert ("011.tar is damaged" in caplog.text) == (what != "content")


def test_an_index_of_other_shards_is_made_anew(root, tmp_path):
    assert read_image(path_of(root, "2.png"))[0, 0, 0] == 4
    write_tar(tmp_path / "011.tar", ["4.png", "3.png", "2.png"])
    shards._open_index.cache_clear()
    for shade, name in enumerate(NAMES, start=1):
        assert read_image(path_of(root, name))[0, 0, 0] == shade


def test_where_no_index_can_be_written_memory_serves(root, caplog):
    os.mkdir(f"{root}.index")
    assert np.all(read_image(path_of(root, "4.png"))[..., 0] == 6)
    assert "{009..011}.tar.index cannot be written" in caplog.text


def test_compressed_tar_files_are_named(tmp_path, caplog):
    with tarfile.open(tmp_path / "x.tar", "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("a.png"))
    assert not image_exists(str(tmp_path / "x.tar" / "a.png"))
    assert "x.tar is damaged" in caplog.text
