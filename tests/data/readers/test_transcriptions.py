"""Tables and folders of texts as people keep them, found among photographs by any name."""

import unicodedata

import pytest
from PIL import Image

from wecromcl_d2.data.alphabet import expanded, extended, letter, outside, write_alphabet
from wecromcl_d2.data.datasets import LabelError
from wecromcl_d2.data.readers.transcriptions import (
    PhotoFolder,
    Reading,
    assign_splits,
    read_transcriptions,
)
from wecromcl_d2.data.text import Charset


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    for name in ("a.jpg", "IMG_2.JPG", "day/b.png", "day/c.jpg", "night/c.jpg", "é.jpg"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (3, 2)).save(folder / name)
    (folder / "notes.txt").write_text("no picture", encoding="utf-8")
    (folder / ".hidden.jpg").write_bytes(b"")
    return PhotoFolder(folder)


def texts_of(path, photos, **reading):
    ground_truth = read_transcriptions(path, Reading(**reading), photos)
    return {gt.names[0]: [word.text for word in gt.words] for gt in ground_truth}


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("a.jpg", "a.jpg"),
        ("a", "a.jpg"),
        ("img_2.jpg", "IMG_2.JPG"),
        ("b.png", "day/b.png"),
        ("day/b", "day/b.png"),
        ("day\\b.png", "day/b.png"),
        ("C:\\shop\\day\\c.jpg", "day/c.jpg"),
        ("/home/shop/photos/a.jpg", "a.jpg"),
        (unicodedata.normalize("NFD", "é.jpg"), "é.jpg"),
        ("a.png", None),
        ("night/b.png", None),
        ("../a.jpg", "a.jpg"),
    ],
)
def test_photographs_are_found_by_any_of_their_names(photos, name, found):
    assert photos.find((name,)) == found


def test_a_name_of_two_photographs_is_refused(photos):
    with pytest.raises(LabelError, match=r"'c\.jpg' may be day/c\.jpg or night/c\.jpg"):
        photos.find(("c.jpg",))


def test_photographs_that_nobody_names_are_listed(photos):
    photos.find(("a.jpg",))
    photos.find(("c.png",))
    assert photos.unused() == ["IMG_2.JPG", "day/b.png", "day/c.jpg", "night/c.jpg", "é.jpg"]


def test_a_folder_without_photographs_is_refused(tmp_path):
    with pytest.raises(LabelError, match="no image in it"):
        PhotoFolder(tmp_path)
    with pytest.raises(LabelError, match="no such folder"):
        PhotoFolder(tmp_path / "missing")


@pytest.mark.parametrize(
    ("name", "content", "columns"),
    [
        ("w.csv", "a.jpg,Hill Street\n", None),
        ("w.csv", "a.jpg,Hill\na.jpg,Street\n", None),
        ("w.csv", "a.jpg;Hill Street\n", None),
        ("w.csv", 'a.jpg;"Hill\nStreet"\n', None),
        ("w.tsv", "image\ttext\na.jpg\tHill Street\n", None),
        ("w.txt", "a\tHill Street\n", None),
        ("w.csv", "id,file,words,by\n7,a.jpg,Hill Street,Ann\n", None),
        ("w.csv", "image,words\na.jpg,Hill,Street\n", None),
        ("w.csv", "what,where\nHill Street,a.jpg\n", ("where", "what")),
        ("w.csv", "A.JPG,Hill\na,Street\n", None),
    ],
)
def test_tables_of_many_kinds(tmp_path, photos, name, content, columns):
    (tmp_path / name).write_text(content, encoding="utf-8")
    assert texts_of(tmp_path / name, photos, columns=columns) == {"a.jpg": ["Hill", "Street"]}


def test_a_folder_of_text_files(tmp_path, photos):
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "a.txt").write_text("Hill  Street\n\nOpen\n", encoding="utf-8")
    (folder / "b.png.txt").write_text("", encoding="utf-8")
    assert texts_of(folder, photos) == {"a.jpg": ["Hill", "Street", "Open"], "day/b.png": []}
    assert texts_of(folder, photos, lines=True)["a.jpg"] == ["Hill Street", "Open"]


def test_label_files_without_sizes(tmp_path, photos):
    path = tmp_path / "w.jsonl"
    path.write_text('{"file_name": "day/b.png", "texts": ["Hill Street"]}\n', encoding="utf-8")
    assert texts_of(path, photos, lines=True) == {"day/b.png": ["Hill Street"]}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("w.csv", "", "no row in it"),
        ("w.csv", "a.jpg,x\n,Hill\n", r"w\.csv:2: a row without the name"),
        ("w.csv", b"a.jpg,caf\xe9\n", r"w\.csv:1: not utf-8"),
        ("w.xlsx", "", "save the sheet as CSV"),
    ],
)
def test_bad_sources_are_named(tmp_path, photos, name, content, message):
    data = content if isinstance(content, bytes) else content.encode()
    (tmp_path / name).write_bytes(data)
    with pytest.raises(LabelError, match=message):
        texts_of(tmp_path / name, photos)


@pytest.mark.parametrize(
    ("count", "shares", "sizes"),
    [
        (100, (80, 10, 10), (80, 10, 10)),
        (3, (80, 10, 10), (1, 1, 1)),
        (4, (0, 50, 50), (0, 2, 2)),
        (1, (100, 0, 0), (1, 0, 0)),
        (2, (1, 99, 0), (1, 1, 0)),
        (5, (0, 0, 100), (0, 0, 5)),
        (3, (0, 50, 50), (0, 1, 2)),
        (5, (0, 50, 50), (0, 3, 2)),
        (3, (98, 1, 1), (1, 1, 1)),
        (7, (34, 33, 33), (3, 2, 2)),
    ],
)
def test_splits_have_their_shares_and_every_image_once(count, shares, sizes):
    names = [f"{n}.jpg" for n in range(count)]
    splits = assign_splits(names, shares, 0)
    assert tuple(map(len, splits.values())) == sizes
    assert sorted(name for own in splits.values() for name in own) == sorted(names)


def test_characters_are_compared_as_they_are_read():
    charset = Charset.from_name("wecromcl")
    characters = {"ß": 2, "Ä": 3, "ä": 1, "s": 5, "\u200b": 4, "ŉ": 1}
    missing = outside(characters, charset)
    assert missing == {"ä": 4, "\u200b": 4, "ʼ": 1}
    assert expanded(characters, charset) == {"ß": "ss", "ŉ": "ʼn"}
    assert extended(charset, missing).characters == charset.characters + "äʼ"


def test_the_alphabet_file_is_read_back(tmp_path):
    charset = Charset("a é" + "字", case_fold=False)
    write_alphabet(tmp_path / "alphabet.txt", charset)
    assert Charset.from_name(str(tmp_path / "alphabet.txt"), case_fold=False) == charset


@pytest.mark.parametrize(
    ("character", "name"),
    [
        ("ä", "ä"),
        ("字", "字"),
        (" ", "U+0020 space"),
        ("\u200b", "U+200B zero width space"),
        ("\u0301", "U+0301 combining acute accent"),
        ("\x07", "U+0007"),
    ],
)
def test_characters_are_called_as_a_person_would(character, name):
    assert letter(character) == name
