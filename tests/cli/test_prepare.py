"""`wecromcl prepare`, from the command line to files."""

import json
import zipfile

import pytest
from PIL import Image

from wecromcl_d2.cli.prepare import main
from wecromcl_d2.data.datasets import read_labels

QUADRILATERAL = "1,2,9,2,9,6,1,6"


@pytest.fixture
def source(tmp_path):
    """Three annotated images of ICDAR 2015 in a folder, one more only in the ground truth."""
    root = tmp_path / "icdar2015"
    (root / "train_images").mkdir(parents=True)
    for number in (1, 2, 10):
        Image.new("RGB", (64, 48)).save(root / "train_images" / f"img_{number}.jpg")
    with zipfile.ZipFile(root / "train_gts.zip", "w") as archive:
        for number in (1, 10, 2, 3):
            content = f"\ufeff{QUADRILATERAL},Hill€\r\n{QUADRILATERAL},###\r\n"
            archive.writestr(f"gt_img_{number}.txt", content)
    return root


def test_labels_and_report(source, capsys):
    assert main(["icdar2015", "--root", str(source)]) == 0
    records = read_labels(source / "train.jsonl")
    assert [record["image_id"] for record in records] == ["img_1", "img_2", "img_10"]
    assert records[0]["texts"] == ["Hill€", "###"]
    assert records[0]["ignore"] == [False, True]
    assert records[0]["points"] == [[5, 4], [5, 4]]
    output = capsys.readouterr().out
    assert "images 3 of 1000 published" in output
    assert "words 6, of which 3 ignored (0 of them blank)" in output
    assert "characters 15, of which 3 outside the charset: '\\u20ac' 3" in output
    assert "centers 6, of which 0 outside their outline" in output
    assert "annotated images that are missing 1 (img_3)" in output
    assert "icdar2015 test: files are missing" in output
    assert "https://rrc.cvc.uab.es/?ch=4" in output


def test_the_same_source_gives_the_same_bytes(source, tmp_path, capsys):
    outputs = []
    for name in ("one", "two"):
        folder = tmp_path / name
        arguments = ["icdar2015", "--root", str(source), "--output", str(folder), "--preview", "2"]
        assert main(arguments) == 0
        outputs.append({path.name: path.read_bytes() for path in sorted(folder.iterdir())})
    assert outputs[0] == outputs[1]
    assert sorted(outputs[0]) == ["train.jsonl", "train_preview.png"]
    assert f"register it with image_root='{source}'" in capsys.readouterr().out
    with Image.open(tmp_path / "one" / "train_preview.png") as sheet:
        assert sheet.width > 2 * sheet.height / 2


def test_short_words_are_ignored_on_request(source):
    with zipfile.ZipFile(source / "train_gts.zip", "w") as archive:
        lines = "".join(f"{QUADRILATERAL},{text}\n" for text in ("at", "Inn", "###"))
        archive.writestr("gt_img_1.txt", lines)
    for length, ignored in (("1", [False, False, True]), ("3", [True, False, True])):
        assert main(["icdar2015", "--root", str(source), "--min-length", length]) == 0
        (record,) = read_labels(source / "train.jsonl")
        assert (record["texts"], record["ignore"]) == (["at", "Inn", "###"], ignored)
    assert main(["icdar2015", "--root", str(source), "--min-length", "3", "--words-only"]) == 0
    assert read_labels(source / "train.jsonl")[0]["texts"] == ["Inn"]


def test_words_only_writes_no_position(source):
    assert main(["icdar2015", "--root", str(source), "--words-only"]) == 0
    for line in (source / "train.jsonl").read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        assert set(record) == {"file_name", "height", "width", "texts", "image_id"}
        assert record["texts"] == ["Hill€"]


def test_check_writes_nothing_and_tells_by_its_status(source, capsys):
    before = sorted(source.rglob("*"))
    assert main(["icdar2015", "--root", str(source), "--check"]) == 1
    assert sorted(source.rglob("*")) == before
    Image.new("RGB", (64, 48)).save(source / "train_images" / "img_3.jpg")
    assert main(["icdar2015", "--root", str(source), "--check", "--split", "train"]) == 0
    (source / "train_images" / "img_3.jpg").write_bytes(b"JFIF")
    assert main(["icdar2015", "--root", str(source), "--check", "--split", "train"]) == 1
    assert "images that cannot be read 1 (img_3.jpg)" in capsys.readouterr().out


def test_a_fault_leaves_the_old_labels(source, capsys):
    assert main(["icdar2015", "--root", str(source)]) == 0
    old = (source / "train.jsonl").read_bytes()
    with zipfile.ZipFile(source / "train_gts.zip", "a") as archive:
        archive.writestr("gt_img_11.txt", "1,2,3\n")
    assert main(["icdar2015", "--root", str(source)]) == 2
    assert f"{source}/train_gts.zip/gt_img_11.txt:1: " in capsys.readouterr().err
    assert (source / "train.jsonl").read_bytes() == old
    assert not [path for path in source.iterdir() if path.name.startswith(".")]


def test_nothing_there(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    assert main(["totaltext"]) == 2
    captured = capsys.readouterr()
    assert f"images: {tmp_path}/totaltext/train_images" in captured.out
    assert "https://github.com/cs-chan/Total-Text-Dataset" in captured.out
    assert "nothing to convert" in captured.err


def test_a_table_of_ones_own(tmp_path):
    Image.new("L", (6, 4)).save(tmp_path / "a.png")
    (tmp_path / "words.csv").write_text("a.png,Hill,Street\n", encoding="utf-8")
    arguments = ["table", "--root", str(tmp_path), "--split", "val", "--truth", "words.csv"]
    assert main([*arguments, "--preview", "1"]) == 0
    (record,) = read_labels(tmp_path / "val.jsonl")
    assert (record["texts"], record["height"], record["width"]) == (["Hill", "Street"], 4, 6)


def test_two_parts_make_one_set(tmp_path):
    for part in ("syntext1", "syntext2"):
        (tmp_path / part / "images").mkdir(parents=True)
        Image.new("RGB", (6, 4)).save(tmp_path / part / "images" / "7.jpg")
        content = {
            "images": [{"id": 7, "file_name": "7.jpg", "height": 4, "width": 6}],
            "annotations": [{"id": 1, "image_id": 7, "bbox": [1, 1, 2, 2], "rec": [35, 96]}],
        }
        (tmp_path / part / "train.json").write_text(json.dumps(content), encoding="utf-8")
    assert main(["curvedsyntext", "--root", str(tmp_path)]) == 0
    records = read_labels(tmp_path / "train.jsonl")
    assert [record["image_id"] for record in records] == ["syntext1/images/7", "syntext2/images/7"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["icdar2015", "--truth", "x"],
        ["icdar2015", "--split", "val"],
        ["icdar2015", "--preview", "-1"],
        ["nothing"],
    ],
)
def test_bad_arguments(arguments, capsys):
    with pytest.raises(SystemExit):
        main(arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--scripts", "Latin"], "--scripts does not apply to icdar2015"),
        (["--charset", "klingon"], "klingon"),
        (["--split", "train", "--images", ".."], "lies outside"),
        (["--split", "train", "--images", "/"], "lies outside"),
        (["--encoding", "klingon"], "klingon"),
    ],
)
def test_options_that_do_not_fit(source, arguments, message, capsys):
    assert main(["icdar2015", "--root", str(source), *arguments]) == 2
    assert message in capsys.readouterr().err
