"""Contract of several processes on the CPU (item 44)."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.data import build_detection_test_loader, build_detection_train_loader
from detectron2.engine import SimpleTrainer, create_ddp_model, launch
from detectron2.evaluation import inference_on_dataset
from detectron2.utils import comm
from torch import nn

from .toy_training import ContractToyModel, MeanGuess, records, render, toy_config


def collectives(rank: int) -> dict[str, Any]:
    """What the collective functions return."""
    np.random.seed(rank)
    reduced = comm.reduce_dict({"b": torch.tensor(float(rank)), "a": torch.tensor(4.0)})
    return {
        "sizes": [comm.get_world_size(), comm.get_local_size(), comm.get_local_rank()],
        "gathered": comm.gather({"rank": rank}),
        "all_gathered": comm.all_gather(rank * 10),
        "mean": {k: float(v) for k, v in reduced.items()} if rank == 0 else None,
        "seed": comm.shared_random_seed(),
    }


def train_and_evaluate() -> dict[str, Any]:
    """Two steps of a wrapped model on this process' share, then evaluation on all data."""
    torch.manual_seed(0)
    model = ContractToyModel(toy_config("", 2))
    ddp = create_ddp_model(model, broadcast_buffers=False, device_ids=None)
    loader = build_detection_train_loader(
        records(), mapper=render, total_batch_size=4, aspect_ratio_grouping=False
    )
    optimizer = torch.optim.SGD(ddp.parameters(), 0.05)
    trainer = SimpleTrainer(ddp, loader, optimizer)
    trainer.train(0, 2)
    test_loader = build_detection_test_loader(records(), mapper=render)
    return {
        "wrapped": isinstance(ddp, nn.parallel.DistributedDataParallel),
        "batch": len(next(iter(loader))),
        "weights": float(sum(p.detach().double().abs().sum() for p in model.parameters())),
        "results": inference_on_dataset(model, test_loader, MeanGuess()),
        "share": len(test_loader),
    }


def in_each_process(folder: str, name: str) -> None:
    """The main function of a launch: writes what it sees to `<folder>/<rank>.json`."""
    rank = comm.get_rank()
    seen = {"name": name, **collectives(rank), **train_and_evaluate()}
    Path(folder, f"{rank}.json").write_text(json.dumps(seen), encoding="utf-8")
    comm.synchronize()


def test_two_processes(tmp_path: Path) -> None:
    launch(in_each_process, 2, dist_url="auto", args=(str(tmp_path), "both"))
    first, second = (
        json.loads((tmp_path / f"{rank}.json").read_text(encoding="utf-8")) for rank in (0, 1)
    )
    assert first["name"] == second["name"] == "both"
    assert first["sizes"] == [2, 2, 0] and second["sizes"] == [2, 2, 1]
    assert first["gathered"] == [{"rank": 0}, {"rank": 1}] and second["gathered"] == []
    assert first["all_gathered"] == second["all_gathered"] == [0, 10]
    assert first["mean"] == {"a": 4.0, "b": 0.5}
    assert first["seed"] == second["seed"]
    assert first["wrapped"] and first["batch"] == second["batch"] == 2
    assert first["weights"] == second["weights"]
    assert first["share"] == second["share"] == 5
    assert first["results"]["toy"]["images"] == 10 and second["results"] == {}


def note(seen: list[int]) -> None:
    seen.append(comm.get_world_size())


def test_one_process_is_this_one() -> None:
    seen: list[int] = []
    launch(note, 1, args=(seen,))
    assert seen == [1]
    model = nn.Linear(1, 1)
    assert create_ddp_model(model, broadcast_buffers=False) is model
