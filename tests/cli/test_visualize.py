"""`wecromcl visualize`, on a spotter and an anchor detector without learning."""

import json

import pytest
import torch
from detectron2.structures import Instances
from PIL import Image

from wecromcl_d2.cli import visualize


@pytest.fixture
def labels(photos):
    """Label file over two of the images: one with outlines and points, one with words alone."""
    size = {"height": 48, "width": 80}
    outline = [8.0, 16.0, 40.0, 16.0, 40.0, 24.0, 8.0, 24.0]
    records = [
        {"file_name": "one.png", "texts": ["hill"], "polygons": [outline], "points": [[24, 20]]},
        {"file_name": "two.png", "texts": ["street"]},
    ]
    path = photos / "labels.jsonl"
    path.write_text("\n".join(json.dumps(r | size) for r in records), encoding="utf-8")
    return path


def drawn(folder):
    return sorted(path.name for path in folder.iterdir())


def test_labels_are_drawn(labels, tmp_path):
    output = tmp_path / "out"
    assert visualize.main(["labels", "--dataset", str(labels), "--output", str(output)]) == 0
    assert drawn(output) == ["one.png", "overview.png", "two.png"]
    with Image.open(output / "one.png") as image:
        assert len(image.convert("RGB").getcolors(2**24)) > 2


def test_images_of_equal_names_have_a_drawing_each(photos, tmp_path):
    with Image.open(photos / "one.png") as image:
        image.save(photos / "overview.png")
    names = ("one.png", "more/one.png", "overview.png")
    path, output = photos / "labels.jsonl", tmp_path / "out"
    lines = [json.dumps({"file_name": name, "texts": ["way"]}) for name in names]
    path.write_text("\n".join(lines), encoding="utf-8")
    assert visualize.main(["labels", "--dataset", str(path), "--output", str(output)]) == 0
    assert drawn(output) == ["one-2.png", "one.png", "overview-2.png", "overview.png"]
    with Image.open(output / "one.png") as first, Image.open(output / "one-2.png") as second:
        assert first.tobytes() != second.tobytes()


def test_words_read_are_drawn_beside_the_labels(model, labels, tmp_path, capsys):
    output = tmp_path / "out"
    argv = ["words", *model, "--dataset", str(labels), "--output", str(output), "--count", "1"]
    assert visualize.main(argv) == 0
    assert drawn(output) == ["one.png", "overview.png"]
    assert "1 drawings in" in capsys.readouterr().out


def test_anchors_are_drawn_beside_the_labels(anchors, labels, tmp_path):
    output = tmp_path / "out"
    argv = ["anchors", *anchors, "--dataset", str(labels), "--output", str(output)]
    assert visualize.main(argv) == 0
    assert drawn(output) == ["one.png", "overview.png", "two.png"]


def test_anchors_of_ignored_words_are_not_drawn(photos, monkeypatch):
    monkeypatch.setattr(visualize, "anchor_sheet", lambda image, words, *_, **__: words)
    texts, ignore = ["hill", "###", "hill"], [True, True, False]
    outlines = [[x, 0, x + 9, 0, x + 9, 9, x, 9] for x in (0, 20, 40)]
    record = {"file_name": str(photos / "one.png"), "texts": texts, "polygons": outlines}
    found = Instances((48, 80), pred_texts=["hill", "###"], scores=torch.ones(2))
    found.pred_points, found.pred_maps = torch.tensor([[4.0, 4.0]] * 2), torch.ones(2, 6, 10)
    (word,) = visualize.draw_found_anchors(record | {"ignore": ignore}, found)
    assert word.text == "hill" and word.polygon == outlines[2]


def result(name, wrong):
    word = {"text": "hill", "found": not wrong, "ignore": False, "polygon": None}
    errors = {"wrong": wrong, "missed": wrong, "states": ["wrong" if wrong else "right"]}
    found = {"points": [[24, 20]], "read_as": ["hill"], "words": [word]}
    return {"image_id": name, "file_name": name} | errors | found


def test_results_are_drawn_in_their_order_or_the_worst_alone(photos, tmp_path, capsys):
    images = [result(str(photos / name), wrong) for name, wrong in (("one.png", 0), ("two.png", 1))]
    results = tmp_path / "spotting.json"
    results.write_text(json.dumps({"protocols": {"words": {"images": images}}}), encoding="utf-8")
    argv = ["results", "--results", str(results), "--output"]
    assert visualize.main([*argv, str(tmp_path / "all"), "--protocol", "words"]) == 0
    assert drawn(tmp_path / "all") == ["one.png", "overview.png", "two.png"]
    assert visualize.main([*argv, str(tmp_path / "worst"), "--worst"]) == 0
    assert drawn(tmp_path / "worst") == ["overview.png", "worst_001_two.png"]
    assert visualize.main([*argv, str(tmp_path), "--protocol", "point"]) == 2
    assert "no protocol 'point'; there are words" in capsys.readouterr().err


def test_damaged_results_are_refused(tmp_path, capsys):
    results = tmp_path / "spotting.json"
    results.write_text('{"images": [{"image_id": 1}]}', encoding="utf-8")
    argv = ["results", "--results", str(results), "--output", str(tmp_path)]
    assert visualize.main(argv) == 2
    assert "entry 1 has not all of file_name" in capsys.readouterr().err


def test_an_unknown_dataset_and_a_wrong_count_are_refused(tmp_path, capsys):
    argv = ["labels", "--dataset", "no_such_set", "--output", str(tmp_path)]
    assert visualize.main(argv) == 2
    assert "no_such_set" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        visualize.main([*argv, "--count", "0"])
