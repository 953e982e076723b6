"""`wecromcl labels`: from photographs and a table to label files."""

import csv
import json

import pytest
from PIL import Image

from wecromcl_d2.cli.labels import main
from wecromcl_d2.data.datasets import read_labels
from wecromcl_d2.data.text import Charset

QUARTER_TURN = 6


@pytest.fixture
def shop(tmp_path):
    """Ten photographs of 30 x 20 pixels, the first turned by its EXIF tag, and their table."""
    photos = tmp_path / "photos"
    photos.mkdir()
    exif = Image.Exif()
    exif[0x0112] = QUARTER_TURN
    for number in range(10):
        options = {"exif": exif} if number == 0 else {}
        Image.new("RGB", (30, 20)).save(photos / f"img_{number}.jpg", **options)
    rows = [["image", "words"], *([f"img_{n}.jpg", "Grüße  Hotel"] for n in range(10))]
    return write_table(tmp_path, rows)


def write_table(folder, rows):
    with open(folder / "words.csv", "w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows(rows)
    return folder


def run(shop, *options):
    source = [str(shop / "words.csv"), "--images", str(shop / "photos")]
    return main([*source, "--output", str(shop / "shop"), *options])


def records_of(shop, split):
    return read_labels(shop / "shop" / f"{split}.jsonl", shop / "photos")


def test_sizes_words_and_splits(shop, capsys):
    assert run(shop) == 0
    records = {s: records_of(shop, s) for s in ("train", "val", "test")}
    assert {split: len(own) for split, own in records.items()} == {"train": 8, "val": 1, "test": 1}
    every = sorted((r for own in records.values() for r in own), key=lambda r: r["file_name"])
    assert [(r["height"], r["width"]) for r in every] == [(30, 20), *[(20, 30)] * 9]
    assert all(r["texts"] == ["Grüße", "Hotel"] for r in every)
    assert all(set(r) == {"file_name", "height", "width", "texts", "image_id"} for r in every)
    shown = capsys.readouterr().out
    assert "10 images, 20 words" in shown
    assert "EXIF tag says: 1" in shown
    assert f"--train {shop}/shop/train.jsonl@{shop}/photos --val" in shown


def test_letters_outside_the_alphabet_are_shown_and_an_alphabet_proposed(shop, capsys):
    assert run(shop) == 0
    shown = capsys.readouterr().out
    assert "ß is read as ss (10 times)" in shown
    assert "'wecromcl' lacks ü 10\n" in shown
    path = shop / "shop" / "alphabet.txt"
    assert f"MODEL.TEXT_ENCODER.CHARSET {path}" in shown
    proposed = Charset.from_name(str(path))
    assert proposed.characters == Charset.from_name("wecromcl").characters + "ü"
    assert proposed.normalize("GRÜẞE") == "grüsse"


def test_capital_letters_are_kept_on_demand(shop, capsys):
    assert run(shop, "--keep-case") == 0
    path = shop / "shop" / "alphabet.txt"
    proposed = Charset.from_name(str(path), case_fold=False)
    assert proposed.normalize("Grüße HOTEL") == "Grüße HOTEL"
    shown = capsys.readouterr().out
    assert "ß 10, ü 10" in shown
    assert shown.endswith("MODEL.TEXT_ENCODER.CASE_FOLD False\n")


def test_no_alphabet_is_proposed_where_none_is_needed(shop, capsys):
    write_table(shop, [[f"img_{n}.jpg", "Hotel"] for n in range(10)])
    assert run(shop) == 0
    assert not (shop / "shop" / "alphabet.txt").exists()
    shown = capsys.readouterr().out
    assert "every character is in 'wecromcl'" in shown
    assert "MODEL.TEXT_ENCODER" not in shown


def test_lines_stay_whole_and_long_ones_are_told_of(shop, capsys):
    write_table(shop, [[f"img_{n}.jpg", "Open every day  of the whole year"] for n in range(10)])
    assert run(shop, "--lines") == 0
    assert records_of(shop, "val")[0]["texts"] == ["Open every day of the whole year"]
    shown = capsys.readouterr().out
    assert "10 texts are longer than the 25" in shown
    assert "MODEL.TEXT_ENCODER.MAX_LENGTH 32 " in shown


def test_nothing_is_overwritten_without_force(shop, capsys):
    assert run(shop) == 0
    before = (shop / "shop" / "train.jsonl").read_bytes()
    (shop / "shop" / "val.jsonl").unlink()
    assert run(shop, "--seed", "1") == 2
    assert "train.jsonl" in capsys.readouterr().err
    assert (shop / "shop" / "train.jsonl").read_bytes() == before
    assert not (shop / "shop" / "val.jsonl").exists()
    assert run(shop, "--seed", "1", "--split", "90", "10", "0", "--force") == 0
    assert (shop / "shop" / "train.jsonl").read_bytes() != before
    # What the earlier run wrote and this one does not, would mix two splits.
    assert not (shop / "shop" / "test.jsonl").exists()


def test_the_seed_decides_the_split_and_most_images_stay_when_some_are_added(shop):
    assert run(shop) == 0
    first = [r["image_id"] for r in records_of(shop, "train")]
    assert run(shop, "--force") == 0
    assert [r["image_id"] for r in records_of(shop, "train")] == first
    Image.new("RGB", (30, 20)).save(shop / "photos" / "img_10.jpg")
    write_table(shop, [[f"img_{n}.jpg", "Hotel"] for n in range(11)])
    assert run(shop, "--force") == 0
    assert len(set(first) - {r["image_id"] for r in records_of(shop, "train")}) <= 1


def test_photographs_within_the_output_folder_need_no_root(shop, capsys):
    source = [str(shop / "words.csv"), "--images", str(shop / "photos")]
    assert main([*source, "--output", str(shop)]) == 0
    assert f"--train {shop}/train.jsonl --val" in capsys.readouterr().out
    for line in (shop / "train.jsonl").read_text(encoding="utf-8").splitlines():
        assert (shop / json.loads(line)["file_name"]).is_file()


def test_missing_damaged_and_unnamed_photographs_are_counted(shop, capsys):
    (shop / "photos" / "img_1.jpg").write_bytes(b"\xff\xd8 no picture")
    (shop / "photos" / "phone.HEIC").write_bytes(b"0000ftypheic")
    (shop / "photos" / "img_2.heic").write_bytes(b"0000ftypheic")
    names = ["Dateiname", "phone.heic", "img_2", *(f"img_{n}.jpg" for n in (0, 1, 3, 77))]
    write_table(shop, [[name, "Hotel"] for name in names])
    assert run(shop) == 1
    shown = capsys.readouterr().out
    assert "3 images, 3 words" in shown
    assert "not in " in shown and "2 (Dateiname, img_77.jpg)" in shown
    assert "taken for an image; name a heading by --columns IMAGE WORDS: 1 (Dateiname)" in shown
    assert "damaged or no JPEG, PNG or the like, left out: 2 (phone.HEIC, img_1.jpg)" in shown
    assert "left out: 6 (img_4.jpg, img_5.jpg, " in shown


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        ([["a.jpg", "Hotel"]], [], "no photograph that"),
        ([["img_0.jpg"], ["img_1.jpg", " "]], [], "has no word for any of the 2 photographs"),
        ([["img_0.jpg", "Hotel"]], ["--output", __file__], "is a file; name a folder"),
        ([["img_0.jpg", "Hotel"], ["img_1.jpg", "x"]], [], "2 images cannot be split into 3"),
        ([["img_0.jpg", "Hotel"]], ["--columns", "photo", "text"], "no column 'photo'"),
        ([["img_0.jpg", "Hotel"]], ["--charset", "nowhere.txt"], "no readable file"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_writes_nothing(
    shop, rows, options, message, capsys
):
    write_table(shop, rows)
    assert run(shop, *options) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (shop / "shop").exists()


def test_shares_are_checked(shop, capsys):
    with pytest.raises(SystemExit) as end:
        run(shop, "--split", "80", "10", "20")
    assert end.value.code == 2
    assert "100 in all" in capsys.readouterr().err


def test_an_open_quotation_mark_is_named(shop, capsys):
    (shop / "words.csv").write_text('img_0.jpg,"open daily\nimg_1.jpg,x\n', encoding="utf-8")
    assert run(shop) == 2
    assert "words.csv:2: a quotation mark before the end is never closed" in capsys.readouterr().err
