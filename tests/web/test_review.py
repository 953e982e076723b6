"""The review of a label file: order, steps, undo, and what is on the disk after each."""

import json
import os

import pytest

pytest.importorskip("starlette", reason="the extra `web` is not installed")
pytest.importorskip("uvicorn", reason="the extra `web` is not installed")

from tests.web.server import Client, block_models, served, write_scenes
from wecromcl_d2.data.datasets import read_labels, write_labels
from wecromcl_d2.web.limits import Limits, RequestError
from wecromcl_d2.web.review import Review


@pytest.fixture
def labels(tmp_path):
    return write_scenes(tmp_path)


@pytest.fixture
def review(labels):
    return Review(f"{labels}@{labels.parent / 'photos'}", Limits())


def on_disk(labels):
    return [json.loads(line) for line in labels.read_text(encoding="utf-8").splitlines()]


def words(review):
    return [(w["file_name"], w["text"]) for w in review.queue(100)["words"]]


def test_the_most_doubtful_words_come_first(review):
    assert words(review) == [
        ("a.png", "street"),
        ("b.png", "street"),
        ("b.png", "hill"),
        ("a.png", "hill"),
    ]


def test_without_similarity_the_weight_decides_and_words_without_point_come_first(labels):
    records = on_disk(labels)
    for record in records:
        del record["similarity"]
    records[0] |= {"points": [[1, 1], [2, 2]], "point_weights": [0.3, 0.1]}
    records[1] |= {"points": [[1, 1], None], "point_weights": [0.2, 0.0]}
    write_labels(labels, records)
    review = Review(f"{labels}@{labels.parent / 'photos'}", Limits())
    assert words(review) == [
        ("b.png", "street"),
        ("a.png", "street"),
        ("b.png", "hill"),
        ("a.png", "hill"),
    ]


def test_each_step_is_in_the_file_at_once_and_undo_takes_it_back(review, labels):
    before = labels.read_bytes()
    review.move(0, 1, [88.126, 60])
    moved = on_disk(labels)
    assert moved[0]["points"] == [[32.0, 20.0], [88.13, 60.0]]
    assert moved[0]["similarity"] == [0.9, None]
    assert moved[0]["point_scores"] == [None, 1.0]
    review.mark_absent(1, 0)
    absent = on_disk(labels)
    assert (absent[1]["points"], absent[1]["ignore"]) == ([None, [88.0, 60.0]], [True, False])
    assert read_labels(labels)[1]["texts"] == ["hill", "street"]
    review.undo()
    assert on_disk(labels) == moved
    progress = review.undo()
    assert (progress["reviewed"], progress["undo"]) == (0, 0)
    assert on_disk(labels) == [json.loads(line) for line in before.splitlines()]
    with pytest.raises(RequestError, match="nothing to undo"):
        review.undo()


def test_reviewed_words_come_last_and_have_full_weight(labels):
    records = on_disk(labels)
    for record in records:
        record["point_weights"] = [0.5, 0.25]
    write_labels(labels, records)
    name = f"{labels}@{labels.parent / 'photos'}"
    review = Review(name, Limits())
    review.confirm(0, 1)
    review.mark_absent(1, 1)
    assert [record["point_weights"] for record in on_disk(labels)] == [[0.5, 1.0], [0.5, 0.0]]
    again = words(Review(name, Limits()))
    assert again == [("b.png", "hill"), ("a.png", "hill"), ("a.png", "street")]


def test_the_first_state_is_kept_beside_the_file(review, labels):
    before = labels.read_bytes()
    review.move(0, 1, [1, 2])
    review.move(0, 1, [3, 4])
    kept = labels.with_name("anchors.jsonl.before-review")
    assert kept.read_bytes() == before
    assert sorted(os.listdir(labels.parent)) == [
        "anchors.jsonl",
        "anchors.jsonl.before-review",
        "photos",
    ]


def test_a_failed_write_changes_nothing(review, labels, monkeypatch):
    before = labels.read_bytes()

    def fail(*_):
        raise OSError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fail)
        with pytest.raises(RequestError, match="the disk is full"):
            review.move(0, 1, [1, 2])
    assert labels.read_bytes() == before
    assert review.queue(1)["words"][0]["point"] == [10.0, 90.0]
    review.move(0, 1, [3, 4])
    assert on_disk(labels)[0]["points"][1] == [3.0, 4.0]


def test_a_file_that_another_program_changed_is_not_written_over(review, labels):
    records = on_disk(labels)
    records[0]["texts"][0] = "mill"
    write_labels(labels, records)
    with pytest.raises(RequestError, match="changed by another program"):
        review.confirm(0, 1)
    assert on_disk(labels)[0]["texts"][0] == "mill"


def test_steps_over_the_wire_and_the_refusal_of_bad_ones(review, labels, tmp_path):
    (tmp_path / "model").mkdir()
    with served(block_models(tmp_path / "model"), review, Limits()) as address:
        client = Client(address)
        queue = client.get("/api/review")
        assert (queue["total"], queue["words"][0]["others"]) == (4, [[32.0, 20.0]])
        step = {"step": "move", "image": 0, "word": 1, "point": [88, 60]}
        status, answer = client.post("/api/review", step)
        assert (status, answer["word"]["point"], answer["reviewed"]) == (200, [88, 60], 1)
        assert client.get("/api/review/image/0")[:2] == b"\xff\xd8"
        assert client.get("/api/review/map/0/1")["points"] == [[88, 60]]
        after = labels.read_bytes()
        for bad in (
            {"step": "move", "image": 0, "word": 1, "point": [161, 5]},
            {"step": "move", "image": 0, "word": 1, "point": [float("nan"), 5]},
            {"step": "move", "image": 0, "word": 1, "point": "here"},
            {"step": "move", "image": 0, "word": 1},
            {"step": "move", "image": 0, "word": 2, "point": [1, 1]},
            {"step": "move", "image": -1, "word": 0, "point": [1, 1]},
            {"step": "confirm", "image": True, "word": 0},
            {"step": "destroy", "image": 0, "word": 0},
            {"step": []},
            {},
        ):
            status, answer = client.post("/api/review", bad)
            assert 400 <= status < 500 and answer["error"], bad
        assert client.post("/api/review", "[" * 9000)[0] == 400
        assert client.post("/api/review", "x" * 20_000)[0] == 413
        assert labels.read_bytes() == after
        assert client.post("/api/review", {"step": "undo"})[0] == 200
        assert on_disk(labels)[0]["points"][1] == [10.0, 90.0]
