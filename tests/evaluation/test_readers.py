import json
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wecromcl_d2.data.datasets import LabelError
from wecromcl_d2.evaluation.image_names import by_path_end
from wecromcl_d2.evaluation.readers import (
    by_number,
    parse_point_file,
    read_ground_truth,
    read_image_lexicons,
    read_lexicon,
    read_predictions,
)

QUAD = "0,0,40,0,40,20,0,20"
REAL = Path(__file__).parents[3] / "shared" / "real"


def save(path, content):
    text = content if isinstance(content, str) else json.dumps(content)
    path.write_text(text, encoding="utf-8")
    return path


def test_point_files_in_folder_and_zip(tmp_path):
    folder = tmp_path / "gt"
    folder.mkdir()
    save(folder / "0000012.txt", f"\ufeff{QUAD},####Fish, chips \r\n\r\n{QUAD},#######\r\n")
    save(folder / "extra.txt", "")
    with zipfile.ZipFile(tmp_path / "gt.zip", "w") as archive:
        for path in folder.iterdir():
            archive.write(path, path.name)
    for source in (folder, tmp_path / "gt.zip"):
        ground_truth = read_ground_truth(source)
        assert ground_truth.keys() == {12, "extra"}
        assert ground_truth[12].texts == ["Fish, chips", "###"]
        assert ground_truth[12].points.tolist() == [[20, 10], [20, 10]]
        assert ground_truth[12].ignore.tolist() == [False, True]
        assert ground_truth["extra"].texts == []


def test_words_with_separators_and_blanks():
    content = f"{QUAD},####ab,####cd\n{QUAD},#### lead\n{QUAD},####trail  \n".encode()
    words = [word.text for word in parse_point_file(content)]
    assert words == ["ab,####cd", " lead", "trail"]
    assert [word.text for word in parse_point_file(content, "official")] == ["ab", " lead", "trail"]


@pytest.mark.parametrize("content", [f"{QUAD},####a\n\n{QUAD},####b\n", f"\ufeff{QUAD},####a\n"])
def test_official_mode_refuses_what_breaks_the_published_script(content):
    assert parse_point_file(content.encode())
    with pytest.raises(LabelError, match=r"^[12]: .*published script fails"):
        parse_point_file(content.encode(), "official")


@pytest.mark.parametrize(
    "line", ["1,2,3,4,5,6", "x,####a", f"{QUAD},7,####a", "1,2,3,4,####a", "nan,1,1,1,1,1,####a"]
)
def test_bad_point_lines_name_file_and_line(tmp_path, line):
    save(tmp_path / "7.txt", f"{QUAD},####good\n{line}\n")
    with pytest.raises(LabelError, match=r"7\.txt:2: "):
        read_ground_truth(tmp_path)


@given(st.binary(max_size=60) | st.text(alphabet=",#0159-.eE \n\r\t\0\ufeffa", max_size=60))
def test_point_files_of_anything_end_in_words_or_one_error(content):
    data = content if isinstance(content, bytes) else content.encode()
    for mode in ("robust", "official"):
        try:
            words = parse_point_file(data, mode)
        except LabelError as error:
            assert str(error).split(":")[0].isdigit()
        else:
            assert all(len(word.polygon) >= 6 for word in words)
            assert len(words) <= data.count(b"\n") + 1


def test_label_files_and_the_authors_json(tmp_path):
    record = {"file_name": "b/img_1.jpg", "height": 9, "width": 9, "texts": ["a", "b"]}
    label = save(
        tmp_path / "a.json", [record | {"points": [[1, 2], None], "ignore": [False, True]}]
    )
    assert read_ground_truth(label)["b/img_1"].points[0].tolist() == [1, 2]
    authors = {"img_3.jpg": {"text": ["Hill"], "points": [[258, 74]], "scores": [0.5]}}
    path = save(tmp_path / "b.json", authors)
    assert read_ground_truth(path)["img_3"].texts == ["Hill"]
    assert read_predictions(path)["img_3"].scores.tolist() == [0.5]


def test_spts_results_are_grouped_by_image(tmp_path):
    entries = [
        {"image_id": 7, "polys": [[101.5, 60]], "rec": "CAFE", "score": 0.93},
        {"image_id": 8, "polys": [[1, 2]], "rec": "", "score": 0.9},
        {"image_id": 7, "polys": [[3, 4]], "rec": "漢字", "score": 1, "value": [0.1]},
    ]
    found = read_predictions(save(tmp_path / "r.json", entries))
    assert found[7].texts == ["CAFE", "漢字"]
    assert found[7].points.tolist() == [[101.5, 60], [3, 4]]
    assert found[8].scores.tolist() == [0.9]
    assert read_predictions(save(tmp_path / "none.json", [])) == {}


def test_records_lines_and_what_evaluators_write(tmp_path):
    record = {"file_name": "b/img_1.jpg", "texts": ["a"], "points": [[1, 2]], "scores": [0.5]}
    second = record | {"image_id": 3}
    for path in (
        save(tmp_path / "r.json", [record, second]),
        save(tmp_path / "r.jsonl", f"{json.dumps(record)}\n\n{json.dumps(second)}\n"),
        save(tmp_path / "anchors.json", {"metrics": {}, "images": [record, second]}),
    ):
        found = read_predictions(path)
        assert list(found) == ["b/img_1", 3]
        assert found[3].points.tolist() == [[1, 2]]


GOOD = {"image_id": 1, "polys": [[1, 2]], "rec": "a", "score": 0.5}


@pytest.mark.parametrize(
    "change",
    [
        {"image_id": True},
        {"image_id": 1.5},
        {"polys": [[1, 2], [3, 4]]},
        {"polys": [[1, "2"]]},
        {"polys": [[1, 1e999]]},
        {"polys": 5},
        {"rec": None},
        {"rec": "a\0"},
        {"rec": "\ud800"},
        {"score": None},
        {"score": 10**400},
    ],
)
def test_bad_spts_entries_are_named(tmp_path, change):
    with pytest.raises(LabelError, match=r"r\.json"):
        read_predictions(save(tmp_path / "r.json", [GOOD, GOOD | change]))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", r"r\.json:1: not valid JSON"),
        ("5", "neither a list nor an object"),
        ("[" * 100_000, "not usable JSON"),
        ('[{"texts": ["a"], "points": [[0, NaN]]}]', "NaN"),
        ([{"texts": ["a"], "points": []}], "entry 1: 1 texts, 0 points"),
        ([{"texts": ["a"], "points": [[0, 0]], "scores": [0.5]}], "image_id or file_name"),
        ({"a.jpg": {"texts": []}}, r"image 'a\.jpg': 'text' and 'points' are lists"),
        (
            {"a.jpg": {"text": [], "points": []}, "a.png": {"text": [], "points": []}},
            "occurs twice",
        ),
        ([7], "entry 1: 7 is not an object"),
    ],
)
def test_bad_results_say_what_is_wrong(tmp_path, content, said):
    with pytest.raises(LabelError, match=said):
        read_predictions(save(tmp_path / "r.json", content))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["image_id", "polys", "rec", "score", "texts", "text", "points"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(JSON)
def test_results_of_anything_end_in_words_or_one_error(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "anything.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    for read in (read_predictions, read_ground_truth):
        try:
            found = read(path)
        except LabelError as error:
            assert str(error)
        else:
            assert all(len(words.texts) == len(words.points) for words in found.values())


@pytest.mark.parametrize("name", ["none.json", "none.jsonl", "none.txt"])
def test_missing_files_are_named(tmp_path, name):
    for read in (read_predictions, read_ground_truth, read_lexicon):
        with pytest.raises(LabelError, match="none"):
            read(tmp_path / name)


def test_images_by_number():
    assert by_number({"gt_img_12": "x", 3: "y"}) == {12: "x", 3: "y"}
    with pytest.raises(LabelError, match="'img' ends in no number"):
        by_number({"img": 1})
    with pytest.raises(LabelError, match="12 occurs twice"):
        by_number({"img_12": 1, "0012": 2})


def test_lexicons_with_marks_and_windows_line_ends(tmp_path):
    words = save(tmp_path / "words.txt", "\ufeffBNB\r\nHILL\r\n\r\n")
    pairs = save(tmp_path / "pairs.txt", "BNB B&B\r\nHILL Hill\r\n")
    lexicon = read_lexicon(words, pairs)
    assert lexicon.entries == ["BNB", "HILL"]
    assert lexicon.correct(["bnb", "hil"]) == ["B&B", "Hill"]
    with pytest.raises(LabelError, match="one word a line"):
        read_lexicon(save(tmp_path / "empty.txt", "\n"))


def test_official_mode_keeps_marks_of_lexicons(tmp_path):
    words = save(tmp_path / "words.txt", "\ufeffBNB\n\nHILL\n")
    assert read_lexicon(words, mode="official").entries == ["\ufeffBNB", "", "HILL"]


def test_strong_lexicons_with_and_without_pairs(tmp_path):
    save(tmp_path / "voc_img_1.txt", "BNB\n")
    save(tmp_path / "voc_img_10.txt", "HILL\n")
    save(tmp_path / "pair_voc_img_1.txt", "BNB B&B\n")
    lexicons = read_image_lexicons(tmp_path)
    assert sorted(lexicons.by_number) == [1, 10]
    assert lexicons.of("img_10").entries == ["HILL"]
    with pytest.raises(LabelError, match=r"no pair list pair_voc_img_10\.txt"):
        read_image_lexicons(tmp_path, pairs="pair_voc_img_{n}")
    save(tmp_path / "pair_voc_img_10.txt", "HILL Hill\n")
    paired = read_image_lexicons(tmp_path, pairs="pair_voc_img_{n}")
    assert paired.of(1).replacements == ["B&B"]
    with pytest.raises(LabelError, match="names one file"):
        read_image_lexicons(tmp_path, "voc")
    with pytest.raises(LabelError, match="no file is called x_1_"):
        read_image_lexicons(tmp_path, "x_1_{n}")


@pytest.mark.skipif(not REAL.is_dir(), reason="the published samples are not here")
def test_published_ground_truth_and_lexicons():
    ground_truth = read_ground_truth(REAL / "ctw1500" / "test_gts.zip")
    ignored = sum(int(gt.ignore.sum()) for gt in ground_truth.values())
    assert (len(ground_truth), sum(len(t.texts) for t in ground_truth.values()), ignored) == (
        500,
        3075,
        387,
    )
    folder = REAL / "lexicons" / "ic15"
    generic = read_lexicon(folder / "generic_new.txt", folder / "generic_new_pair_list.txt")
    assert (len(generic.entries), len(set(generic.entries))) == (88_078, 88_032)
    strong = read_image_lexicons(folder / "strong.zip")
    assert len(strong.by_number) == 500
    assert {100 <= len(one.entries) <= 105 for one in strong.by_number.values()} == {True}


def test_paths_that_differ_in_their_root_are_one_image_unless_two_fit():
    found = {"p/a": 1, "b": 2, "c": 3, "p/d": 4, "q/d": 5, 7: 6, "e": 7}
    known = ["a", "q/b", "x/c", "y/c", "d", 7, "e", "r/e"]
    assert by_path_end(found, known) == {
        "a": 1,
        "q/b": 2,
        "c": 3,
        "p/d": 4,
        "q/d": 5,
        7: 6,
        "e": 7,
    }
