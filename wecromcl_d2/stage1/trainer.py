"""Training of stage 1: mapper, batch sampler and evaluators."""

from collections.abc import Callable, Sequence
from typing import Any

from detectron2.config import CfgNode
from detectron2.evaluation import DatasetEvaluator, DatasetEvaluators

from ..data.mixture import Mixture
from ..data.records import index_texts
from ..engine.trainer import Trainer, results_folder
from .evaluator import AnchorEvaluator
from .mapper import AnchorMapper
from .retrieval import RetrievalEvaluator, retrieval_inputs
from .sampling import BatchSampler
from .self_paced import surest_words
from .text_encoder import build_charset


class AnchorTrainer(Trainer):
    """Trainer of the anchor detector, stage 1."""

    @classmethod
    def build_mapper(cls, cfg: CfgNode, is_train: bool) -> Callable[[dict], dict]:
        """The mapper of stage 1, which keeps no positions in training."""
        return AnchorMapper(cfg, is_train)

    @classmethod
    def build_sampler(
        cls,
        cfg: CfgNode,
        records: Sequence[dict],
        batch_size: int,
        mixture: Mixture | None = None,
    ) -> BatchSampler:
        """The sampler of batches in which no two images contain the same query."""
        index = index_texts(records)
        share = cfg.DATALOADER.SAMPLING.SELF_PACED
        queryable = None if share == 1 else surest_words(records, index, share)
        charset = build_charset(cfg)
        return BatchSampler.from_config(cfg, index, charset, batch_size, mixture, queryable)

    @classmethod
    def load_test_records(cls, cfg: CfgNode, dataset_name: str) -> list[dict[str, Any]]:
        """Records to evaluate on, with what the retrieval metrics ask of the model beside."""
        records = super().load_test_records(cfg, dataset_name)
        extra = retrieval_inputs(cfg, records)
        return [record | extra.get(number, {}) for number, record in enumerate(records)]

    @classmethod
    def build_evaluator(cls, cfg: CfgNode, dataset_name: str) -> DatasetEvaluator:
        """Anchor accuracy and retrieval; results go to OUTPUT_DIR/inference/<dataset>."""
        folder = results_folder(cfg.OUTPUT_DIR, dataset_name)
        anchors = AnchorEvaluator(dataset_name, folder, mode=cfg.TEST.MODE)
        if not cfg.TEST.RETRIEVAL.NUM_NEGATIVES:
            return anchors
        return DatasetEvaluators([anchors, RetrievalEvaluator(dataset_name, folder)])
