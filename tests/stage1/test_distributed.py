"""Two processes, each with half of a batch, train like one process with the whole batch."""

import pytest
import torch
from detectron2.config import get_cfg
from detectron2.engine import create_ddp_model, launch
from detectron2.modeling import build_model
from detectron2.utils import comm

from wecromcl_d2 import add_wecromcl_config

# Images of a batch meet only in the loss: batch statistics and dropout are switched off.
OPTIONS = [
    *("MODEL.RESNETS.NORM", "FrozenBN"),
    *("MODEL.BIFPN.NORM", "GN"),
    *("MODEL.IMAGE_ENCODER.NORM", "GN"),
    *("MODEL.IMAGE_ENCODER.LAYERS", 2),
    *("MODEL.IMAGE_ENCODER.DROPOUT", 0.0),
    *("MODEL.TEXT_ENCODER.LAYERS", 1),
]
STEPS = 3
TOLERANCE = 1e-5


def batch_of(step, counts):
    """Images of one size, so that no share is padded differently, with some queries each."""
    generator = torch.Generator().manual_seed(step)
    return [
        {
            "image": torch.randint(0, 256, (3, 32, 64), generator=generator, dtype=torch.uint8),
            "queries": [f"word{step}{i}{letter}" for letter in "abc"[:count]],
            "negatives": [f"false{step}{i}", "common"],
        }
        for i, count in enumerate(counts)
    ]


def train(counts):
    """Losses of each step, averaged over the processes, and the weights in the end."""
    torch.manual_seed(0)
    cfg = get_cfg()
    add_wecromcl_config(cfg)
    cfg.merge_from_file("configs/quick/anchors.yaml")
    cfg.merge_from_list(OPTIONS)
    model = build_model(cfg).train()
    ddp = create_ddp_model(model, broadcast_buffers=False, device_ids=None)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    share = len(counts) // comm.get_world_size()
    own = slice(comm.get_rank() * share, (comm.get_rank() + 1) * share)
    history = []
    for step in range(STEPS):
        losses = ddp(batch_of(step, counts)[own])
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
        every = comm.all_gather({name: float(loss.detach()) for name, loss in losses.items()})
        history.append({k: sum(one[k] for one in every) / len(every) for k in every[0]})
    return history, model.state_dict()


def in_each_process(path, counts):
    """The main function of a launch."""
    torch.set_num_threads(1)
    result = train(counts)
    torch.save(result, f"{path}/{comm.get_rank()}.pth")
    comm.synchronize()


@pytest.mark.usefixtures("forked")
@pytest.mark.trains
@pytest.mark.skipif(torch.cuda.is_available(), reason="launches on GPUs where there are any")
def test_two_processes_train_like_one(tmp_path):
    counts = [2, 1, 1, 3]
    history, weights = train(counts)
    launch(in_each_process, 2, dist_url="auto", args=(str(tmp_path), counts))
    results = [torch.load(tmp_path / f"{rank}.pth", weights_only=True) for rank in range(2)]
    assert history[0] != history[1]
    for other_history, other_weights in results:
        for step, other_step in zip(history, other_history, strict=True):
            assert other_step == pytest.approx(step, abs=TOLERANCE)
        for name, value in weights.items():
            torch.testing.assert_close(other_weights[name], value, rtol=0, atol=TOLERANCE, msg=name)
