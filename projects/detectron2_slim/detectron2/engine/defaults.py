"""What most training scripts do the same way."""

import argparse
import logging
import os
import sys
import weakref
from operator import attrgetter
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from detectron2 import data, evaluation, modeling, solver
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.utils import comm, events
from detectron2.utils.collect_env import collect_env_info
from detectron2.utils.env import seed_all_rng
from detectron2.utils.file_io import PathManager
from detectron2.utils.logger import setup_logger

from . import hooks
from .train_loop import AMPTrainer, HookBase, SimpleTrainer, TrainerBase

logger = logging.getLogger(__name__)


def create_ddp_model(model: nn.Module, **kwargs: Any) -> nn.Module:
    """Wrap `model` for training in several processes; in a single one it stays as it is.

    Args:
        model: its parameters sit on one device, the CPU or this process' GPU.
        **kwargs: for `DistributedDataParallel`.
    """
    if comm.get_world_size() == 1:
        return model
    on_cpu = next(model.parameters()).device.type == "cpu"
    kwargs.setdefault("device_ids", None if on_cpu else [comm.get_local_rank()])
    return DistributedDataParallel(model, **kwargs)


def default_argument_parser(epilog: str | None = None) -> argparse.ArgumentParser:
    """The command line of training scripts; everything after the first KEY goes to `opts`."""
    example = f"example: {sys.argv[0]} --config-file FILE --num-gpus 8 SOLVER.BASE_LR 0.001"
    parser = argparse.ArgumentParser(epilog=epilog or example)
    parser.add_argument("--config-file", default="", metavar="FILE", help="path to config file")
    parser.add_argument("--resume", action="store_true", help="continue from the last checkpoint")
    parser.add_argument("--eval-only", action="store_true", help="evaluate without training")
    parser.add_argument("--num-gpus", type=int, default=1, help="processes per machine")
    parser.add_argument("--num-machines", type=int, default=1, help="machines of the job")
    parser.add_argument("--machine-rank", type=int, default=0, help="number of this machine")
    # A fixed port per user makes processes left over from an earlier job show.
    user = os.getuid() if sys.platform != "win32" else 1
    url = f"tcp://127.0.0.1:{2**15 + 2**14 + hash(user) % 2**14}"
    parser.add_argument("--dist-url", default=url, help="where the processes meet")
    rest = "config options to change, as pairs: KEY VALUE"
    parser.add_argument("opts", help=rest, default=None, nargs=argparse.REMAINDER)
    return parser


def default_setup(cfg: Any, args: argparse.Namespace) -> None:
    """Start logging, write `config.yaml`, seed the generators and set torch's switches.

    Args:
        cfg: the full config.
        args: the command line; is logged, and `eval_only` looked at where present.
    """
    output_dir, rank, text = cfg.OUTPUT_DIR, comm.get_rank(), cfg.dump()
    if rank == 0 and output_dir:
        PathManager.mkdirs(output_dir)
        with PathManager.open(os.path.join(output_dir, "config.yaml"), "w") as f:
            f.write(text)
    setup_logger(output_dir, distributed_rank=rank, name="fvcore")
    logger = setup_logger(output_dir, distributed_rank=rank)
    logger.info(f"Rank of current process: {rank}. World size: {comm.get_world_size()}")
    logger.info(f"Command line arguments: {args}\nEnvironment info:\n{collect_env_info()}")
    logger.info(f"Running with full config, saved as config.yaml:\n{text}")
    seed_all_rng(None if cfg.SEED < 0 else cfg.SEED + rank)
    if not getattr(args, "eval_only", False):
        torch.backends.cudnn.benchmark = cfg.CUDNN_BENCHMARK
    if cfg.FLOAT32_PRECISION and torch.cuda.is_available():
        torch.set_float32_matmul_precision(cfg.FLOAT32_PRECISION)
        torch.backends.cudnn.allow_tf32 = cfg.FLOAT32_PRECISION != "highest"


def default_writers(output_dir: str, max_iter: int | None = None) -> list[events.EventWriter]:
    """Writers to the log, to `metrics.json` and to TensorBoard.

    Args:
        output_dir: made if absent.
        max_iter: steps of the run, for the estimate of the time left.
    """
    PathManager.mkdirs(output_dir)
    printer = events.CommonMetricPrinter(max_iter)
    json_writer = events.JSONWriter(os.path.join(output_dir, "metrics.json"))
    return [printer, json_writer, events.TensorboardXWriter(output_dir)]


class DefaultPredictor:
    """A trained model for single images.

    Attributes:
        metadata: that of the first test set, where the config has one.
    """

    def __init__(self, cfg: Any) -> None:
        """Build the model of `cfg` and load `MODEL.WEIGHTS`."""
        self.cfg = cfg.clone()
        self.model = modeling.build_model(self.cfg)
        self.model.eval()
        if len(cfg.DATASETS.TEST):
            self.metadata = data.MetadataCatalog.get(cfg.DATASETS.TEST[0])
        DetectionCheckpointer(self.model).load(cfg.MODEL.WEIGHTS)
        lengths = cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST
        self.aug = data.transforms.ResizeShortestEdge(*lengths)
        self.input_format = cfg.INPUT.FORMAT
        assert self.input_format in ("RGB", "BGR"), self.input_format

    @torch.no_grad()
    def __call__(self, original_image: Any) -> Any:
        """The model's answer to one (H, W, 3) image in BGR order.

        The model gets a float (3, h, w) image on the CPU and moves it itself.
        """
        if self.input_format == "RGB":
            original_image = original_image[:, :, ::-1]
        height, width = original_image.shape[:2]
        resized = self.aug.get_transform(original_image).apply_image(original_image)
        image = torch.as_tensor(resized.astype("float32").transpose(2, 0, 1))
        return self.model([{"image": image, "height": height, "width": width}])[0]


def _of_trainer(name: str) -> Any:
    return property(attrgetter(f"_trainer.{name}"), lambda s, v: setattr(s._trainer, name, v))


class DefaultTrainer(TrainerBase):
    """The standard training run of a config.

    Attributes:
        cfg: the config, scaled to the number of processes.
        scheduler: of the learning rate.
        checkpointer: saves and loads in `OUTPUT_DIR`.
    """

    model = _of_trainer("model")
    data_loader = _of_trainer("data_loader")
    optimizer = _of_trainer("optimizer")

    # Subclasses write class methods of these names with the same arguments.
    build_model: Any = staticmethod(modeling.build_model)
    build_optimizer: Any = staticmethod(solver.build_optimizer)
    build_lr_scheduler: Any = staticmethod(solver.build_lr_scheduler)
    build_train_loader: Any = staticmethod(data.build_detection_train_loader)
    build_test_loader: Any = staticmethod(data.build_detection_test_loader)

    def __init__(self, cfg: Any) -> None:
        """Build everything from `cfg`; nothing is loaded yet."""
        super().__init__()
        if not logging.getLogger("detectron2").isEnabledFor(logging.INFO):
            setup_logger()
        cfg = DefaultTrainer.auto_scale_workers(cfg, comm.get_world_size())
        model = self.build_model(cfg)
        logger.info(f"Model:\n{model}")
        optimizer = self.build_optimizer(cfg, model)
        data_loader = self.build_train_loader(cfg)
        model = create_ddp_model(model, broadcast_buffers=False)
        loop = AMPTrainer if cfg.SOLVER.AMP.ENABLED else SimpleTrainer
        self._trainer = loop(model, data_loader, optimizer)
        self.scheduler = self.build_lr_scheduler(cfg, optimizer)
        stateful = {"trainer": weakref.proxy(self)}
        self.checkpointer = DetectionCheckpointer(model, cfg.OUTPUT_DIR, **stateful)
        self.cfg, self.start_iter, self.max_iter = cfg, 0, cfg.SOLVER.MAX_ITER
        self.register_hooks(self.build_hooks())

    def resume_or_load(self, resume: bool = True) -> None:
        """Continue from the last checkpoint, or start with the weights of `MODEL.WEIGHTS`.

        Args:
            resume: use the last checkpoint in `OUTPUT_DIR`, if any, with everything in it. A
                start from `MODEL.WEIGHTS` takes nothing but weights and begins at step 0.
        """
        self.checkpointer.resume_or_load(self.cfg.MODEL.WEIGHTS, resume=resume)
        if resume and self.checkpointer.has_checkpoint():
            self.start_iter = self.iter + 1  # the stored step is done

    def build_hooks(self) -> list[HookBase | None]:
        """The standard hooks in their order: evaluation after saving, writers last."""
        cfg = self.cfg
        assert not cfg.TEST.PRECISE_BN.ENABLED, "TEST.PRECISE_BN is not part of Detectron2 slim"
        ret: list[HookBase | None] = [hooks.IterationTimer(), hooks.LRScheduler()]
        if comm.is_main_process():
            ret.append(hooks.PeriodicCheckpointer(self.checkpointer, cfg.SOLVER.CHECKPOINT_PERIOD))

        def test_and_save_results() -> dict[str, Any]:
            self._last_eval_results = self.test(self.cfg, self.model)
            return self._last_eval_results

        ret.append(hooks.EvalHook(cfg.TEST.EVAL_PERIOD, test_and_save_results))
        if comm.is_main_process():
            ret.append(hooks.PeriodicWriter(self.build_writers(), period=20))
        return ret

    def build_writers(self) -> list[events.EventWriter]:
        """The writers of the run."""
        return default_writers(self.cfg.OUTPUT_DIR, self.max_iter)

    def train(self) -> dict[str, Any] | None:  # type: ignore[override]
        """Train; returns the last results where `TEST.EXPECTED_RESULTS` asks to verify them."""
        super().train(self.start_iter, self.max_iter)
        if not self.cfg.TEST.EXPECTED_RESULTS or not comm.is_main_process():
            return None
        assert hasattr(self, "_last_eval_results"), "there was no evaluation to verify"
        evaluation.verify_results(self.cfg, self._last_eval_results)
        return self._last_eval_results

    def run_step(self) -> None:
        """One step of the inner loop."""
        self._trainer.iter = self.iter
        self._trainer.run_step()

    def state_dict(self) -> dict[str, Any]:
        """The state of this loop, with that of the inner one under `_trainer`."""
        return {**super().state_dict(), "_trainer": self._trainer.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take back what `state_dict` gave."""
        super().load_state_dict(state_dict)
        self._trainer.load_state_dict(state_dict["_trainer"])

    @classmethod
    def build_evaluator(cls, cfg: Any, dataset_name: str) -> Any:
        """The evaluator(s) of one test set; without one, nothing is evaluated."""
        raise NotImplementedError(f"write build_evaluator to evaluate {dataset_name}")

    @classmethod
    def test(cls, cfg: Any, model: nn.Module) -> dict[str, Any]:
        """Evaluate `model` on every test set.

        Args:
            cfg: `DATASETS.TEST` names the sets.
            model: has its weights.

        Returns:
            The results by name of the set; for a single set, its results alone.
        """
        results: dict[str, Any] = {name: {} for name in cfg.DATASETS.TEST}
        for name in results:
            try:
                evaluator = cls.build_evaluator(cfg, name)
            except NotImplementedError as error:
                logger.warning(error)
                continue
            data_loader = cls.build_test_loader(cfg, name)
            results[name] = evaluation.inference_on_dataset(model, data_loader, evaluator)
            if comm.is_main_process():
                logger.info(f"Evaluation results for {name} in csv format:")
                evaluation.print_csv_format(results[name])
        return next(iter(results.values())) if len(results) == 1 else results

    @staticmethod
    def auto_scale_workers(cfg: Any, num_workers: int) -> Any:
        """Adapt a config written for `SOLVER.REFERENCE_WORLD_SIZE` processes to another number.

        Batch size and learning rate are multiplied by the ratio, all counts of steps divided.

        Returns:
            A changed copy; `cfg` itself where the reference is 0 or equals `num_workers`.
        """
        reference = cfg.SOLVER.REFERENCE_WORLD_SIZE
        if reference in (0, num_workers):
            return cfg
        frozen, cfg = cfg.is_frozen(), cfg.clone()
        cfg.defrost()
        new, scale = cfg.SOLVER, num_workers / reference
        assert new.IMS_PER_BATCH % reference == 0, "REFERENCE_WORLD_SIZE must divide the batch"
        new.IMS_PER_BATCH = round(new.IMS_PER_BATCH * scale)
        new.BASE_LR = new.BASE_LR * scale
        for key in ("MAX_ITER", "WARMUP_ITERS", "CHECKPOINT_PERIOD"):
            new[key] = round(new[key] / scale)
        cfg.TEST.EVAL_PERIOD = round(cfg.TEST.EVAL_PERIOD / scale)
        new.STEPS = tuple(round(step / scale) for step in new.STEPS)
        new.REFERENCE_WORLD_SIZE = num_workers
        logger.info(f"Scaled the config from {reference} to {num_workers} processes:\n{new}")
        if frozen:
            cfg.freeze()
        return cfg
