"""Labels in other tools' formats, checked by the tools' own packages where those are installed."""

import csv
import io
import json

import pytest
from PIL import Image

from wecromcl_d2.data.datasets import LabelError, read_labels, write_labels
from wecromcl_d2.data.exchange.coco import from_coco, to_coco
from wecromcl_d2.data.exchange.fiftyone import to_fiftyone
from wecromcl_d2.data.exchange.label_studio import CONFIG, from_label_studio, to_label_studio
from wecromcl_d2.data.exchange.labels import merge, most_doubtful, read_relative
from wecromcl_d2.data.exchange.plain import to_csv, to_icdar

OUTLINE = [10, 20, 50, 20, 50, 40, 10, 40]
STREET = {
    "file_name": "a/street.jpg",
    "height": 100,
    "width": 200,
    "texts": ["Hill", "Ünder, way", "###"],
    "points": [[30.5, 30.25], None, [199.0, 1.0]],
    "point_scores": [0.75, None, 0.5],
    "point_weights": [1.0, 0.0, 0.0],
    "polygons": [OUTLINE, None, None],
    "ignore": [False, False, True],
    "similarity": [0.5, None, -0.25],
}
EMPTY = {"file_name": "empty.png", "height": 3, "width": 2, "texts": []}


def dump(path, content):
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def test_coco_comes_back_as_it_went(tmp_path):
    path = dump(tmp_path / "coco.json", to_coco([STREET, EMPTY]))
    assert from_coco(path) == [STREET, EMPTY]


def test_cocos_own_package_reads_the_keypoints(tmp_path):
    coco_class = pytest.importorskip("pycocotools.coco").COCO
    coco = coco_class(str(dump(tmp_path / "coco.json", to_coco([STREET, EMPTY]))))
    (image,) = [i for i in coco.loadImgs(coco.getImgIds()) if i["file_name"] == "a/street.jpg"]
    found = coco.loadAnns(coco.getAnnIds(imgIds=image["id"], iscrowd=False))
    assert [(a["text"], a["num_keypoints"]) for a in found] == [("Hill", 1), ("Ünder, way", 0)]
    assert found[0]["keypoints"] == [30.5, 30.25, 2]
    assert found[0]["bbox"] == [10, 20, 40, 20]
    assert found[0]["area"] == 800
    assert [a["text"] for a in coco.loadAnns(coco.getAnnIds(iscrowd=True))] == ["###"]
    assert coco.loadCats(coco.getCatIds())[0]["keypoints"] == ["anchor"]
    assert coco.annToMask(found[0]).sum() == 800


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": 7}, "no image of id 7"),
        ({"text": None}, "not a string"),
        ({"keypoints": ["x", 1, 2]}, "not a number"),
    ],
)
def test_a_bad_coco_annotation_is_named(tmp_path, change, message):
    content = to_coco([STREET])
    content["annotations"][1] |= change
    with pytest.raises(LabelError, match=rf"coco\.json: annotations\[1\]: .*{message}"):
        from_coco(dump(tmp_path / "coco.json", content))


def test_coco_of_another_tool(tmp_path):
    content = {
        "images": [{"id": "x", "file_name": "b.jpg"}],
        "annotations": [
            {
                "image_id": "x",
                "attributes": {"text": "Hill"},
                "keypoints": [0, 0, 0, 5, 6, 1],
            }
        ],
    }
    (record,) = from_coco(dump(tmp_path / "coco.json", content))
    assert record == {"file_name": "b.jpg", "texts": ["Hill"], "points": [[5, 6]]}
    del content["annotations"][0]["attributes"]
    with pytest.raises(LabelError, match="no text"):
        from_coco(dump(tmp_path / "coco.json", content))


def reviewed(records, change=lambda result: None):
    """Tasks as Label Studio exports them, after somebody has submitted what was predicted."""
    tasks = to_label_studio(records)
    for number, task in enumerate(tasks):
        (prediction,) = task.pop("predictions")
        result = [item | {"id": f"{item['id']}#ab{number}"} for item in prediction["result"]]
        change(result)
        task |= {"id": number + 1, "annotations": [{"id": 9, "result": result}]}
    return tasks


def test_label_studio_comes_back_as_it_went(tmp_path):
    path = dump(tmp_path / "export.json", reviewed([STREET, EMPTY]))
    street, empty = from_label_studio(path)
    assert street["texts"] == STREET["texts"]
    assert street["points"] == STREET["points"]
    assert street["ignore"] == STREET["ignore"]
    assert empty == EMPTY


def test_label_studios_own_package_accepts_tasks_and_config():
    reason = "label-studio-sdk is not installed"
    interface = pytest.importorskip("label_studio_sdk.label_interface", reason=reason)
    labels = interface.LabelInterface(CONFIG)
    labels.validate()
    for task in to_label_studio([STREET, EMPTY]):
        assert labels.validate_task({"data": task["data"]})
        for prediction in task["predictions"]:
            assert not labels.validate_prediction(prediction, return_errors=True)


def test_corrections_in_label_studio(tmp_path):
    def correct(result):
        point, text, *_ = result
        point["value"]["x"] += 5  # percent of 200 pixels
        text["value"]["text"] = ["Hills"]
        new = [point | {"id": "new"}, text | {"id": "new"}]
        new[0]["value"] = {"x": 50, "y": 50, "width": 1, "keypointlabels": ["word"]}
        new[1]["value"] = {"text": ["Ünder, way"]}
        result[:] = [point, text, *new]  # the ignored word's point is deleted

    path = dump(tmp_path / "export.json", reviewed([STREET], correct))
    (record,) = from_label_studio(path)
    assert record["texts"] == ["Hills", "Ünder, way", "###"]
    assert record["points"] == [[40.5, 30.25], [100.0, 50.0], None]


def test_a_word_whose_text_is_emptied_is_gone(tmp_path):
    def empty(result):
        result[1]["value"]["text"] = []

    (record,) = from_label_studio(dump(tmp_path / "e.json", reviewed([STREET], empty)))
    assert record["texts"] == ["Ünder, way", "###"]


def test_tasks_that_nobody_submitted_are_left_out(tmp_path):
    tasks = reviewed([STREET, EMPTY])
    tasks[0]["annotations"][0]["was_cancelled"] = True
    (record,) = from_label_studio(dump(tmp_path / "e.json", tasks))
    assert record["file_name"] == "empty.png"
    tasks[1]["annotations"] = []
    with pytest.raises(LabelError, match="no task has an annotation"):
        from_label_studio(dump(tmp_path / "e.json", tasks))


def test_a_new_point_without_text_names_its_task(tmp_path):
    def add(result):
        result.append(result[0] | {"id": "new"})

    path = dump(tmp_path / "e.json", reviewed([EMPTY, STREET], lambda r: add(r) if r else None))
    with pytest.raises(LabelError, match=r"\[1\]: a point at .* without text"):
        from_label_studio(path)


def test_corrections_go_into_the_labels():
    new = {
        "file_name": "a/street.jpg",
        "texts": ["Hill", "way"],
        "points": [[30.5, 30.25], [7, 8]],
    }
    street, empty = merge([STREET, EMPTY], [new])
    assert empty is EMPTY
    assert street["texts"] == ["Hill", "way"]
    assert street["point_scores"] == [0.75, None]
    assert street["point_weights"] == [1.0, 1.0]
    assert street["similarity"] == [0.5, None]
    assert street["polygons"] == [OUTLINE, None]
    assert "ignore" not in street
    with pytest.raises(LabelError, match=r"'other\.jpg' is corrected"):
        merge([EMPTY], [new | {"file_name": "other.jpg"}])


def test_the_most_doubtful_images_come_first():
    def image(name, scores, texts=None):
        points = [None if score is None else [1, 1] for score in scores]
        return EMPTY | {
            "file_name": name,
            "texts": texts or ["x"] * len(scores),
            "points": points,
            "point_scores": scores,
        }

    records = [image("sure", [0.9, 0.8]), image("lost", [0.9, None]), image("none", [])]
    records += [image("low", [0.9, 0.1]), image("blank", [None], [" "])]
    assert [r["file_name"] for r in most_doubtful(records, 41)] == ["lost", "low", "sure"]


def test_a_table_with_one_row_a_word_is_read_by_other_readers():
    rows = list(csv.reader(io.StringIO(to_csv([STREET]))))
    assert rows[0] == ["image", "text", "x", "y", "score", "weight", "ignore"]
    assert rows[1] == ["a/street.jpg", "Hill", "30.5", "30.25", "0.75", "1.0", "0"]
    assert rows[2] == ["a/street.jpg", "Ünder, way", "", "", "", "0.0", "0"]


def test_icdars_files():
    files, lost = to_icdar([STREET, EMPTY])
    assert lost == 1
    assert files["gt_empty.txt"] == ""
    first, second = files["gt_street.txt"].splitlines()
    assert first == "10,20,50,20,50,40,10,40,Hill"
    assert second == "197,-1,201,-1,201,3,197,3,###"
    bent = STREET | {"polygons": [[0, 0, 4, 0, 8, 0, 8, 2, 4, 2, 0, 2], None, None]}
    corners = to_icdar([bent])[0]["gt_street.txt"].split(",")[:8]
    assert sorted(zip(corners[::2], corners[1::2], strict=True)) == [
        ("0", "0"),
        ("0", "2"),
        ("8", "0"),
        ("8", "2"),
    ]
    with pytest.raises(LabelError, match=r"gt_street\.txt"):
        to_icdar([STREET, STREET | {"file_name": "b/street.png"}])


def test_fiftyones_samples(tmp_path):
    files = to_fiftyone([STREET], tmp_path)
    assert "version" not in files["metadata.json"]  # the form that needs no database
    (sample,) = files["samples.json"]["samples"]
    assert sample["filepath"] == str(tmp_path / "a/street.jpg")
    assert sample["words"]["_cls"] == "Keypoints"
    hill, ignored = sample["words"]["keypoints"]
    assert hill == {
        "_cls": "Keypoint",
        "label": "Hill",
        "points": [[0.1525, 0.3025]],
        "tags": [],
        "confidence": [0.75],
    }
    assert ignored["tags"] == ["ignored"]
    assert sample["words_without_point"] == ["Ünder, way"]


def test_names_are_relative_to_the_root_and_sizes_are_filled_in(tmp_path):
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (4, 5)).save(tmp_path / "photos" / "a.png")
    write_labels(tmp_path / "l.jsonl", [{"file_name": "a.png", "texts": ["Hill"]}])
    records, root = read_relative(f"{tmp_path}/l.jsonl@{tmp_path}/photos")
    assert root == tmp_path / "photos"
    assert records == [{"file_name": "a.png", "texts": ["Hill"], "height": 5, "width": 4}]
    assert read_labels(tmp_path / "l.jsonl", root)
