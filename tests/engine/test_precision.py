import pytest
import torch
from detectron2.utils.events import EventStorage

from wecromcl_d2.engine import precision
from wecromcl_d2.stage1.trainer import AnchorTrainer

from . import toy


def seen_precision(trainer):
    """Number format of the convolutions in training and in evaluation."""
    seen = []
    model = trainer.model
    hook = model.backbone.register_forward_hook(
        lambda module, inputs, output: seen.append(output["p3"].dtype)
    )
    trainer._trainer.run_step()
    model.eval()
    inputs = next(iter(trainer.build_test_loader(trainer.cfg, "toy_scenes")))
    model(inputs)
    hook.remove()
    return seen


def test_a_cpu_with_the_instructions_trains_in_bfloat16_and_evaluates_in_float32(root, monkeypatch):
    monkeypatch.setattr(precision, "cpu_has_bfloat16", lambda: True)
    trainer = AnchorTrainer(toy.toy_config(root))
    with EventStorage() as trainer.storage:
        trained, *evaluated = seen_precision(trainer)
    assert trained == torch.bfloat16
    assert set(evaluated) == {torch.float32}
    assert all(p.dtype == torch.float32 for p in trainer.model.parameters())


@pytest.mark.parametrize("number_format", ["bfloat16", "float16"])
def test_a_cpu_without_them_says_so_and_trains_in_float32(root, monkeypatch, caplog, number_format):
    monkeypatch.setattr(precision, "cpu_has_bfloat16", lambda: False)
    trainer = AnchorTrainer(toy.toy_config(root, "SOLVER.AMP.PRECISION", number_format))
    assert f"no instructions for {number_format}" in caplog.text
    with EventStorage() as trainer.storage:
        assert seen_precision(trainer)[0] == torch.float32


def test_an_unknown_number_format_is_refused(root):
    with pytest.raises(ValueError, match=r"PRECISION is 'int8'.*float16"):
        AnchorTrainer(toy.toy_config(root, "SOLVER.AMP.PRECISION", "int8"))
