"""A network small enough to train in a test, and the weights of a deterministic ResNet."""

import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.layers import Conv2d, get_norm
from detectron2.solver import build_lr_scheduler, build_optimizer
from torch import Tensor, nn


def toy_config() -> CfgNode:
    cfg = get_cfg()
    cfg.SOLVER.BASE_LR = 0.05
    cfg.SOLVER.MAX_ITER = 8
    cfg.SOLVER.STEPS = (6,)
    cfg.SOLVER.WARMUP_ITERS = 3
    return cfg


class Toy:
    """Network, optimizer and schedule, and one step of training them on a fixed batch."""

    def __init__(self) -> None:
        torch.manual_seed(3)
        conv = Conv2d(3, 4, 3, bias=False, norm=get_norm("BN", 4), activation=torch.relu)
        self.model = nn.Sequential(conv, nn.Flatten(), nn.Linear(4 * 2 * 2, 1))
        self.optimizer = build_optimizer(toy_config(), self.model)
        self.scheduler = build_lr_scheduler(toy_config(), self.optimizer)
        self.batch = torch.rand(5, 3, 4, 4)

    def train(self, steps: int) -> list[float]:
        losses = []
        for _ in range(steps):
            loss = (self.model(self.batch) - self.batch.sum(dim=(1, 2, 3))[:, None]).abs().mean()
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.scheduler.step()
            losses.append(loss.item())
        return losses


def fill_deterministically(model: nn.Module) -> Tensor:
    """Give a ResNet reproducible weights, and return an image of (1, 3, 64, 96) for it."""
    generator = torch.Generator().manual_seed(1)
    state = model.state_dict()
    for name in sorted(state):
        values = torch.rand(state[name].shape, generator=generator)
        state[name].copy_(values * 0.02 - 0.01 if values.dim() == 4 else values + 0.5)
    return torch.rand(1, 3, 64, 96, generator=generator)
