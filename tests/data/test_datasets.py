import json
import os
import re
from pathlib import Path

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from wecromcl_d2.data.datasets import (
    LabelError,
    ensure_registered,
    label_path,
    read_labels,
    register_labels,
    usable_words,
    write_labels,
)
from wecromcl_d2.files import replace_file
from wecromcl_d2.tasks import load_config

FULL = {
    "file_name": "a/img_1.jpg",
    "height": 720,
    "width": 1280,
    "texts": ["Hill", '漢字, "quoted"'],
    "points": [[258.0, 74.5], None],
    "point_scores": [0.25, None],
    "similarity": [0.5, None],
    "point_weights": [1, 0],
    "polygons": [[211, 64, 305, 61, 306, 85, 211, 88], None],
    "ignore": [False, True],
}
SMALL = {"file_name": "b.png", "height": 1, "width": 2, "texts": []}

# A busy machine is no fault of the code.
UNHURRIED = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def changed(**changes):
    return FULL | changes


def write_raw(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.fixture
def dataset(monkeypatch, tmp_path):
    """A dataset root and a unique name that is gone from the catalogs afterwards."""
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    name = "datasets_test_words"
    yield name, tmp_path
    DatasetCatalog.pop(name)
    MetadataCatalog.pop(name)


@pytest.mark.parametrize("suffix", ["jsonl", "json"])
def test_round_trip(tmp_path, suffix):
    path = tmp_path / f"labels.{suffix}"
    write_labels(path, [FULL, SMALL])
    first, second = read_labels(path)
    assert first == FULL | {"file_name": str(tmp_path / "a/img_1.jpg"), "image_id": "a/img_1"}
    assert second == SMALL | {"file_name": str(tmp_path / "b.png"), "image_id": "b"}
    assert "漢字" in path.read_text(encoding="utf-8")
    assert os.listdir(tmp_path) == [path.name]
    if suffix == "json":
        assert json.loads(path.read_text(encoding="utf-8")) == [FULL, SMALL]


def test_root_own_id_and_extra_keys(tmp_path):
    path = write_raw(tmp_path / "l.jsonl", json.dumps(changed(image_id=7, licence="CC0")))
    (record,) = read_labels(path, tmp_path / "images")
    assert record["file_name"] == str(tmp_path / "images/a/img_1.jpg")
    assert record["image_id"] == 7
    assert record["licence"] == "CC0"


@pytest.mark.parametrize("suffix", ["jsonl", "json"])
def test_byte_order_mark_crlf_and_blank_lines(tmp_path, suffix):
    lines = [json.dumps(FULL), json.dumps(SMALL)]
    body = "\r\n \r\n".join(lines) if suffix == "jsonl" else "[\r\n" + ",\r\n".join(lines) + "]\r\n"
    path = write_raw(tmp_path / f"l.{suffix}", "\ufeff" + body)
    assert [r["image_id"] for r in read_labels(path)] == ["a/img_1", "b"]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ([], "JSON object, not list"),
        ({"file_name": "a"}, "'texts' is missing"),
        ({k: v for k, v in FULL.items() if k != "height"}, "width stands alone"),
        ({k: v for k, v in FULL.items() if k != "texts"}, "'texts' is missing"),
        (changed(polygon=[]), "'polygon'; did you mean 'polygons'"),
        (changed(file_name=""), "file_name is ''"),
        (changed(file_name=3), "file_name is 3"),
        (changed(file_name="a\0b"), "file_name is"),
        (changed(file_name="../x.jpg"), "inside the image root"),
        (changed(file_name="a/../../x.jpg"), "inside the image root"),
        (changed(file_name="/etc/x.jpg"), "inside the image root"),
        (changed(height=0), "height is 0"),
        (changed(width=-3), "width is -3"),
        (changed(width=2.5), r"width is 2\.5"),
        (changed(height=True), "height is True"),
        (changed(height=10**400), "height is 1000"),
        (changed(image_id=1.5), r"image_id is 1\.5"),
        (changed(texts="Hill"), "texts is 'Hill'"),
        (changed(texts=["a", 3]), "texts is"),
        (changed(texts=["a", "\ud800"]), r"texts is \['a', '\\ud800'"),
        (changed(points=[[1, 2]]), "points has 1 entries for 2 texts"),
        (changed(points=None), "points has NoneType entries"),
        (changed(points=[[1, 2, 3], None]), r"points\[0\]"),
        (changed(points=[None, [1, float("nan")]]), r"points\[1\]"),
        (changed(points=[None, [1, float("inf")]]), r"points\[1\]"),
        (changed(points=[None, [1, 10**400]]), r"points\[1\]"),
        (changed(points=[None, [True, 2]]), r"points\[1\]"),
        (changed(polygons=[[1, 2, 3, 4], None]), r"polygons\[0\].*at least 6"),
        (changed(polygons=[None, [1, 2, 3, 4, 5, 6, 7]]), r"polygons\[1\]"),
        (changed(polygons=[None, [1, 2, 3, 4, 5, "6"]]), r"polygons\[1\]"),
        (changed(ignore=[0, 1]), r"ignore\[0\] is 0"),
        (changed(point_scores=[0.5]), "point_scores has 1 entries for 2 texts"),
        (changed(point_scores=[0.5, "high"]), r"point_scores\[1\] is 'high'"),
        (changed(point_weights=[0.5, None]), r"point_weights\[1\] is None.* from 0 to 1"),
        (changed(point_weights=[1.01, 1]), r"point_weights\[0\] is 1\.01"),
        (changed(point_weights=[0, -0.1]), r"point_weights\[1\] is -0\.1"),
        (changed(point_weights=[0, float("nan")]), r"point_weights\[1\] is nan"),
        (changed(point_weight=[1, 1]), "did you mean 'point_weights'"),
    ],
)
def test_bad_records_name_file_and_line(tmp_path, record, message):
    bad = json.dumps(record)
    lines = write_raw(tmp_path / "l.jsonl", json.dumps(SMALL) + "\n\n" + bad + "\n")
    with pytest.raises(LabelError, match=rf"l\.jsonl:3: .*{message}"):
        read_labels(lines)
    listed = write_raw(tmp_path / "l.json", f"[\n{json.dumps(SMALL)},\n\n{bad}]")
    with pytest.raises(LabelError, match=rf"l\.json:4: .*{message}"):
        read_labels(listed)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("l.jsonl", "", "no record in it"),
        ("l.jsonl", "\n \n", "no record in it"),
        ("l.json", "[]", "no record in it"),
        ("l.json", "", "l.json:1: .*holds a list"),
        ("l.json", "\n{}", "l.json:2: .*holds a list"),
        ("l.json", "[\n{},\n", "l.json:2: "),
        ("l.json", json.dumps([SMALL])[:-1] + "\n", "l.json:2: expected"),
        ("l.json", json.dumps([SMALL]) + "\nx", "l.json:2: text after"),
        ("l.json", json.dumps([SMALL])[:-1] + ",\n{\n'", "l.json:3: not valid JSON"),
        ("l.jsonl", '{"a": 1\n', "l.jsonl:1: not valid JSON"),
        ("l.jsonl", "{} {}", "l.jsonl:1: more than one"),
        ("l.jsonl", "[" * 100_000, "l.jsonl:1: not usable JSON"),
        ("l.jsonl", "9" * 5000, "l.jsonl:1: not usable JSON"),
        ("l.jsonl", b"\n\xff", "l.jsonl:2: not UTF-8"),
        ("l.txt", "", r"ends in \.jsonl or \.json, not '\.txt'"),
    ],
)
def test_bad_files(tmp_path, name, content, message):
    with pytest.raises(LabelError, match=message):
        read_labels(write_raw(tmp_path / name, content))


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(LabelError, match=r"none\.jsonl: cannot be read: No such file"):
        read_labels(tmp_path / "none.jsonl")
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(LabelError, match="cannot be read"):
        read_labels(tmp_path / "folder.json")


def test_duplicates_name_both_lines(tmp_path):
    lines = [SMALL, SMALL | {"file_name": "./x/../b.png"}]
    path = write_raw(tmp_path / "l.jsonl", "\n".join(map(json.dumps, lines)))
    with pytest.raises(LabelError, match=r"l\.jsonl:2: file_name 'b\.png' .*at 1; merge"):
        read_labels(path)
    lines = [SMALL, SMALL | {"file_name": "b.jpg"}]
    path = write_raw(tmp_path / "l.jsonl", "\n".join(map(json.dumps, lines)))
    with pytest.raises(LabelError, match=r"l\.jsonl:2: image_id 'b' .*at 1; give"):
        read_labels(path)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


@UNHURRIED
@given(st.sampled_from(sorted(FULL)), JSON_VALUES)
def test_any_value_under_any_key_reads_or_raises_our_error(tmp_path, key, value):
    path = write_raw(tmp_path / "l.jsonl", json.dumps(changed(**{key: value})))
    try:
        (record,) = read_labels(path)
    except LabelError as error:
        assert str(error).startswith(f"{path}:1: ")
    else:
        assert len(usable_words(record)) == len(record["texts"])


@UNHURRIED
@given(st.binary(max_size=60), st.integers(0, 250), st.sampled_from(["json", "jsonl"]))
def test_any_damage_reads_or_raises_our_error(tmp_path, noise, position, suffix):
    whole = tmp_path / f"whole.{suffix}"
    write_labels(whole, [FULL])
    content = whole.read_bytes()
    path = write_raw(tmp_path / f"l.{suffix}", content[:position] + noise + content[position + 9 :])
    try:
        assert len(read_labels(path)) == 1
    except LabelError as error:
        assert str(error).startswith(str(path))


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([], "no record"),
        ([FULL, FULL], r"record 2: file_name 'a/img_1\.jpg' was used"),
        ([FULL, changed(height=0)], "record 2: height"),
    ],
)
def test_failed_write_keeps_the_old_file(tmp_path, records, message):
    path = tmp_path / "l.jsonl"
    write_labels(path, [SMALL])
    before = path.read_bytes()
    with pytest.raises(LabelError, match=message):
        write_labels(path, records)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["l.jsonl"]


def test_replaced_file_has_ordinary_permissions_and_new_folders(tmp_path):
    path = tmp_path / "new" / "file"
    with replace_file(path) as stream:
        stream.write(b"x")
    plain = tmp_path / "plain"
    plain.write_bytes(b"x")
    assert path.read_bytes() == b"x"
    assert path.stat().st_mode == plain.stat().st_mode


def test_registration_is_lazy_and_follows_the_root(dataset):
    name, root = dataset
    register_labels(name, "words/l.jsonl", language="en")
    write_labels(root / "words" / "l.jsonl", [FULL, SMALL])
    (root / "words" / "a").mkdir()
    (root / "words" / "a" / "img_1.jpg").touch()
    first, _ = DatasetCatalog.get(name)
    assert first["file_name"] == str(root / "words/a/img_1.jpg")
    assert MetadataCatalog.get(name).language == "en"


def test_separate_image_root(dataset):
    name, root = dataset
    register_labels(name, "l.json", "pictures")
    write_labels(root / "l.json", [FULL])
    with pytest.raises(LabelError, match=rf"{name}.*pictures/a/img_1\.jpg' .*does not exist"):
        DatasetCatalog.get(name)


@pytest.fixture
def forget_new_datasets():
    known = set(DatasetCatalog.list())
    yield
    for name in set(DatasetCatalog.list()) - known:
        DatasetCatalog.pop(name)
        MetadataCatalog.pop(name)


@pytest.mark.usefixtures("forget_new_datasets")
@pytest.mark.parametrize("root", ["", "@pictures", "@{}/pictures"])
@pytest.mark.parametrize("suffix", ["jsonl", "json"])
def test_a_label_file_is_the_name_of_a_dataset(tmp_path, monkeypatch, suffix, root):
    """Relative paths start at the working directory of the registration."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "elsewhere"))
    write_labels(tmp_path / f"sub/l.{suffix}", [FULL])
    image = tmp_path / ("pictures" if root else "sub") / "a/img_1.jpg"
    image.parent.mkdir(parents=True)
    image.touch()
    name = f"sub/l.{suffix}{root.format(tmp_path)}"
    ensure_registered(name)
    ensure_registered(name)
    monkeypatch.chdir("/")
    (record,) = DatasetCatalog.get(name)
    assert record["file_name"] == str(image)


@pytest.mark.usefixtures("forget_new_datasets")
@pytest.mark.parametrize(
    ("root", "remedy"),
    [
        ("", "after the @: l.jsonl@FOLDER"),
        ("@pictures", "after the @: l.jsonl@FOLDER"),
        ("@$DETECTRON2_DATASETS", "DETECTRON2_DATASETS"),
    ],
)
def test_images_that_are_not_there_name_what_to_correct(tmp_path, monkeypatch, root, remedy):
    monkeypatch.chdir(tmp_path)
    write_labels(tmp_path / "l.jsonl", [FULL])
    ensure_registered(f"l.jsonl{root}")
    with pytest.raises(LabelError, match=rf"does not exist; .*{re.escape(remedy)}$"):
        DatasetCatalog.get(f"l.jsonl{root}")


@pytest.mark.usefixtures("forget_new_datasets")
@pytest.mark.parametrize("variable", [None, "elsewhere"])
def test_images_of_a_label_file_may_lie_in_the_folder_of_all_datasets(
    tmp_path, monkeypatch, variable
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DETECTRON2_DATASETS", raising=False)
    if variable is not None:
        monkeypatch.setenv("DETECTRON2_DATASETS", variable)
    write_labels(tmp_path / "points/l.jsonl", [FULL])
    image = tmp_path / (variable or "datasets") / "a/img_1.jpg"
    image.parent.mkdir(parents=True)
    image.touch()
    name = "points/l.jsonl@$DETECTRON2_DATASETS"
    ensure_registered(name)
    (record,) = DatasetCatalog.get(name)
    assert record["file_name"] == str(image)


@pytest.mark.usefixtures("forget_new_datasets")
def test_points_that_nobody_has_found_yet_are_explained(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = "output/points/l.jsonl@$DETECTRON2_DATASETS"
    ensure_registered(name)
    with pytest.raises(LabelError, match=r"points/l\.jsonl: cannot be read.*wecromcl anchors"):
        DatasetCatalog.get(name)


@pytest.mark.parametrize("path", sorted(Path("configs/stage2").rglob("*.yaml")), ids=str)
def test_label_files_of_configs_follow_the_variable(path):
    cfg = load_config(path)
    for name in cfg.DATASETS.TRAIN:
        if name in DatasetCatalog.list():  # transcriptions alone
            continue
        assert name.startswith("output/points/") and name.endswith(".jsonl@$DETECTRON2_DATASETS")
        assert Path(name.partition("@")[0]).stem in DatasetCatalog.list()


@pytest.mark.usefixtures("forget_new_datasets")
@pytest.mark.parametrize("name", ["words", "l.jsonl@", "l.txt", "l.json.gz", ".json"])
def test_any_other_name_is_refused_and_the_three_ways_to_name_a_dataset_are_said(name):
    before = DatasetCatalog.list()
    with pytest.raises(LabelError) as error:
        ensure_registered(name)
    assert DatasetCatalog.list() == before
    said = str(error.value)
    assert said.startswith(f"there is no dataset {name!r}")
    assert all(way in said for way in ("registered", "FILE.jsonl@IMAGE_ROOT", "--import MODULE"))


def test_the_nearest_registered_names_are_said():
    with pytest.raises(LabelError, match=r"registered one \(synth_scenes_train, "):
        ensure_registered("synth_scene_train")


@pytest.mark.usefixtures("forget_new_datasets")
def test_label_files_are_not_among_the_names_that_are_said():
    ensure_registered("/a/absent.jsonl")
    with pytest.raises(LabelError) as error:
        ensure_registered("absent")
    assert "/a/" not in str(error.value)


@pytest.mark.usefixtures("forget_new_datasets")
def test_a_registered_name_is_left_alone():
    register_labels("mine.json", "there.jsonl")
    ensure_registered("mine.json")
    with pytest.raises(LabelError, match=r"there\.jsonl: cannot be read"):
        DatasetCatalog.get("mine.json")


def test_missing_labels_name_the_dataset_and_the_root(dataset):
    name, root = dataset
    register_labels(name, "l.json")
    with pytest.raises(LabelError, match=rf"dataset '{name}': .*l\.json.*{root}.*DETECTRON2"):
        DatasetCatalog.get(name)


def test_the_label_file_of_a_registered_dataset_is_known(dataset):
    name, root = dataset
    assert label_path(name) is None
    register_labels(name, "sub/l.json", "pictures")
    assert label_path(name) == str(root / "sub/l.json")
    assert label_path(str(root / "sub/l.json@x")) == label_path(name)


def test_dataset_without_a_usable_word_is_named(dataset):
    name, root = dataset
    register_labels(name, "l.jsonl")
    blank = {"file_name": "c.png", "texts": [" ", "x"], "ignore": [False, True]}
    write_labels(root / "l.jsonl", [SMALL, SMALL | blank])
    with pytest.raises(LabelError, match=rf"dataset '{name}': none of the 2 images"):
        DatasetCatalog.get(name)


def test_sizes_that_a_record_does_not_state_are_those_of_the_upright_image(dataset):
    name, root = dataset
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    Image.new("RGB", (30, 20)).save(root / "a.jpg", exif=exif)
    write_labels(root / "l.jsonl", [{"file_name": "a.jpg", "texts": ["Hill"]}])
    assert "height" not in (root / "l.jsonl").read_text(encoding="utf-8")
    assert "height" not in read_labels(root / "l.jsonl")[0]
    register_labels(name, "l.jsonl")
    (record,) = DatasetCatalog.get(name)
    assert (record["height"], record["width"]) == (30, 20)
    (root / "a.jpg").write_bytes(b"no picture")
    with pytest.raises(LabelError, match=r"a\.jpg.*size is not stated"):
        DatasetCatalog.get(name)
