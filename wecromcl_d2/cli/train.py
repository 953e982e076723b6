r"""Train or evaluate what a config describes; `python train_net.py` in a clone does the same.

Train:     wecromcl train --config-file configs/quick/anchors.yaml
Continue:  wecromcl train --config-file configs/quick/anchors.yaml --resume
Evaluate:  wecromcl train --config-file configs/quick/anchors.yaml --eval-only \
               --weights output/quick_anchors/model_best.pth
Change:    wecromcl train --config-file configs/quick/anchors.yaml SOLVER.MAX_ITER 100 SEED 7
Forecast:  wecromcl train --config-file configs/quick/anchors.yaml --forecast

Machines:  wecromcl train ... --num-gpus 8 --num-machines 2 --machine-rank 0 \
               --dist-url tcp://10.0.0.1:29500     # on the second machine: --machine-rank 1
           torchrun --nnodes 2 --nproc-per-node 8 --node-rank 0 --master-addr 10.0.0.1 \
               -m wecromcl_d2 train ...

A config file that does not exist here is looked up in the installed package.
"""

import argparse
import itertools
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode
from detectron2.engine import default_argument_parser, default_setup
from detectron2.evaluation import verify_results
from detectron2.utils import comm
from detectron2.utils.logger import setup_logger
from torch.multiprocessing.spawn import ProcessException

from ..data.datasets import ensure_registered
from ..engine import AtomicCheckpointer
from ..engine.forecast import measure_training
from ..engine.precision import check_device, prepare_cpu
from ..engine.processes import check_gpus, start_processes
from ..evaluation.report import write_json
from ..files import find_file
from ..shipped_models import check_shipped
from ..tasks import load_config, trainer_class
from .console import brief_console, describe_run
from .forecast import FORECAST, print_forecast
from .status import DONE, add_import_option, command

logger = logging.getLogger(__name__)


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The parsed command line: Detectron2's options and `--weights`, which sets MODEL.WEIGHTS."""
    parser = default_argument_parser(epilog=__doc__)
    parser.prog = "wecromcl train"
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add_import_option(parser)
    parser.add_argument("--weights", help="checkpoint to start from or to evaluate: MODEL.WEIGHTS")
    parser.add_argument(
        "--forecast",
        action="store_true",
        help="time a few steps, say how long the training takes here, what memory it needs and how "
        "many images each phase sees, and end; also in OUTPUT_DIR/forecast.json",
    )
    args = parser.parse_args(argv)
    if args.forecast and args.eval_only:
        parser.error("--forecast tells of a training; leave out --eval-only")
    if not args.config_file:
        parser.error("name a config by --config-file, such as configs/quick/anchors.yaml")
    args.config_file = str(find_file(args.config_file))
    if args.weights:
        args.opts = [*args.opts, "MODEL.WEIGHTS", args.weights]
    return args


def read_config(args: argparse.Namespace) -> CfgNode:
    """The config of the command line, after checks of its task, device and datasets."""
    cfg = load_config(args.config_file, args.opts)
    trainer_class(cfg)
    if args.eval_only and not (args.resume or cfg.MODEL.WEIGHTS):
        raise ValueError(
            "there is nothing to evaluate: name a checkpoint by --weights, or give "
            "--resume for the last one of OUTPUT_DIR"
        )
    # Beforehand, since the data come first and may have to be rendered.
    if not args.resume:
        check_weights(cfg.MODEL.WEIGHTS, "MODEL.WEIGHTS")
        check_weights(cfg.MODEL.BACKBONE.WEIGHTS, "MODEL.BACKBONE.WEIGHTS")
    check_device(cfg.MODEL.DEVICE)
    check_gpus(args.num_gpus)
    phases = () if args.eval_only else (*cfg.SOLVER.CURRICULUM.DATASETS, cfg.DATASETS.TRAIN)
    for name in itertools.chain(*phases, cfg.DATASETS.TEST):
        ensure_registered(name)
    return cfg


def check_weights(path: str, key: str) -> None:
    """Check that weights exist, if they are named by a path and not by an address.

    Raises:
        ValueError: naming the file and the config key, or the model of the package.
    """
    if path and "://" not in path and not Path(path).is_file():
        check_shipped(path)  # tells a model that this version lacks
        raise ValueError(f"there is no file {path!r}; correct {key}, or --weights")


def run(args: argparse.Namespace, cfg: CfgNode) -> object:
    """Train or evaluate in one process of the launch."""
    if args.forecast:
        return forecast(args, cfg)
    with brief_console(cfg.OUTPUT_DIR):
        default_setup(cfg, args)
    setup_logger(cfg.OUTPUT_DIR, distributed_rank=comm.get_rank(), name="wecromcl_d2")
    logger.info(describe_run(cfg))
    prepare_cpu()
    trainer_type = trainer_class(cfg)
    if args.eval_only:
        with brief_console(cfg.OUTPUT_DIR):
            model = trainer_type.build_model(cfg)
        checkpointer = AtomicCheckpointer(model, save_dir=cfg.OUTPUT_DIR)
        checkpointer.resume_or_load(cfg.MODEL.WEIGHTS, resume=args.resume)
        try:
            results = trainer_type.test(cfg, model)
        except Exception:
            # As Detectron2 does in training: the cause may be ours, and `command` tells one line.
            logger.exception("exception during the evaluation:")
            raise
        if comm.is_main_process():
            verify_results(cfg, results)
        return results
    with brief_console(cfg.OUTPUT_DIR):
        trainer = trainer_type(cfg)
    trainer.resume_or_load(resume=args.resume)
    return trainer.train()


def forecast(args: argparse.Namespace, cfg: CfgNode) -> dict[str, Any]:
    """Measure a training, print the result and write it into OUTPUT_DIR."""
    prepare_cpu()
    if comm.is_main_process():
        print("timing a few steps of each phase of the training", flush=True)
    result = measure_training(trainer_class(cfg), cfg)
    if comm.is_main_process():
        write_json(Path(cfg.OUTPUT_DIR) / FORECAST, result)
        print_forecast(f"a training of {args.config_file}", result)
    return result


@command("train", ProcessException)
def main(argv: Sequence[str] | None = None) -> int:
    """Train or evaluate in as many processes as the command line asks for."""
    args = parse_args(argv)
    cfg = read_config(args)
    start_processes(run, args, (args, cfg))
    return DONE
