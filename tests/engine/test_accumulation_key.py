import pytest

from wecromcl_d2.stage1.trainer import AnchorTrainer

from . import toy

pytestmark = pytest.mark.trains


def test_a_resumed_run_reads_the_batches_that_an_uninterrupted_one_reads(root):
    opts = ["SOLVER.ACCUMULATION", "2", "SOLVER.MAX_ITER", "6", "SOLVER.CHECKPOINT_PERIOD", "3"]
    whole, weights = toy.train(toy.toy_config(root, *opts))
    (root / "output" / "last_checkpoint").write_text("model_0000002.pth", encoding="utf-8")
    rest, again = toy.train(toy.toy_config(root, *opts), resume=True)
    assert min(rest) == 3 and all(rest[i] == whole[i] for i in rest)
    assert all(weights[name].equal(value) for name, value in again.items())


def test_phases_of_the_curriculum_count_updates(root):
    cfg = toy.toy_config(root, "SOLVER.ACCUMULATION", "3")
    assert [phase.end for phase in AnchorTrainer.build_train_loader(cfg).batches.phases] == [
        3 * 4,
        float("inf"),
    ]


def test_no_batch_is_no_update(root):
    with pytest.raises(ValueError, match="ACCUMULATION is 0"):
        AnchorTrainer(toy.toy_config(root, "SOLVER.ACCUMULATION", "0"))
