import json
import multiprocessing
import signal

import pytest
import torch

from . import toy

pytestmark = pytest.mark.trains

# Forks its processes from one that has only imported what they need, so each starts anew.
context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload([toy.__name__])


def run(root, *arguments):
    """Exit status of a training in a process of its own."""
    process = context.Process(target=toy.main, args=([str(root), *arguments],))
    process.start()
    process.join(timeout=240)
    return process.exitcode


def assert_continues(root, reference, first):
    """Resume and compare with the uninterrupted run, bit by bit."""
    assert run(root, "--resume") == 0
    losses = json.loads((root / f"losses-{first}.json").read_text(encoding="utf-8"))
    assert losses == {str(i): value for i, value in reference[0].items() if i >= first}
    weights = torch.load(root / "weights.pth", weights_only=True)
    assert weights.keys() == reference[1].keys()
    assert all(torch.equal(weights[key], reference[1][key]) for key in weights)


@pytest.mark.parametrize(("kill_at", "first"), [(2, 0), (5, 3), (9, 9)])
def test_a_killed_run_resumes_bit_by_bit(root, reference, kill_at, first):
    """Before any checkpoint, in the middle of a period across phases, right after a checkpoint."""
    assert run(root, "--kill-at", str(kill_at)) == -signal.SIGKILL
    assert_continues(root, reference, first)


def test_a_half_written_checkpoint_is_never_picked_up(root, reference):
    # The third checkpoint is written after iterations 2 and, the best one, 4.
    assert run(root, "--kill-while-saving", "3") == -signal.SIGKILL
    assert (root / "output/last_checkpoint").read_text(encoding="utf-8") == "model_0000002.pth"
    assert not (root / "output/model_0000005.pth").exists()
    assert_continues(root, reference, 3)


def test_workers_change_nothing(root, reference):
    losses, weights = toy.train(toy.toy_config(root, "DATALOADER.NUM_WORKERS", "2"))
    assert losses == reference[0]
    assert all(torch.equal(weights[key], reference[1][key]) for key in weights)


def test_positions_are_never_seen(root, reference):
    """The same losses and weights from records without any position."""
    for family in ("words", "scenes"):
        path = root / family / "labels.jsonl"
        records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        assert all("polygons" in record for record in records)
        kept = [{k: r[k] for k in ("file_name", "height", "width", "texts")} for r in records]
        path.write_text("".join(json.dumps(r) + "\n" for r in kept), encoding="utf-8")
    losses, weights = toy.train(toy.toy_config(root))
    assert losses == reference[0]
    assert all(torch.equal(weights[key], reference[1][key]) for key in weights)


def test_another_seed_is_another_run(root, reference):
    losses, _ = toy.train(toy.toy_config(root, "SEED", "1"))
    assert losses != reference[0]
