#!/usr/bin/env python
"""Train or evaluate what a config describes.

Train:     python train_net.py --config-file configs/quick/anchors.yaml
Continue:  python train_net.py --config-file configs/quick/anchors.yaml --resume
Evaluate:  python train_net.py --config-file configs/quick/anchors.yaml --eval-only \
               MODEL.WEIGHTS output/quick_anchors/model_best.pth
"""

import argparse

from detectron2.config import CfgNode
from detectron2.engine import default_argument_parser, default_setup, launch
from detectron2.evaluation import verify_results
from detectron2.utils import comm
from detectron2.utils.logger import setup_logger

from wecromcl_d2.engine import AtomicCheckpointer
from wecromcl_d2.engine.precision import prepare_cpu
from wecromcl_d2.tasks import load_config, trainer_class


def setup(args: argparse.Namespace) -> CfgNode:
    """Config of the command line, with loggers, output folder and seeds in place."""
    cfg = load_config(args.config_file, args.opts)
    default_setup(cfg, args)
    setup_logger(cfg.OUTPUT_DIR, distributed_rank=comm.get_rank(), name="wecromcl_d2")
    prepare_cpu()
    return cfg


def main(args: argparse.Namespace) -> object:
    """Run in each process."""
    cfg = setup(args)
    trainer_type = trainer_class(cfg)
    if args.eval_only:
        if not (args.resume or cfg.MODEL.WEIGHTS):
            raise ValueError(
                "there is nothing to evaluate: name a checkpoint behind MODEL.WEIGHTS, or give "
                "--resume for the last one of OUTPUT_DIR"
            )
        model = trainer_type.build_model(cfg)
        checkpointer = AtomicCheckpointer(model, save_dir=cfg.OUTPUT_DIR)
        checkpointer.resume_or_load(cfg.MODEL.WEIGHTS, resume=args.resume)
        results = trainer_type.test(cfg, model)
        if comm.is_main_process():
            verify_results(cfg, results)
        return results
    trainer = trainer_type(cfg)
    trainer.resume_or_load(resume=args.resume)
    return trainer.train()


if __name__ == "__main__":
    arguments = default_argument_parser(epilog=__doc__).parse_args()
    launch(
        main,
        arguments.num_gpus,
        num_machines=arguments.num_machines,
        machine_rank=arguments.machine_rank,
        dist_url=arguments.dist_url,
        args=(arguments,),
    )
