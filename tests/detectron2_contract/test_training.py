"""Contract of the training loop, its hooks and files, and of evaluation (items 35-46)."""

import json
import logging
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import CfgNode, get_cfg
from detectron2.engine import (
    AMPTrainer,
    DefaultPredictor,
    DefaultTrainer,
    HookBase,
    SimpleTrainer,
    TrainerBase,
    default_argument_parser,
    hooks,
)
from detectron2.evaluation import (
    DatasetEvaluator,
    DatasetEvaluators,
    inference_on_dataset,
    print_csv_format,
    verify_results,
)
from detectron2.evaluation.testing import flatten_results_dict
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.utils.events import EventStorage
from torch import nn

from . import DATA, FLAVOURS
from .toy_training import (
    FIXTURE_STEPS,
    RESUMED_STEPS,
    ToyTrainer,
    copy_fixture,
    momentum,
    resume_and_record,
    start,
    toy_config,
)

STEPS = 50


def json_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def loaded(path: Path) -> dict[str, Any]:
    """A checkpoint, read as strictly as torch can."""
    return torch.load(path, map_location="cpu", weights_only=True)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished toy run that evaluated and saved every 20 steps."""
    folder = tmp_path_factory.mktemp("trained")
    start(toy_config(str(folder), STEPS)).train()
    return folder


# Item 35
def test_a_run_leaves_its_files(trained: Path) -> None:
    names = {path.name for path in trained.iterdir()}
    checkpoints = {"model_0000019.pth", "model_0000039.pth", "model_final.pth"}
    assert {"config.yaml", "log.txt", "metrics.json", "last_checkpoint"} | checkpoints <= names
    assert {name for name in names if name.endswith(".pth")} == checkpoints
    assert any(name.startswith("events.out.tfevents") for name in names)
    assert (trained / "last_checkpoint").read_text(encoding="utf-8") == "model_final.pth"
    written = yaml.safe_load((trained / "config.yaml").read_text(encoding="utf-8"))
    assert written == yaml.safe_load(toy_config(str(trained), STEPS).dump())
    log = (trained / "log.txt").read_text(encoding="utf-8")
    assert "Starting training from iteration 0" in log and "Total training time" in log


# Item 36
@pytest.mark.trains
def test_metrics_file(trained: Path) -> None:
    lines = {line["iteration"]: line for line in json_lines(trained / "metrics.json")}
    assert sorted(lines) == [19, 39, 49, 50]
    common = {"data_time", "eta_seconds", "iteration", "loss_absolute", "loss_square", "lr"}
    common |= {"rank_data_time", "time", "total_loss", "largest_error"}
    assert set(lines[19]) == set(lines[39]) == common | {"toy/mean", "toy/images"}
    assert set(lines[50]) == {"iteration", "toy/mean", "toy/images"}
    assert lines[50]["toy/images"] == 10
    assert lines[39]["total_loss"] < 0.5 * lines[19]["total_loss"]


# Item 37
def test_checkpoint_structure(trained: Path) -> None:
    checkpoint = loaded(trained / "model_final.pth")
    assert set(checkpoint) == {"model", "trainer", "iteration"}
    assert set(checkpoint["model"]) >= {"conv.weight", "norm.running_mean", "head.bias"}
    trainer = checkpoint["trainer"]
    assert set(trainer) == {"iteration", "hooks", "_trainer"}
    assert checkpoint["iteration"] == trainer["iteration"] == STEPS - 1
    assert set(trainer["hooks"]) == {"LRScheduler"}
    assert set(trainer["hooks"]["LRScheduler"]) == {"base_lrs", "last_epoch"}
    assert set(trainer["_trainer"]) == {"iteration", "optimizer"}
    assert set(trainer["_trainer"]["optimizer"]) == {"state", "param_groups"}


# Item 38
@pytest.mark.trains
@pytest.mark.parametrize("flavour", FLAVOURS)
def test_runs_of_both_packages_resume(flavour: str, tmp_path: Path) -> None:
    source = DATA / f"training_{flavour}"
    expected = json.loads((source / "resumed.json").read_text(encoding="utf-8"))
    folder = copy_fixture(source, tmp_path / "run")
    before = json_lines(folder / "metrics.json")
    seen = resume_and_record(folder)
    assert seen["start_iter"] == expected["start_iter"] == FIXTURE_STEPS
    for key in ("momentum", "rates", "losses"):
        np.testing.assert_allclose(seen[key], expected[key], rtol=1e-5)
    after = json_lines(folder / "metrics.json")
    assert after[: len(before)] == before
    steps = [line["iteration"] for line in after]
    assert steps == [FIXTURE_STEPS - 1, FIXTURE_STEPS, RESUMED_STEPS - 1, RESUMED_STEPS]
    assert set(after[2]) == set(before[0]) and set(after[3]) == set(before[1])


# Item 39
def test_without_resume_only_weights_are_taken(trained: Path, tmp_path: Path) -> None:
    cfg = toy_config(str(tmp_path), 2)
    cfg.MODEL.WEIGHTS = str(trained / "model_final.pth")
    trainer = start(cfg)
    assert trainer.start_iter == 0 and trainer.iter == 0
    assert not trainer.optimizer.state_dict()["state"]
    assert trainer.scheduler.last_epoch == 0
    stored = loaded(trained / "model_final.pth")["model"]
    assert all(torch.equal(stored[k], v) for k, v in trainer.model.state_dict().items())


def test_resume_without_a_checkpoint_starts_at_zero(tmp_path: Path) -> None:
    trainer = start(toy_config(str(tmp_path), 2), resume=True)
    assert trainer.start_iter == 0
    trainer.train()
    assert len(momentum(trainer)) > 0


class Counting(TrainerBase):
    """Steps that may fail or do anything else."""

    def __init__(self, step: Callable[[int], None] = lambda step: None):
        super().__init__()
        self.step = step

    def run_step(self) -> None:
        assert self.storage.iter == self.iter
        self.step(self.iter)


class Diary(HookBase):
    """Writes down what it is called for."""

    def __init__(self, name: str, calls: list[str]):
        self.name, self.calls = name, calls

    def before_train(self) -> None:
        self.calls.append(f"{self.name} before_train {self.trainer.iter}")

    def before_step(self) -> None:
        self.calls.append(f"{self.name} before_step {self.trainer.iter}")

    def after_step(self) -> None:
        self.calls.append(f"{self.name} after_step {self.trainer.iter}")

    def after_train(self) -> None:
        self.calls.append(f"{self.name} after_train {self.trainer.iter}")


# Item 40
def test_hooks_are_called_in_order() -> None:
    calls: list[str] = []
    trainer = Counting()
    trainer.register_hooks([Diary("a", calls), None, Diary("b", calls)])
    trainer.train(3, 5)
    moments = ["before_train 3", "before_step 3", "after_step 3"]
    moments += ["before_step 4", "after_step 4", "after_train 5"]
    assert calls == [f"{name} {moment}" for moment in moments for name in "ab"]
    assert trainer.iter == trainer.max_iter == 5


def test_after_train_runs_after_a_failure() -> None:
    def fail(step: int) -> None:
        if step == 1:
            raise OSError("disk gone")

    calls: list[str] = []
    trainer = Counting(fail)
    trainer.register_hooks([Diary("a", calls)])
    with pytest.raises(OSError, match="disk gone"):
        trainer.train(0, 5)
    assert calls[-1] == "a after_train 1"


def test_hooks_hold_the_trainer_weakly() -> None:
    trainer, hook = Counting(), HookBase()
    trainer.register_hooks([hook])
    del trainer
    with pytest.raises(ReferenceError):
        hook.trainer.iter  # noqa: B018


class Stateful(HookBase):
    value = 0

    def state_dict(self) -> dict:
        return {"value": self.value}

    def load_state_dict(self, state: dict) -> None:
        self.value = state["value"]


def test_hook_state_travels_by_class_name() -> None:
    trainer, hook = Counting(), Stateful()
    trainer.register_hooks([HookBase(), hook])
    hook.value = 7
    trainer.iter = 4
    state = trainer.state_dict()
    assert state == {"iteration": 4, "hooks": {"Stateful": {"value": 7}}}
    other, fresh = Counting(), Stateful()
    other.register_hooks([fresh])
    state["hooks"]["Absent"] = {}
    other.load_state_dict(state)
    assert (other.iter, fresh.value) == (4, 7)


class Scale(nn.Module):
    """One weight; the loss is the weight times the batch, as a dict or bare."""

    def __init__(self, bare: bool = False):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.bare = bare

    def forward(self, batch: float) -> Any:
        loss = (self.weight * batch).sum()
        return loss if self.bare else {"loss_a": loss, "loss_b": 2 * loss}


def simple(model: nn.Module, batches: list[float], **options: Any) -> SimpleTrainer:
    """A trainer with learning rate 0.1."""
    return SimpleTrainer(model, batches, torch.optim.SGD(model.parameters(), 0.1), **options)


def test_simple_trainer_sums_and_logs_losses() -> None:
    model = Scale()
    trainer = simple(model, [1.0, 2.0])
    trainer.train(0, 2)
    # The gradients are 3 and 6.
    assert model.weight.item() == pytest.approx(1 - 0.3 - 0.6)
    latest = {name: value for name, (value, _) in trainer.storage.latest().items()}
    assert latest["total_loss"] == pytest.approx(3 * 2 * 0.7)
    assert latest["loss_b"] == pytest.approx(2 * 2 * 0.7)
    assert {"data_time", "rank_data_time"} <= set(latest)


class Single(Scale):
    def forward(self, batch: float) -> Any:
        return {"loss_single": super().forward(batch)}


@pytest.mark.parametrize("model", [Scale(bare=True), Single(bare=True)])
def test_a_single_loss_is_the_total(model: nn.Module) -> None:
    trainer = simple(model, [1.0, 3.0])
    trainer.train(0, 2)
    assert set(trainer.storage.latest()) == {"total_loss", "data_time", "rank_data_time"}
    assert model.weight.item() == pytest.approx(1 - 0.1 - 0.3)


def test_losses_are_logged_every_period() -> None:
    trainer = simple(Scale(), [1.0] * 4, gather_metric_period=2)
    trainer.train(0, 4)
    assert [step for _, step in trainer.storage.history("total_loss").values()] == [1, 3]


def test_a_loss_that_is_not_finite_stops_the_run() -> None:
    model = Scale()
    with pytest.raises(FloatingPointError, match="iteration=1"):
        simple(model, [1.0, math.nan, 1.0]).train(0, 3)
    assert model.weight.item() == pytest.approx(0.7)


def test_training_needs_training_mode() -> None:
    model = Scale()
    trainer = simple(model, [1.0])
    assert model.training
    model.eval()
    with pytest.raises(AssertionError, match="eval mode"):
        trainer.train(0, 1)


def test_the_loader_is_first_asked_in_the_first_step() -> None:
    asked: list[int] = []

    class Loader:
        def __iter__(self) -> Any:
            asked.append(1)
            return iter([1.0, 1.0])

    trainer = simple(Scale(), Loader())  # type: ignore[arg-type]
    assert trainer._data_loader_iter_obj is None and not asked
    trainer.train(0, 2)
    assert asked == [1]


def test_eval_hook_moments() -> None:
    results, steps = {"a": {"b": 1.5}}, []
    trainer = Counting()
    trainer.register_hooks([hooks.EvalHook(2, lambda: steps.append(trainer.iter) or results)])  # type: ignore[func-returns-value]
    trainer.train(0, 4)
    assert steps == [1, 4]
    assert trainer.storage.latest()["a/b"] == (1.5, 4)
    only_after: list[int] = []
    trainer = Counting()
    trainer.register_hooks([hooks.EvalHook(0, lambda: only_after.append(trainer.iter))])
    trainer.train(0, 3)
    assert only_after == [3]


def test_eval_hook_wants_numbers() -> None:
    trainer = Counting()
    trainer.register_hooks([hooks.EvalHook(0, lambda: {"a": "many"})])
    with pytest.raises(ValueError, match="many"):
        trainer.train(0, 1)


def test_lr_is_logged_before_the_scheduler_steps() -> None:
    weights = [nn.Parameter(torch.zeros(1)) for _ in range(3)]
    groups = [{"params": weights[:1], "lr": 5.0}, {"params": weights[1:], "lr": 1.0}]
    optimizer = torch.optim.SGD(groups)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5**step)
    trainer = Counting(lambda step: optimizer.step())
    trainer.register_hooks([hooks.LRScheduler(optimizer, scheduler)])
    trainer.train(0, 3)
    rates = [rate for rate, _ in trainer.storage.history("lr").values()]
    assert rates == [1.0, 0.5, 0.25] and optimizer.param_groups[1]["lr"] == 0.125


# Item 41
def best_checkpoints(folder: Path, values: list[float], **options: Any) -> Any:
    """Put one value a step in the storage, with a best checkpointer looking every step."""
    model = nn.Linear(1, 1)
    checkpointer = DetectionCheckpointer(model, str(folder))
    checkpointer.save("model_0000000")
    saved: list[int] = []
    trainer = Counting(lambda step: trainer.storage.put_scalar("task/score", values[step]))
    best = hooks.BestCheckpointer(1, checkpointer, "task/score", **options)
    watch = HookBase()
    watch.after_step = lambda: saved.append(best.best_iter)  # type: ignore[method-assign]
    trainer.register_hooks([best, watch])
    trainer.train(0, len(values))
    return best, saved


def test_best_checkpointer_keeps_the_highest(tmp_path: Path) -> None:
    best, when = best_checkpoints(tmp_path, [math.nan, 1.0, 3.0, 2.0, math.nan, 2.5])
    assert when == [None, 1, 2, 2, 2, 2] and (best.best_metric, best.best_iter) == (3.0, 2)
    assert loaded(tmp_path / "model_best.pth")["iteration"] == 2
    assert (tmp_path / "last_checkpoint").read_text(encoding="utf-8") == "model_best.pth"


def test_best_checkpointer_keeps_the_lowest(tmp_path: Path) -> None:
    options = {"mode": "min", "file_prefix": "lowest"}
    best, _ = best_checkpoints(tmp_path, [2.0, 3.0, 0.5, 1.0], **options)
    assert (best.best_metric, best.best_iter) == (0.5, 2)
    assert loaded(tmp_path / "lowest.pth")["iteration"] == 2
    with pytest.raises(AssertionError):
        best_checkpoints(tmp_path, [1.0], mode="middle")


def test_best_checkpointer_without_its_metric(tmp_path: Path) -> None:
    trainer = Counting()
    checkpointer = DetectionCheckpointer(nn.Linear(1, 1), str(tmp_path))
    trainer.register_hooks([hooks.BestCheckpointer(1, checkpointer, "task/score")])
    trainer.train(0, 2)
    assert not (tmp_path / "model_best.pth").exists()


# Item 43
class Judge(DatasetEvaluator):
    """Adds the outputs up."""

    def __init__(self, name: str = "sum"):
        self.name = name

    def reset(self) -> None:
        self.total = 0.0

    def process(self, inputs: Any, outputs: Any) -> None:
        self.total += outputs

    def evaluate(self) -> dict:
        return {self.name: {"total": self.total}}


class Double(nn.Module):
    def forward(self, batch: float) -> float:
        assert not self.training and not torch.is_grad_enabled()
        return 2 * batch


@pytest.fixture
def messages() -> Iterator[list[str]]:
    """What is logged below `detectron2`."""
    seen: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: seen.append(record.getMessage())  # type: ignore[method-assign]
    log = logging.getLogger("detectron2")
    level = log.level
    log.setLevel(logging.INFO)
    log.addHandler(handler)
    yield seen
    log.removeHandler(handler)
    log.setLevel(level)


@pytest.mark.parametrize("mode", [True, False])
def test_inference_restores_the_mode(mode: bool, messages: list[str]) -> None:
    model = Double().train(mode)
    results = inference_on_dataset(model, [1.0, 2.0, 3.0], Judge())
    assert results == {"sum": {"total": 12.0}} and model.training is mode
    assert sum(line.startswith("Total inference time: ") for line in messages) == 1
    assert sum(line.startswith("Total inference pure compute time: ") for line in messages) == 1


def test_inference_takes_one_evaluator_several_or_none() -> None:
    several = inference_on_dataset(Double().eval(), [1.0], [Judge("a"), Judge("b")])
    assert several == {"a": {"total": 2.0}, "b": {"total": 2.0}}
    assert inference_on_dataset(lambda batch: batch, [1.0], None) == {}
    with pytest.raises(AssertionError, match="a"):
        inference_on_dataset(Double(), [1.0], DatasetEvaluators([Judge("a"), Judge("a")]))


# Item 45
def expectation(*expected: Any) -> CfgNode:
    """A config that expects one result."""
    cfg = get_cfg()
    cfg.TEST.EXPECTED_RESULTS = [list(expected)]
    return cfg


def test_verify_results() -> None:
    assert verify_results(get_cfg(), {}) is True
    assert verify_results(expectation("box", "AP", 30.0, 1.0), {"box": {"AP": 30.9}}) is True
    for wrong in ({"AP": 31.1}, {"AP": math.nan}, {"AR": 30.0}):
        with pytest.raises(SystemExit) as stopped:
            verify_results(expectation("box", "AP", 30.0, 1.0), {"box": wrong})
        assert stopped.value.code == 1


def test_csv_lines(messages: list[str]) -> None:
    print_csv_format({"box": {"AP": 1.23456, "AP-dog": 9.0, "AR": 2.0}})
    assert messages == ["copypaste: Task: box", "copypaste: AP,AR", "copypaste: 1.2346,2.0000"]


def test_flatten_results() -> None:
    assert flatten_results_dict({"a": {"b": {"c": 1}, "d": 2}, "e": 3}) == {
        "a/b/c": 1,
        "a/d": 2,
        "e": 3,
    }


def test_auto_scale_workers() -> None:
    cfg = get_cfg()
    cfg.SOLVER.REFERENCE_WORLD_SIZE = 8
    cfg.SOLVER.STEPS = (4000, 4500)
    cfg.SOLVER.MAX_ITER = 5000
    cfg.SOLVER.BASE_LR = 0.1
    cfg.SOLVER.CHECKPOINT_PERIOD = 1000
    cfg.TEST.EVAL_PERIOD = 500
    cfg.freeze()
    scaled = DefaultTrainer.auto_scale_workers(cfg, 4)
    solver = scaled.SOLVER
    assert (solver.IMS_PER_BATCH, solver.BASE_LR, solver.REFERENCE_WORLD_SIZE) == (8, 0.05, 4)
    assert (solver.MAX_ITER, solver.STEPS, solver.WARMUP_ITERS) == (10000, (8000, 9000), 2000)
    assert (solver.CHECKPOINT_PERIOD, scaled.TEST.EVAL_PERIOD) == (2000, 1000)
    assert scaled.is_frozen() and cfg.SOLVER.MAX_ITER == 5000
    assert DefaultTrainer.auto_scale_workers(cfg, 8) is cfg


def test_expected_results_are_returned(tmp_path: Path) -> None:
    cfg = toy_config(str(tmp_path), 1)
    cfg.TEST.EXPECTED_RESULTS = [["toy", "images", 10, 0]]
    trainer = start(cfg)
    results = trainer.train()
    assert results is not None and results["toy"]["images"] == 10


def test_results_of_one_set_stand_alone(tmp_path: Path) -> None:
    cfg = toy_config(str(tmp_path), 1)
    model = ToyTrainer.build_model(cfg)
    alone = ToyTrainer.test(cfg, model)
    cfg.DATASETS.TEST = ()
    assert set(alone) == {"toy"} and ToyTrainer.test(cfg, model) == {}


def test_command_line() -> None:
    args = default_argument_parser().parse_args(["--resume", "--num-gpus", "2", "A.B", "1", "--x"])
    assert (args.resume, args.num_gpus, args.eval_only) == (True, 2, False)
    assert args.opts == ["A.B", "1", "--x"]
    assert (args.config_file, args.num_machines, args.machine_rank) == ("", 1, 0)
    assert args.dist_url.startswith("tcp://127.0.0.1:")


# Item 46
@META_ARCH_REGISTRY.register()
class ContractRecordingModel(nn.Module):
    """Answers with its input."""

    def __init__(self, cfg: CfgNode):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, batch: list[dict[str, Any]]) -> list[dict[str, Any]]:
        assert not self.training and not torch.is_grad_enabled()
        return batch


@pytest.mark.parametrize("colours", ["BGR", "RGB"])
def test_predictor(colours: str) -> None:
    cfg = get_cfg()
    cfg.MODEL.META_ARCHITECTURE = "ContractRecordingModel"
    cfg.MODEL.DEVICE = "cpu"
    cfg.INPUT.FORMAT = colours
    cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST = 30, 50
    image = np.zeros((60, 80, 3), np.uint8)
    image[:, :, 0] = 200  # blue
    seen = DefaultPredictor(cfg)(image)
    assert seen["image"].shape == (3, 30, 40) and seen["image"].dtype == torch.float32
    assert (seen["height"], seen["width"]) == (60, 80)
    assert seen["image"].mean(dim=(1, 2)).tolist() == (
        [200, 0, 0] if colours == "BGR" else [0, 0, 200]
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="is about machines without CUDA")
@pytest.mark.filterwarnings("ignore:.*GradScaler.*", "ignore:.*cuda.amp.*")
def test_mixed_precision_needs_cuda() -> None:
    model = Scale()
    trainer = AMPTrainer(model, [1.0], torch.optim.SGD(model.parameters(), 0.1))
    assert "grad_scaler" in trainer.state_dict()
    with EventStorage(), pytest.raises(AssertionError, match="CUDA"):
        trainer.run_step()


def test_mixed_precision_state_travels() -> None:
    model = Scale()
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    sgd = torch.optim.SGD(model.parameters(), 0.1)
    state = AMPTrainer(model, [1.0], sgd, grad_scaler=scaler).state_dict()
    assert state["grad_scaler"]["scale"] == 8.0
    other = torch.amp.GradScaler("cpu")
    AMPTrainer(model, [1.0], sgd, grad_scaler=other).load_state_dict(state)
    assert other.get_scale() == 8.0
    with pytest.raises(KeyError, match="grad_scaler"):
        del state["grad_scaler"]
        AMPTrainer(model, [1.0], sgd, grad_scaler=other).load_state_dict(state)


def test_a_failed_run_is_not_evaluated() -> None:
    def fail(step: int) -> None:
        raise OSError

    seen: list[int] = []
    trainer = Counting(fail)
    trainer.register_hooks([hooks.EvalHook(1, lambda: seen.append(1))])
    with pytest.raises(OSError):
        trainer.train(0, 3)
    assert not seen
