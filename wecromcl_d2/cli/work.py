r"""`wecromcl benchmark work`: operations and memory of a whole training, or of inference.

    wecromcl benchmark work training --config-file configs/quick/spts.yaml
    wecromcl benchmark work inference --config-file configs/quick/spts.yaml \
        --weights output/quick_spts/model_best.pth

"training" runs one step of each phase as the training does, on its own datasets; words without a
point get one for it. "inference" takes the first images of DATASETS.TEST; what it takes may depend
on what the model reads, so name trained weights. GFLOP are those of matrix products, convolutions
and attention; the peak of memory is that of the process, or of PyTorch on a GPU.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from detectron2.utils.events import EventStorage

from ..data.datasets import ensure_registered
from ..engine.forecast import phase_config, plan_phases
from ..engine.loading import load_model
from ..engine.precision import check_precision, prepare_cpu
from ..evaluation.report import write_json
from ..tasks import load_config, trainer_class
from .profiler import WorkCounter, peak_memory
from .status import add_import_option, check_positive, command_parser


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The parsed command line."""
    parser = command_parser("benchmark work", __doc__)
    parser.add_argument("what", choices=("training", "inference"))
    parser.add_argument("--config-file", required=True)
    parser.add_argument("--weights", help="for inference (default: MODEL.WEIGHTS, else random)")
    parser.add_argument("--images", type=int, default=8, help="for inference (%(default)s)")
    parser.add_argument("--output", type=Path, help="JSON file for everything that was measured")
    add_import_option(parser)
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="changes of the config")
    args = parser.parse_intermixed_args(argv)  # KEY VALUE may follow the options
    check_positive(parser, args, "images")
    return args


def work_of_training(cfg: CfgNode) -> dict[str, Any]:
    """Operations of a step of each phase of a training, and its peak of memory.

    Returns:
        `phases`, each with `datasets`, `images`, `iterations` and `step_gflop`; `tflop` of the
        whole training; `memory_mb`.
    """
    cfg = check_precision(cfg)
    phases: list[dict[str, Any]] = []
    memory = 0
    with tempfile.TemporaryDirectory() as folder:
        for plan in plan_phases(cfg):
            if not plan.iterations:
                continue
            trainer = trainer_class(cfg)(phase_config(cfg, plan, folder))
            counter = WorkCounter()
            with EventStorage(), counter:
                trainer._trainer.run_step()
            memory = peak_memory(cfg.MODEL.DEVICE)
            phase = {
                "datasets": list(plan.datasets),
                "images": len(trainer.train_loader.batches.phases[0].records),
                "iterations": plan.iterations,
                "step_gflop": counter.flop / 1e9,
            }
            phases.append(phase)
    total = sum(phase["iterations"] * phase["step_gflop"] for phase in phases)
    return {"phases": phases, "tflop": total / 1e3, "memory_mb": memory}


def work_of_inference(cfg: CfgNode, weights: str, count: int) -> dict[str, Any]:
    """Operations and seconds of an image, and the peak of memory.

    Args:
        cfg: config of either stage; images are those of its first DATASETS.TEST, with their own
            words only.
        weights: checkpoint; "" for MODEL.WEIGHTS, and random ones without.
        count: number of images.

    Returns:
        Means `image_gflop`, the median `image_seconds`, `images` and `memory_mb`.
    """
    cfg = cfg.clone()
    cfg.defrost()
    cfg.TEST.RETRIEVAL.NUM_NEGATIVES = 0
    cfg.freeze()
    named = weights or cfg.MODEL.WEIGHTS
    model = load_model(cfg, named) if named else build_model(cfg).eval()
    loader = trainer_class(cfg).build_test_loader(cfg, cfg.DATASETS.TEST[0])
    batches = [*islice(loader, count)]
    on_gpu = cfg.MODEL.DEVICE.startswith("cuda")
    seconds, counter = [], WorkCounter()
    with torch.no_grad():
        model(batches[0])  # the first run is slower
        for batch in batches:
            model.train().eval()  # empties the text cache of stage 1
            start = time.perf_counter()
            model(batch)
            if on_gpu:
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - start)
        memory = peak_memory(cfg.MODEL.DEVICE)
        for batch in batches:
            model.train().eval()
            with counter:
                model(batch)
    return {
        "images": len(batches),
        "image_gflop": counter.flop / 1e9 / len(batches),
        "image_seconds": statistics.median(seconds),
        "memory_mb": memory,
    }


def report(result: dict[str, Any]) -> None:
    """Print what was measured."""
    for phase in result.get("phases", ()):
        print(
            f"{phase['iterations']} iterations on {', '.join(phase['datasets'])}: "
            f"{phase['step_gflop']:.2f} GFLOP a step"
        )
    if "tflop" in result:
        print(f"all: {result['tflop']:.2f} TFLOP, peak of memory {result['memory_mb']} MB")
    else:
        print(
            f"an image: {result['image_gflop']:.3f} GFLOP, {1e3 * result['image_seconds']:.1f} ms, "
            f"peak of memory {result['memory_mb']} MB"
        )


def run(argv: Sequence[str] | None) -> None:
    """Measure what the command line asks for."""
    args = parse_args(argv)
    cfg = load_config(args.config_file, args.opts)
    prepare_cpu()
    if args.what == "training":
        result = work_of_training(cfg)
    else:
        ensure_registered(cfg.DATASETS.TEST[0])
        result = work_of_inference(cfg, args.weights or "", args.images)
    report(result)
    if args.output:
        write_json(args.output, result)
