"""Training of stage 2: mapper, batch sampler and evaluator."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.engine import HookBase
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm
from torch import nn

from ..config import check_choice
from ..data.datasets import usable_words
from ..data.label_format import per_text
from ..data.mixture import Mixture
from ..data.records import MappedRecords
from ..engine.trainer import Trainer, results_folder
from ..evaluation.evaluator import SpottingEvaluator
from ..evaluation.protocols import build_protocols, read_lexicons
from ..evaluation.spotting import SPTS_THRESHOLDS, SpottingProtocol
from ..geometry import polygon_center
from .mapper import PointMapper
from .reading_images import ReadingImages
from .sampler import MixtureSampler, ShuffleSampler

# Score thresholds of the sweep on a validation set. They start lower than those published for
# SPTS, since our spotters give lower scores.
THRESHOLDS = tuple(step / 50 for step in range(1, 50))


class SpottingTrainer(Trainer):
    """Trainer of the spotters, stage 2, on points and transcriptions."""

    @classmethod
    def build_model(cls, cfg: CfgNode) -> nn.Module:
        """The spotter, its weights in the memory format of the images (channels last).

        On a CPU this shortens a training step of the quick SRSTS-A by an eighth; stage 1 does not
        gain from it.
        """
        return super().build_model(cfg).to(memory_format=torch.channels_last)

    def build_hooks(self) -> list[HookBase | None]:
        """The hooks of both stages, and before the writers one that draws what is read."""
        ret, cfg = super().build_hooks(), self.cfg
        if comm.is_main_process() and cfg.VIS_PERIOD > 0 and len(cfg.DATASETS.TEST):
            records = self.load_records(cfg, cfg.DATASETS.TEST[:1])
            shown = next((record for record in records if any(usable_words(record))), records[0])
            model = getattr(self._trainer.model, "module", self._trainer.model)
            x = self.build_mapper(cfg, False)(shown)
            threshold = cfg.TEST.SPOTTING_THRESHOLD
            ret.insert(-1, ReadingImages(cfg.VIS_PERIOD, model, x, threshold))
        return ret

    @classmethod
    def load_records(cls, cfg: CfgNode, names: Sequence[str]) -> Sequence[dict[str, Any]]:
        """The records, with the points that INPUT.POINT_SOURCE names.

        Raises:
            ValueError: for an unknown INPUT.POINT_SOURCE.
        """
        records = super().load_records(cfg, names)
        check_choice("INPUT.POINT_SOURCE", cfg.INPUT.POINT_SOURCE, ("points", "polygons"))
        if cfg.INPUT.POINT_SOURCE == "points":
            return records
        return MappedRecords(records, _with_ground_truth_points)

    @classmethod
    def build_mapper(cls, cfg: CfgNode, is_train: bool) -> Callable[[dict], dict]:
        """The mapper; in training, points and texts are augmented with their image."""
        return PointMapper(cfg, is_train)

    @classmethod
    def build_sampler(
        cls,
        cfg: CfgNode,
        records: Sequence[dict],
        batch_size: int,
        mixture: Mixture | None = None,
    ) -> ShuffleSampler | MixtureSampler:
        """A sampler of every image once per epoch, images without words included."""
        copies = cfg.DATALOADER.COPIES
        if mixture is None:
            return ShuffleSampler(len(records), batch_size, cfg.SEED, copies)
        return MixtureSampler(mixture, batch_size, cfg.SEED, copies)

    @classmethod
    def build_evaluator(cls, cfg: CfgNode, dataset_name: str) -> DatasetEvaluator:
        """The point metric of SPTS, `spotting`, and a bag-of-words metric without points, `words`.

        `words` can select checkpoint and threshold where no ground-truth point exists. The rows of
        TEST.PROTOCOLS and TEST.LEXICONS come behind. Results go to OUTPUT_DIR/inference/<dataset>.

        Raises:
            ValueError: for an unknown protocol, or a lexicon that cannot be read.
        """
        mode = cfg.TEST.MODE
        lexicons = read_lexicons(cfg.TEST.LEXICONS, dataset_name)
        return SpottingEvaluator(
            dataset_name,
            results_folder(cfg.OUTPUT_DIR, dataset_name),
            protocols={
                "spotting": SpottingProtocol(mode=mode),
                "words": SpottingProtocol(metric="bag_of_words"),
                **build_protocols(cfg.TEST.PROTOCOLS, lexicons, mode),
            },
            threshold=cfg.TEST.SPOTTING_THRESHOLD,
            thresholds=SPTS_THRESHOLDS if mode == "official" else THRESHOLDS,
            details=True,
        )


def _with_ground_truth_points(record: dict[str, Any]) -> dict[str, Any]:
    """A copy of a record with the centers of its polygons as points, all of weight 1."""
    outlines = per_text(record, "polygons")
    points = [None if outline is None else polygon_center(outline).tolist() for outline in outlines]
    kept = {k: v for k, v in record.items() if k not in ("point_scores", "point_weights")}
    return kept | {"points": points}
