"""The training loop of both stages, on Detectron2's engine."""

import logging
import os
import re
import weakref
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, build_detection_test_loader
from detectron2.engine import DefaultTrainer, HookBase, TrainerBase, create_ddp_model, hooks
from detectron2.utils import comm
from torch import nn

from ..config import check_unused_keys
from ..data.datasets import ensure_registered
from ..data.loader import Phase, Sampler, TrainBatches, TrainLoader
from ..data.mixture import Mixture
from ..data.records import JoinedRecords, LongWordRecords
from .backbone_weights import load_backbone
from .checkpoint import AtomicCheckpointer
from .forecast import plan_phases, unseen_datasets
from .hooks import BestCheckpointer, SeedEachIteration
from .precision import build_step, check_precision
from .processes import check_batches, scale_to_processes, synchronize_norms
from .solver import build_optimizer, build_schedule

logger = logging.getLogger(__name__)


class Trainer(DefaultTrainer):
    """Base class of the trainers of both stages, see `tasks`.

    Equal configs and seeds give equal weights, for any number of data loader workers and also after
    the run was killed and resumed, on the same kind of device.
    """

    def __init__(self, cfg: CfgNode):
        TrainerBase.__init__(self)
        cfg = _checked(scale_to_processes(cfg, comm.get_world_size()))
        self.cfg = cfg
        model = synchronize_norms(cfg, self.build_model(cfg))
        optimizer = self.build_optimizer(cfg, model)
        self.train_loader = self.build_train_loader(cfg)
        on_gpu = next(model.parameters()).is_cuda
        ddp_model = create_ddp_model(
            model, broadcast_buffers=False, device_ids=[comm.get_local_rank()] if on_gpu else None
        )
        self._trainer = build_step(cfg, ddp_model, self.train_loader, optimizer)
        self.scheduler = self.build_lr_scheduler(cfg, optimizer)
        self.checkpointer = AtomicCheckpointer(
            ddp_model, cfg.OUTPUT_DIR, partial=True, trainer=weakref.proxy(self)
        )
        self.start_iter = 0
        self.max_iter = cfg.SOLVER.MAX_ITER
        self.register_hooks(self.build_hooks())

    def resume_or_load(self, resume: bool = True) -> None:
        """Continue from the last checkpoint of OUTPUT_DIR, or load the weights of the config."""
        super().resume_or_load(resume)
        resumed = resume and self.checkpointer.has_checkpoint()
        if self.cfg.MODEL.BACKBONE.WEIGHTS and not resumed:
            load_backbone(self.checkpointer.model.backbone, self.cfg.MODEL.BACKBONE.WEIGHTS)
        self.train_loader.seek(self.start_iter * self.cfg.SOLVER.ACCUMULATION)

    def build_hooks(self) -> list[HookBase | None]:
        """Detectron2's hooks, with `SeedEachIteration` as the first.

        `BestCheckpointer` precedes `PeriodicCheckpointer`, which thus stores the best value.
        """
        cfg = self.cfg
        ret: list[HookBase | None] = [
            SeedEachIteration(cfg.SEED),
            hooks.IterationTimer(),
            hooks.LRScheduler(),
            hooks.EvalHook(cfg.TEST.EVAL_PERIOD, self._evaluate),
        ]
        if comm.is_main_process():
            if cfg.TEST.BEST_METRIC and cfg.TEST.EVAL_PERIOD > 0:
                best = AtomicCheckpointer(self._trainer.model, cfg.OUTPUT_DIR, tag_last=False)
                ret.append(BestCheckpointer(cfg.TEST.EVAL_PERIOD, best, cfg.TEST.BEST_METRIC))
            ret.append(hooks.PeriodicCheckpointer(self.checkpointer, cfg.SOLVER.CHECKPOINT_PERIOD))
            ret.append(hooks.PeriodicWriter(self.build_writers(), period=20))
        return ret

    def _evaluate(self) -> dict[str, Any]:
        self._last_eval_results = self.test(self.cfg, self._trainer.model)
        return self._last_eval_results

    @classmethod
    def build_optimizer(cls, cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
        """See `solver.build_optimizer`."""
        return build_optimizer(cfg, model)

    @classmethod
    def build_lr_scheduler(cls, cfg: CfgNode, optimizer: torch.optim.Optimizer) -> Any:
        """See `solver.build_schedule`."""
        return build_schedule(cfg, optimizer)

    @classmethod
    def build_train_loader(cls, cfg: CfgNode) -> TrainLoader:
        """Batches of the phases of SOLVER.CURRICULUM, then of DATASETS.TRAIN."""
        *curriculum, last = plan_phases(cfg)
        phases, end = [], 0
        for plan in curriculum:
            end += plan.iterations * cfg.SOLVER.ACCUMULATION
            phases.append(cls.build_phase(cfg, plan.datasets, plan.batch, end))
        shares = cfg.DATASETS.PROPORTIONS
        phases.append(cls.build_phase(cfg, last.datasets, last.batch, float("inf"), shares))
        batches = TrainBatches(phases, cls.build_mapper(cfg, True))
        return TrainLoader(batches, cfg.DATALOADER.NUM_WORKERS)

    @classmethod
    def build_phase(
        cls,
        cfg: CfgNode,
        names: Sequence[str],
        batch_size: int,
        end: float,
        proportions: Sequence[float] = (),
    ) -> Phase:
        """A phase of the training.

        Args:
            cfg: the run's config.
            names: datasets of the phase.
            batch_size: images per batch, all processes together.
            end: first batch after the phase.
            proportions: shares of the datasets in the draws; empty for those of their sizes.

        Raises:
            ValueError: if the datasets have no image, or not one proportion each.
        """
        datasets = [cls.load_records(cfg, [name]) for name in names]
        records = JoinedRecords(datasets)
        if not records:
            raise ValueError(f"there is nothing to train on: the datasets {names} name no image")
        sizes = [len(dataset) for dataset in datasets]
        mixture = Mixture.of(sizes, proportions) if proportions else None
        return Phase(records, cls.build_sampler(cfg, records, batch_size, mixture), end)

    @classmethod
    def load_records(cls, cfg: CfgNode, names: Sequence[str]) -> Sequence[dict[str, Any]]:
        """Records of registered datasets and of label files, see `ensure_registered`.

        Words of fewer than INPUT.MIN_TEXT_LENGTH characters are ignored.
        """
        for name in names:
            ensure_registered(name)
        found = JoinedRecords([DatasetCatalog.get(name) for name in names])
        return LongWordRecords(found, cfg.INPUT.MIN_TEXT_LENGTH)

    @classmethod
    def build_test_loader(cls, cfg: CfgNode, dataset_name: str) -> Any:
        """All images of a dataset in order, each with its complete record."""
        return build_detection_test_loader(
            cls.load_test_records(cfg, dataset_name),
            mapper=cls.build_mapper(cfg, False),
            num_workers=cfg.DATALOADER.NUM_WORKERS,
        )

    @classmethod
    def load_test_records(cls, cfg: CfgNode, dataset_name: str) -> Sequence[dict[str, Any]]:
        """Records to evaluate on, with all that they say of positions."""
        return Trainer.load_records(cfg, [dataset_name])

    @classmethod
    @abstractmethod
    def build_mapper(cls, cfg: CfgNode, is_train: bool) -> Callable[[dict], dict]:
        """The mapper from a record to a model input."""

    @classmethod
    @abstractmethod
    def build_sampler(
        cls,
        cfg: CfgNode,
        records: Sequence[dict],
        batch_size: int,
        mixture: Mixture | None = None,
    ) -> Sampler:
        """The sampler that chooses the records of each batch."""


def results_folder(output_dir: str, dataset_name: str) -> str:
    """Folder of the results of a dataset, whose name may be the path of a label file."""
    return os.path.join(output_dir, "inference", re.sub(r"[^\w.-]+", "_", dataset_name))


def _checked(cfg: CfgNode) -> CfgNode:
    """The config, checked, and without mixed precision where the device gains nothing by it."""
    unseen = unseen_datasets(cfg)
    check_batches(cfg, comm.get_world_size())
    if cfg.SEED < 0:
        raise ValueError(
            f"SEED is {cfg.SEED}; training draws everything from it, so give a number from 0 on"
        )
    if cfg.SOLVER.ACCUMULATION < 1:
        raise ValueError(
            f"SOLVER.ACCUMULATION is {cfg.SOLVER.ACCUMULATION}; an update needs at least 1 batch"
        )
    check_unused_keys(cfg)
    if unseen:
        logger.warning(unseen)
    return check_precision(cfg)
