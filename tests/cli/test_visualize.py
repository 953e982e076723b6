"""`wecromcl visualize`, on a spotter and an anchor detector without learning."""

import json

import pytest
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


def test_an_unknown_dataset_and_a_wrong_count_are_refused(tmp_path, capsys):
    argv = ["labels", "--dataset", "no_such_set", "--output", str(tmp_path)]
    assert visualize.main(argv) == 2
    assert "no_such_set" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        visualize.main([*argv, "--count", "0"])
