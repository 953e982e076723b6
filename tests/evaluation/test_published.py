"""The published lexicons in the forms they come in, and the rules that belong to them."""

import zipfile
from pathlib import Path

import pytest

from wecromcl_d2.data.datasets import LabelError
from wecromcl_d2.evaluation.lexicon import ImageLexicons, Lexicon
from wecromcl_d2.evaluation.published import (
    LEXICONS,
    missing_lexicons,
    read_published_lexicons,
)

REAL = Path(__file__).resolve().parents[2].parent / "shared" / "real"


@pytest.fixture
def root(tmp_path):
    (tmp_path / "lexicons").mkdir()
    return tmp_path


def write(root, name, *lines):
    (root / "lexicons" / name).write_text("\n".join(lines), encoding="utf-8")


def test_words_without_a_near_entry_are_dropped_but_for_the_generic_lexicon(root):
    write(root, "ch4_test_vocabulary_new.txt", "CAFE")
    write(root, "ch4_test_vocabulary_pair_list.txt", "CAFE Café")
    write(root, "GenericVocabulary_new.txt", "STREET")
    write(root, "GenericVocabulary_pair_list.txt", "STREET Street")
    found = read_published_lexicons("icdar2015", root)
    assert list(found) == ["weak", "generic"]
    assert isinstance(found["weak"], Lexicon) and isinstance(found["generic"], Lexicon)
    assert found["weak"].correct(["cafes", "zzzz"]) == ["Café", None]
    assert found["generic"].correct(["zzzz"]) == ["Street"]
    (missing,) = missing_lexicons("icdar2015", root)
    assert missing.startswith(f"strong lexicon: {root}/lexicons/new_strong_lexicon, or ")


def test_strong_lists_lie_in_a_zip_with_their_pairs(root):
    with zipfile.ZipFile(root / "lexicons" / "new_strong_lexicon.zip", "w") as archive:
        archive.writestr("new_voc_img_7.txt", "BNB\n")
        archive.writestr("pair_voc_img_7.txt", "BNB B&B\n")
    strong = read_published_lexicons("icdar2013", root)["strong"]
    assert isinstance(strong, ImageLexicons)
    assert strong.of("img_7").correct(["bnb"]) == ["B&B"]


def test_a_pair_list_that_is_missing_is_named(root):
    write(root, "weak_voc_new.txt", "CAFE")
    with pytest.raises(LabelError, match=r"weak_voc_pair_list\.txt"):
        read_published_lexicons("totaltext", root)
    assert read_published_lexicons("ctw1500", root)["full"].correct(["cafe"]) == ["CAFE"]


def test_every_set_without_its_lexicons_says_so(tmp_path):
    for name, kinds in LEXICONS.items():
        assert read_published_lexicons(name, tmp_path) == {}
        assert len(missing_lexicons(name, tmp_path)) == len(kinds)


@pytest.mark.skipif(not REAL.is_dir(), reason=f"the published files are not in {REAL}")
@pytest.mark.parametrize(
    ("name", "folder", "sizes"),
    [
        ("icdar2015", "ic15", {"strong": 500, "weak": 1212, "generic": 88078}),
        ("totaltext", "tt", {"full": 1500}),
        ("ctw1500", "ctw", {"full": 2668}),
    ],
)
def test_the_published_files_are_found(tmp_path, name, folder, sizes):
    (tmp_path / "lexicons").symlink_to(REAL / "lexicons" / folder)
    found = read_published_lexicons(name, tmp_path)
    counts = {
        kind: len(lexicon.entries if isinstance(lexicon, Lexicon) else lexicon.by_number)
        for kind, lexicon in found.items()
    }
    assert counts == sizes
