import errno
import json
import os

import pytest
import torch

from wecromcl_d2.data import LabelError, SamplingError
from wecromcl_d2.engine import CheckpointError
from wecromcl_d2.stage1.trainer import AnchorTrainer

from . import toy


def labels_of(root, family):
    path = root / family / "labels.jsonl"
    return path, [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("content", [b"", b"\xff\xd8\xff\xe0 not a picture"])
def test_a_damaged_image_is_replaced_and_reported_once(root, caplog, content):
    (root / "scenes/images/000003.jpg").write_bytes(content)
    losses, _ = toy.train(toy.toy_config(root, "DATASETS.TEST", "()", "SOLVER.MAX_ITER", "16"))
    assert len(losses) == 16
    reports = [r.getMessage() for r in caplog.records if "000003.jpg" in r.getMessage()]
    assert len(reports) == 1 and "skipped (1 so far)" in reports[0]


def test_only_damaged_images_end_in_an_error(root):
    for path in (root / "scenes/images").iterdir():
        path.write_bytes(b"")
    with pytest.raises(SamplingError, match=r"unreadable images in a row.*\.jpg"):
        toy.train(toy.toy_config(root, "DATASETS.TEST", "()"))


def test_a_missing_dataset_is_named(root):
    with pytest.raises(LabelError, match="no_such_set"):
        AnchorTrainer(toy.toy_config(root, "DATASETS.TRAIN", "('no_such_set',)"))


def test_an_empty_dataset_is_named(root):
    (root / "scenes/labels.jsonl").write_text("", encoding="utf-8")
    with pytest.raises(LabelError, match=r"labels\.jsonl"):
        AnchorTrainer(toy.toy_config(root))


def test_no_dataset_at_all_is_said(root):
    with pytest.raises(ValueError, match="nothing to train on"):
        AnchorTrainer(toy.toy_config(root, "DATASETS.TRAIN", "()"))


def test_a_record_without_texts_is_named(root):
    path, records = labels_of(root, "scenes")
    del records[2]["texts"], records[2]["polygons"]
    path.write_text("".join(json.dumps(r) + "\n" for r in records), encoding="utf-8")
    with pytest.raises(LabelError, match=r"labels\.jsonl:3"):
        AnchorTrainer(toy.toy_config(root))


def test_words_without_known_characters_are_not_trained_on(root):
    path, records = labels_of(root, "scenes")
    for record in records[:4]:
        record["texts"] = ["????"] * len(record["texts"])
    path.write_text("".join(json.dumps(r) + "\n" for r in records), encoding="utf-8")
    losses, _ = toy.train(toy.toy_config(root))
    assert len(losses) == 10


def test_too_few_words_for_a_batch_are_counted(root):
    with pytest.raises(SamplingError, match="a batch of 4 images with 500 negatives needs 501"):
        AnchorTrainer(
            toy.toy_config(
                root,
                "DATALOADER.SAMPLING.NUM_NEGATIVES",
                "500",
                "SOLVER.CURRICULUM.DATASETS",
                "[]",
                "SOLVER.CURRICULUM.ITERS",
                "[]",
                "SOLVER.CURRICULUM.IMS_PER_BATCH",
                "[]",
            )
        )


def test_an_unknown_key_is_refused(root):
    with pytest.raises(AssertionError, match="NO_SUCH_KEY"):
        toy.toy_config(root, "MODEL.NO_SUCH_KEY", "1")


def test_an_uneven_curriculum_is_refused(root):
    with pytest.raises(ValueError, match="2, 1 and 1"):
        AnchorTrainer(toy.toy_config(root, "SOLVER.CURRICULUM.ITERS", "[4, 5]"))


def test_a_negative_seed_is_refused(root):
    with pytest.raises(ValueError, match="SEED is -1"):
        AnchorTrainer(toy.toy_config(root, "SEED", "-1"))


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_checkpoint(root):
    trainer = AnchorTrainer(toy.toy_config(root))
    recorder = toy.Recorder()
    spoil = type("Spoil", (toy.Recorder,), {})()

    def before_step():
        if trainer.iter == 5:
            with torch.no_grad():
                trainer._trainer.model.logit_scale.fill_(float("nan"))

    spoil.before_step = before_step
    trainer.register_hooks([recorder, spoil])
    with pytest.raises(FloatingPointError, match="iteration=5"):
        trainer.train()
    assert (root / "output/last_checkpoint").read_text(encoding="utf-8") == "model_0000002.pth"
    torch.load(root / "output/model_0000002.pth", weights_only=True)


def test_a_full_disk_keeps_earlier_checkpoints(root, monkeypatch):
    trainer = AnchorTrainer(toy.toy_config(root))
    save = torch.save

    def fail(data, file):
        if data.get("iteration", 0) > 3:
            file.write(b"half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        save(data, file)

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(CheckpointError, match=r"No space left.*--resume"):
        trainer.train()
    files = sorted(path.name for path in (root / "output").glob("*.pth"))
    assert files == ["model_0000002.pth"]
    assert not list((root / "output").glob(".*pth*"))
    monkeypatch.undo()
    losses, _ = toy.train(toy.toy_config(root), resume=True)
    assert min(losses) == 3 and max(losses) == 9
