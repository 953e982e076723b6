"""Weights and threshold are never chosen on the images of the final figures."""

import pytest
from PIL import Image

from wecromcl_d2.cli.pipeline import main
from wecromcl_d2.cli.validation import check_validation, hold_out
from wecromcl_d2.data.datasets import read_labels, write_labels
from wecromcl_d2.stage1.anchor_job import load_records

STAGE1 = "configs/stage1/icdar2015.yaml"
QUICK = ("configs/quick/anchors.yaml", "configs/quick/srsts_a.yaml")


@pytest.fixture
def dataset(tmp_path):
    for i in range(25):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{i}.png")
    records = [
        {"file_name": f"{i}.png", "height": 8, "width": 8, "texts": ["word"] if i < 20 else []}
        for i in range(25)
    ]
    write_labels(tmp_path / "all.jsonl", records)
    return str(tmp_path / "all.jsonl")


@pytest.fixture
def no_step(monkeypatch):
    def refuse(*arguments):
        raise AssertionError("a step ran")

    monkeypatch.setattr("wecromcl_d2.cli.pipeline.run_forecasts", refuse)


@pytest.mark.usefixtures("no_step")
@pytest.mark.parametrize(
    "arguments",
    [
        ["--config-file", STAGE1, "--test", "icdar2015_test"],
        ["--config-file", STAGE1],
        ["--config-file", QUICK[0], "--spotter", "configs/stage2/srsts_a/icdar2015.yaml"],
        ["--config-file", QUICK[0], "--val", "mine/a.jsonl", "--test", "./mine/a.jsonl@images"],
    ],
)
def test_the_pipeline_refuses_to_choose_on_test_images(arguments, tmp_path, capsys):
    assert main([*arguments, "--output", str(tmp_path / "out")]) == 2
    message = capsys.readouterr().err
    assert "would be chosen on the test images" in message and "--hold-out" in message


@pytest.mark.usefixtures("no_step")
def test_a_config_without_any_validation_images_is_refused(tmp_path, capsys):
    config = "configs/stage1/pretrain_synthtext.yaml"
    assert main(["--config-file", config, "--output", str(tmp_path)]) == 2
    assert "no images to choose" in capsys.readouterr().err


def test_other_images_are_accepted():
    check_validation(["synth_scenes_val"], "synth_scenes_test")
    check_validation(["mine/val.jsonl"], "icdar2015_test")
    check_validation(["photos@home/val.jsonl"], "photos@home/test.jsonl@images")


def test_held_out_images_and_the_rest_are_the_dataset(dataset, tmp_path):
    parts = hold_out(dataset, 0.25, tmp_path / "out")
    train, val = (load_records(part) for part in parts)
    everything = {record["file_name"] for record in read_labels(dataset)}
    names = [{record["file_name"] for record in part} for part in (train, val)]
    assert names[0] | names[1] == everything and not names[0] & names[1]
    # A quarter of the 20 images that have a word.
    assert len(val) == 5 and all(record["texts"] for record in val)
    assert hold_out(dataset, 0.25, tmp_path / "again") != parts
    assert [r["file_name"] for r in read_labels(tmp_path / "again/val.jsonl", tmp_path)] == [
        record["file_name"] for record in val
    ]


@pytest.mark.parametrize("share", [0.0, 0.01, 1.0])
def test_no_part_is_empty(dataset, tmp_path, share):
    with pytest.raises(ValueError, match="empty"):
        hold_out(dataset, share, tmp_path / "out")


def test_both_stages_get_the_parts(dataset, tmp_path, monkeypatch):
    seen = {}

    def note(args, runner):
        seen[args.train] = args.val
        return {}

    for part in ("run_forecasts", "run_anchors", "run_spotter"):
        monkeypatch.setattr(f"wecromcl_d2.cli.pipeline.{part}", note)
    out = tmp_path / "out"
    arguments = ["--config-file", QUICK[0], "--spotter", QUICK[1], "--output", str(out)]
    assert main([*arguments, "--train", dataset, "--hold-out", "0.2"]) == 0
    data = (out / "data").resolve()
    assert seen == {f"{data}/train.jsonl@{tmp_path}": f"{data}/val.jsonl@{tmp_path}"}


@pytest.mark.parametrize("more", [[], ["--train", "a.jsonl", "--val", "b.jsonl"]])
def test_nothing_can_be_split_off_without_training_images(more):
    with pytest.raises(SystemExit):
        main(["--config-file", STAGE1, "--output", "out", "--hold-out", "0.1", *more])
