import pytest
import torch
from detectron2.config import get_cfg
from detectron2.modeling import build_model

from wecromcl_d2 import add_wecromcl_config


def losses_and_gradients(*opts):
    torch.manual_seed(0)
    cfg = get_cfg()
    add_wecromcl_config(cfg)
    cfg.merge_from_file("configs/quick/anchors.yaml")
    cfg.merge_from_list(["MODEL.IMAGE_ENCODER.LAYERS", 2, *opts])
    model = build_model(cfg).train()
    batch = [
        {
            "image": torch.randint(0, 256, (3, 32, 64), dtype=torch.uint8),
            "queries": [f"word{i}"],
            "negatives": ["one", "two"],
        }
        for i in range(2)
    ]
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda x: (saved.append(x.numel()), x)[1], lambda x: x
    ):
        losses = model(batch)
    sum(losses.values()).backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return losses, gradients, sum(saved)


@pytest.mark.parametrize("part", ["IMAGE_ENCODER", "TEXT_ENCODER"])
def test_checkpointing_changes_no_number_and_keeps_less(part):
    """Dropout included: the second pass draws what the first one drew."""
    losses, gradients, kept = losses_and_gradients()
    others, other_gradients, kept_less = losses_and_gradients(f"MODEL.{part}.CHECKPOINT", True)
    assert losses == others
    assert gradients.keys() == other_gradients.keys()
    for name, gradient in gradients.items():
        assert torch.equal(gradient, other_gradients[name]), name
    assert kept_less < 0.9 * kept
