"""The whole tool on tiny images with random weights; also a program that kills itself."""

import errno
import json
import logging
import multiprocessing
import os
import re
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog

from wecromcl_d2 import add_wecromcl_config
from wecromcl_d2.cli import anchor_labels, benchmark, labelling_speed
from wecromcl_d2.cli import anchors as tool
from wecromcl_d2.cli.status import LOSSES
from wecromcl_d2.data import read_labels, write_labels
from wecromcl_d2.data.datasets import ensure_registered, register_labels
from wecromcl_d2.stage1 import generate as anchor_generation
from wecromcl_d2.stage1.mapper import AnchorMapper
from wecromcl_d2.stage1.wecromcl import WeCromCL

from .toy import COMMON, CONFIG, IMAGES, arguments, make_model, make_record, records_of

WITH_ANCHOR = ("kept", "low_weight", "zero", "collision", "no_peak")

pytestmark = pytest.mark.usefixtures("no_drawings")


@pytest.fixture
def no_drawings(whole, monkeypatch):
    """The first run has drawn them; without them the others take half the time."""
    monkeypatch.setattr(anchor_labels, "draw_report", lambda *_: None)
    monkeypatch.setattr(anchor_labels, "draw_uncertain", lambda *_: np.zeros((8, 8, 3), np.uint8))


def test_every_record_gets_points_and_keeps_the_rest(source, whole):
    assert len(records_of(whole)) == IMAGES
    for index, record in enumerate(records_of(whole)):
        given = make_record(index)
        for key in ("texts", "polygons", "ignore", "source", "height", "width"):
            assert record[key] == given[key]
        assert record["image_id"] == f"images/{index}"
        assert (source / "images" / record["file_name"]).is_file()
        assert record["points"] != given["points"] or not given["texts"]
        for text, point, score, similarity, weight in zip(
            given["texts"],
            record["points"],
            record["point_scores"],
            record["similarity"],
            record["point_weights"],
            strict=True,
        ):
            if text in ("漢字", "delta"):
                assert (point, score, similarity, weight) == (None, None, None, 0)
            else:
                assert 0 <= point[0] <= given["width"] and 0 <= point[1] <= given["height"]
                assert 0 < score <= 1 and -1 <= similarity <= 1 and 0 <= weight <= 1
    assert any(0 < w < 1 for record in records_of(whole) for w in record["point_weights"])


def test_retrieval_is_said_in_place_of_shares_and_flat_maps_are_warned_of(
    source, tmp_path, capsys, caplog, monkeypatch
):
    """Untrained weights: their maps are all but flat."""
    monkeypatch.setattr(logging.getLogger("wecromcl_d2"), "propagate", True)
    assert tool.main(arguments(source, tmp_path / "a.jsonl")) == 0
    shown = capsys.readouterr().out
    assert "retrieval on 15 images: " in shown and "beat all negatives" in shown
    assert "kept" not in shown
    assert "the maps are flat: the median peak is" in caplog.text


def test_points_are_those_of_the_model(source, whole):
    model = make_model()
    model.load_state_dict(torch.load(source / "weights.pth", weights_only=True)["model"])
    cfg = get_cfg()
    add_wecromcl_config(cfg)
    cfg.merge_from_file(CONFIG)
    mapper = AnchorMapper(cfg, False)
    repeated = 0
    for given, record in zip(read_labels(source / "labels.jsonl"), records_of(whole), strict=True):
        rows = [i for i, text in enumerate(given["texts"]) if text not in ("漢字", "delta")]
        texts = [given["texts"][row] for row in rows]
        found = model([mapper({**given, "texts": texts})])[0]["instances"]
        np.testing.assert_allclose(
            np.array([record["points"][row] for row in rows]).reshape(-1, 2),
            found.pred_points.numpy(),
            atol=1e-3,
        )
        scores = [record["point_scores"][row] for row in rows]
        np.testing.assert_allclose(scores, found.scores.numpy(), rtol=1e-4)
        similarity = [record["similarity"][row] for row in rows]
        np.testing.assert_allclose(similarity, found.similarity.numpy(), atol=1e-4)
        repeated += len({t.lower() for t in texts}) < len(texts)
    assert repeated, "no image has a repeated word"


def test_the_files_beside_it(whole):
    assert sorted(path.name for path in whole.parent.iterdir()) == [
        "anchors.jsonl",
        "anchors_report.json",
        "anchors_report.png",
        "anchors_uncertain.png",
    ]
    report = json.loads(whole.with_name("anchors_report.json").read_text(encoding="utf-8"))
    assert report["images"] == {"labelled": IMAGES, "without_words": 4, "damaged": 0}
    texts = [text for index in range(IMAGES) for text in make_record(index)["texts"]]
    assert sum(report["words"].values()) == len(texts)
    assert report["words"]["unreadable"] == texts.count("漢字")
    assert report["words"]["ignored"] == texts.count("delta")
    assert 0 <= report["retrieval"]["accuracy"] <= 1 and 0 <= report["retrieval"]["auc"] <= 1
    assert report["retrieval"]["words"] == sum(report["words"][k] for k in WITH_ANCHOR)
    assert {"chance", "agreement", "peak_over_flat"} < set(report["retrieval"])
    assert report["truth"]["all"]["inside_rate"] > 0
    assert report["speed"]["images"] == IMAGES
    assert report["speed"]["distinct_words"] == 3
    assert report["speed"]["images_per_second"] > 0


def test_the_output_is_a_dataset(source, whole):
    report = json.loads(whole.with_name("anchors_report.json").read_text(encoding="utf-8"))
    name = report["dataset_name"]
    assert name == f"{whole}@{source / 'images'}"
    ensure_registered(name)
    records = DatasetCatalog.get(name)
    assert all(Path(record["file_name"]).is_file() for record in records)
    assert [r["points"] for r in records] == [r["points"] for r in records_of(whole)]


def test_below_its_own_folder_images_need_no_root(source, whole):
    output = source / "anchors.json"
    assert tool.main(arguments(source, output)) == 0
    records = json.loads(output.read_text(encoding="utf-8"))
    assert [r["file_name"] for r in records] == [f"images/{i}.png" for i in range(IMAGES)]
    assert [r["points"] for r in records] == [r["points"] for r in records_of(whole)]
    report = json.loads((source / "anchors_report.json").read_text(encoding="utf-8"))
    assert report["dataset_name"] == str(output)


@pytest.mark.skipif(torch.cuda.is_available(), reason="launches on GPUs where there are any")
def test_killed_and_continued_by_two_processes_it_writes_the_same(source, whole, tmp_path):
    output = tmp_path / "anchors.jsonl"
    killed = multiprocessing.get_context("fork").Process(
        target=run_and_die, args=(1, arguments(source, output))
    )
    killed.start()
    killed.join()
    assert killed.exitcode == -signal.SIGKILL
    assert not output.exists()
    (shards,) = (tmp_path / "anchors.jsonl.shards").iterdir()
    assert [path.name for path in shards.glob("shard*")] == ["shard-000000.jsonl"]
    assert len(list(shards.glob(".shard*"))) == 1, "the other half-written"
    assert tool.main(arguments(source, output, "--num-gpus", "2")) == 0
    assert output.read_bytes() == whole.read_bytes()
    assert not shards.parent.exists()
    report = json.loads((tmp_path / "anchors_report.json").read_text(encoding="utf-8"))
    assert report["speed"]["images"] == IMAGES - 8
    assert report["speed"]["processes"] == 2


@pytest.mark.parametrize("count", [1, 2, 5])
def test_parts_in_any_order_and_their_merge_write_the_same(source, whole, tmp_path, capsys, count):
    """Three shards; of five parts two are empty."""
    output = tmp_path / "anchors.jsonl"
    for number in range(count, 0, -1):
        if number == 1:
            assert tool.main(arguments(source, output, "--merge")) == 2
            assert "shards of" in (said := capsys.readouterr().err) and "are missing" in said
        assert tool.main(arguments(source, output, "--shard", f"{number}/{count}")) == 0
        assert not output.exists()
    assert tool.main(arguments(source, output, "--merge")) == 0
    assert output.read_bytes() == whole.read_bytes()
    assert not (tmp_path / "anchors.jsonl.shards").exists()
    report = json.loads((tmp_path / "anchors_report.json").read_text(encoding="utf-8"))
    assert report["speed"]["images"] == IMAGES


def test_processes_that_read_ahead_change_nothing(source, whole, tmp_path):
    output = tmp_path / "anchors.jsonl"
    assert tool.main(arguments(source, output, "DATALOADER.NUM_WORKERS", "2")) == 0
    assert output.read_bytes() == whole.read_bytes()


def test_each_image_is_read_and_each_word_encoded_once(source, tmp_path, monkeypatch):
    read, encoded = [], []

    class Mapper(AnchorMapper):
        def __call__(self, record):
            read.append(record)
            return super().__call__(record)

    encode = WeCromCL.encode_texts
    monkeypatch.setattr(anchor_generation, "AnchorMapper", Mapper)
    monkeypatch.setattr(
        WeCromCL, "encode_texts", lambda model, t: (encoded.extend(t), encode(model, t))[1]
    )
    assert tool.main(arguments(source, tmp_path / "a.jsonl")) == 0
    assert len(read) == len({record["file_name"] for record in read}) == IMAGES
    assert sorted(encoded) == ["alpha", "beta", "gamma7"]
    asked = {"file_name", "height", "width", "texts", "negatives", "second_scale"}
    assert all(set(r) == asked for r in read), "no positions"


class StopAt:
    """Lets the writing of a shard fail."""

    def __init__(self, monkeypatch, shard, error):
        self.write, self.written = anchor_generation._write_shard, []
        self.shard, self.error = f"shard-{shard:06d}.jsonl", error
        monkeypatch.setattr(anchor_generation, "_write_shard", self)

    def __call__(self, path, found):
        if path.name == self.shard:
            raise self.error
        self.written.append(path.name)
        self.write(path, found)


STOPS = {
    "interrupted": (KeyboardInterrupt(), 130, "interrupted"),
    "full disk": (OSError(errno.ENOSPC, "No space left on device"), 2, "No space left"),
}


@pytest.mark.parametrize(("error", "status", "said"), STOPS.values(), ids=STOPS)
def test_what_is_done_is_kept(source, whole, tmp_path, monkeypatch, capsys, error, status, said):
    output = tmp_path / "anchors.jsonl"
    stop = StopAt(monkeypatch, 1, error)
    assert tool.main(arguments(source, output)) == status
    assert said in capsys.readouterr().err
    assert not output.exists()
    stop.shard, stop.written = "none", []
    assert tool.main(arguments(source, output)) == 0
    assert stop.written == ["shard-000001.jsonl", "shard-000002.jsonl"]
    assert output.read_bytes() == whole.read_bytes()


def test_other_settings_start_anew(source, whole, tmp_path, monkeypatch, caplog):
    output = tmp_path / "anchors.jsonl"
    stop = StopAt(monkeypatch, 2, KeyboardInterrupt())
    assert tool.main(arguments(source, output)) == 130
    (old,) = (tmp_path / "anchors.jsonl.shards").iterdir()
    stop.shard, stop.written = "none", []
    assert tool.main(arguments(source, output, "MODEL.WECROMCL.PEAK_WINDOW", "3")) == 0
    assert len(stop.written) == 3
    assert str(old) in caplog.text
    assert len(list(old.glob("shard*"))) == 2, "the other run may still go on"
    assert tool.main(arguments(source, output)) == 0
    assert len(stop.written) == 4
    assert output.read_bytes() == whole.read_bytes()


def test_damaged_images_are_left_out_and_listed(source, whole, tmp_path, capsys):
    (tmp_path / "images").mkdir()
    for path in (source / "images").iterdir():
        (tmp_path / "images" / path.name).write_bytes(path.read_bytes())
    (tmp_path / "images/4.png").write_bytes(b"no image")
    (tmp_path / "images/9.png").unlink()
    records = [make_record(index) for index in range(IMAGES)]
    records[12]["width"] += 1
    write_labels(tmp_path / "labels.jsonl", records)
    output = tmp_path / "anchors.jsonl"
    assert (
        tool.main(arguments(tmp_path, output, "--weights", str(source / "weights.pth"))) == LOSSES
    )
    left = [r["image_id"] for r in records_of(output)]
    assert left == [f"images/{i}" for i in range(IMAGES) if i not in (4, 9, 12)]
    report = json.loads((tmp_path / "anchors_report.json").read_text(encoding="utf-8"))
    names = [Path(entry["file_name"]).name for entry in report["damaged"]]
    assert names == ["4.png", "9.png", "12.png"]
    assert report["words"]["damaged_image"] == 4 + 4 + 2
    assert "3 of 20 images were left out" in capsys.readouterr().err
    others = {r["image_id"]: r for r in records_of(whole)}
    assert all(r["points"] == others[r["image_id"]]["points"] for r in records_of(output))


def test_a_damaged_shard_is_named(source, tmp_path, monkeypatch, capsys):
    output = tmp_path / "anchors.jsonl"
    StopAt(monkeypatch, 2, KeyboardInterrupt())
    tool.main(arguments(source, output))
    monkeypatch.undo()
    (shard,) = tmp_path.rglob("shard-000000.jsonl")
    shard.write_text(shard.read_text(encoding="utf-8")[:50], encoding="utf-8")
    assert tool.main(arguments(source, output)) == 2
    assert "shard-000000.jsonl is damaged" in capsys.readouterr().err


def test_what_cannot_be_run_is_said(source, tmp_path, capsys):
    output = tmp_path / "anchors.jsonl"
    labels = str(source / "labels.jsonl")

    def said(*more):
        assert tool.main(arguments(source, output, *more)) == 2
        return capsys.readouterr().err

    assert "there is no dataset 'nowhere'" in said("--dataset", "nowhere")
    assert "gone.jsonl: cannot be read" in said("--dataset", str(tmp_path / "gone.jsonl"))
    assert "there is no file 'gone.pth'" in said("--weights", "gone.pth")
    assert "does not fit the model" in said("MODEL.TEXT_ENCODER.LAYERS", "1")
    assert "is the dataset itself" in said("--output", labels)
    other = f"{source}/./labels.jsonl@{source}"
    assert "is the dataset itself" in said("--dataset", other, "--output", labels)
    register_labels("to_be_kept", labels)
    assert "is the dataset itself" in said("--dataset", "to_be_kept", "--output", labels)
    DatasetCatalog.remove("to_be_kept")
    (tmp_path / "junk.pth").write_text("no weights", encoding="utf-8")
    assert "junk.pth" in said("--weights", str(tmp_path / "junk.pth"))
    assert list(tmp_path.iterdir()) == [tmp_path / "junk.pth"]
    for wrong in (
        ["--batch-size", "0"],
        ["--output", "labels.txt"],
        ["--shard", "0/3"],
        ["--shard", "1/3", "--merge"],
        ["--address", "auto"],
        ["--engine", "ray", "--num-gpus", "2"],
    ):
        with pytest.raises(SystemExit) as stop:
            tool.main(arguments(source, output, *wrong))
        assert stop.value.code == 2


def test_the_speed_is_compared_with_the_bare_model(source, capsys):
    options = ["anchors", *COMMON, "--weights", str(source / "weights.pth"), "--images", "6"]
    assert benchmark.main([*options, "--dataset", str(source / "labels.jsonl")]) == 0
    shown = capsys.readouterr().out
    assert shown.count("6 images: bare model") == labelling_speed.TURNS
    assert float(re.search(r"median ratio (\S+), by CPU time", shown)[1]) > 0


def run_and_die(number, arguments):
    """Run the tool until half of a shard is on the disk."""

    def half(path, found):
        if path.name != f"shard-{number:06d}.jsonl":
            return write(path, found)
        with anchor_generation.replace_file(path) as stream:
            stream.write(b'{"index": 0, "poi')
            stream.flush()
            os.kill(os.getpid(), signal.SIGKILL)

    write, anchor_generation._write_shard = anchor_generation._write_shard, half
    tool.main(arguments)
