import pytest
import torch
from detectron2.engine import SimpleTrainer, create_ddp_model, launch
from detectron2.utils import comm
from detectron2.utils.events import EventStorage
from torch import nn

from wecromcl_d2.engine.accumulate import AccumulatingTrainer

STEPS = 3


class Line(nn.Module):
    """Two losses, each a mean over the batch."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, batch):
        x, y = self.layer(batch).unbind(1)
        return {"loss_x": (x - 1).square().mean(), "loss_y": y.abs().mean()}


def batches(size):
    """The same rows in the same order, whatever the size of a batch."""
    rows = torch.randn(600, 3, generator=torch.Generator().manual_seed(1))
    return iter(rows.split(size))


def run(make, loader, wrap=lambda model: model):
    torch.manual_seed(0)
    model = wrap(Line())
    trainer = make(model, loader, torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9))
    history = []
    with EventStorage() as trainer.storage:
        for trainer.iter in range(STEPS):
            trainer.run_step()
            latest = trainer.storage.latest()
            history.append({k: v for k, (v, _) in latest.items() if "loss" in k})
            trainer.storage.step()
    return history, [p.detach().clone() for p in model.parameters()]


def accumulating(count):
    def make(*args):
        return AccumulatingTrainer(*args, batches=count)

    return make


@pytest.mark.trains
@pytest.mark.parametrize("count", [1, 2, 5])
def test_mean_losses_train_like_one_large_batch(count):
    expected, weights = run(SimpleTrainer, batches(20))
    history, others = run(accumulating(count), batches(20 // count))
    for step, other in zip(expected, history, strict=True):
        assert other == pytest.approx(step, rel=1e-5)
    for weight, other in zip(weights, others, strict=True):
        torch.testing.assert_close(other, weight)


def in_each_process(path):
    torch.set_num_threads(1)
    rows = batches(5)
    own = (batch for index, batch in enumerate(rows) if index % 2 == comm.get_rank())
    exchanges = []

    def wrap(model):
        wrapped = create_ddp_model(model, device_ids=None)
        wrapped.register_comm_hook(None, lambda state, bucket: count(exchanges, bucket))
        return wrapped

    result = run(accumulating(2), own, wrap)
    torch.save((*result, len(exchanges)), f"{path}/{comm.get_rank()}.pth")
    comm.synchronize()


def count(exchanges, bucket):
    exchanges.append(1)
    summed = torch.distributed.all_reduce(bucket.buffer(), async_op=True).get_future()
    return summed.then(lambda done: done.value()[0] / comm.get_world_size())


@pytest.mark.usefixtures("forked")
@pytest.mark.trains
@pytest.mark.skipif(torch.cuda.is_available(), reason="launches on GPUs where there are any")
def test_processes_exchange_gradients_once_per_update(tmp_path):
    expected, weights = run(SimpleTrainer, batches(20))
    launch(in_each_process, 2, dist_url="auto", args=(str(tmp_path),))
    results = [torch.load(tmp_path / f"{rank}.pth", weights_only=True) for rank in range(2)]
    assert results[0][0][-1]["total_loss"] == pytest.approx(expected[-1]["total_loss"], rel=1e-5)
    for _, others, exchanges in results:
        assert exchanges == STEPS
        for weight, other in zip(weights, others, strict=True):
            torch.testing.assert_close(other, weight)


def test_the_state_goes_there_and_back():
    model = Line()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    plain = SimpleTrainer(model, batches(4), optimizer)
    plain.iter = 7
    ours = AccumulatingTrainer(model, batches(4), optimizer, batches=2)
    ours.load_state_dict(plain.state_dict())
    assert ours.iter == 7
    ours.load_state_dict(ours.state_dict())
