"""Measure speed and memory of the parts of a model, with random weights and images of noise.

    wecromcl benchmark train --batch 4 --size 256 256 --negatives 16 --threads 1
    wecromcl benchmark train --batch 4 8 16 32 64 --size 64 64
    wecromcl benchmark inference --size 640 640 --words 8 --output inference.json
    wecromcl benchmark inference --device cuda --precision bfloat16
    wecromcl benchmark spotting --size 640 640 --words 8

"train" and "inference" are stage 1, "spotting" is inference of SRSTS-A with a fixed number of words
per image, --words.
`wecromcl benchmark anchors` and `wecromcl benchmark read` compare labelling and reading with the
bare model, `wecromcl benchmark labels` measures label files of any length, and `wecromcl benchmark
work` a training or inference on the datasets of its config; see their --help.

Each case runs in a process of its own, so that its peak memory is its own. Warm-up runs are not
counted; of the others the median, the fastest and the slowest are given, and the least CPU time,
which other programs on the machine disturb less than wall time. Peak memory is the resident memory
of the process or, on a GPU, PyTorch's memory there.

"GFLOP" counts matrix products and convolutions; "least" is the time that they alone would take at
the speed of a product of square matrices, measured in the same process. "GB" adds up the tensors
that each operation reads and writes; "moving" is the time for that at the speed of a large copy.
"least" is a lower bound of the time; "moving" is not, as tensors in a cache are not read from
memory again.
"""

import argparse
import os
import statistics
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from torch import nn

from ..engine.precision import prepare_cpu
from ..evaluation.report import write_json
from ..stage1.trainer import AnchorTrainer
from ..tasks import load_config
from . import label_scale, labelling_speed, reading_speed, work
from .env import processor
from .profiler import PartProfiler, peak_memory
from .status import DONE, command, command_parser

# Sub-modules that are measured: of stage 1 and of SRSTS-A.
PARTS = ("backbone", "image_encoder", "text_encoder")
SPOTTER_PARTS = ("backbone", "image_encoder", "anchor_head", "recognizer")
CONFIGS = {
    "train": "configs/Base-WeCromCL.yaml",
    "inference": "configs/Base-WeCromCL.yaml",
    "spotting": "configs/stage2/srsts_a/Base-SRSTS-A.yaml",
}
# The modules that --compile compiles; the deformable encoder's graph depends on the input size.
COMPILED = ("backbone", "text_encoder")
# Side of the square matrices whose product gives the speed of matrix products.
PRODUCT_SIDE = 1024
# Bytes of the copy that gives the speed of memory; larger than any cache.
COPY_SIZE = 2**28
# Additional words per batch, from which the time of one further word is computed.
FURTHER_WORDS = 512
MORE = f"{FURTHER_WORDS} words more"
PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}


def make_config(args: argparse.Namespace) -> CfgNode:
    """The config file with the command line's changes."""
    return load_config(args.config_file, [*args.opts, "MODEL.DEVICE", args.device])


def make_model(args: argparse.Namespace, cfg: CfgNode) -> nn.Module:
    """The config's model; with --compile its parts of fixed structure are compiled at first use."""
    model = build_model(cfg)
    if args.compile:
        for name in COMPILED:
            part = model.get_submodule(name)
            part.forward = torch.compile(part.forward)
    return model


def noise_image(size: list[int], index: int) -> torch.Tensor:
    """Image of noise, (3, H, W) uint8."""
    generator = torch.Generator().manual_seed(index)
    return torch.randint(0, 256, (3, *size), generator=generator, dtype=torch.uint8)


def words(count: int, start: int) -> list[str]:
    """Distinct words of eight letters."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    numbers = range(start, start + count)
    return ["".join(letters[n * 7919 // 26**i % 26] for i in range(8)) for n in numbers]


def training_batch(args: argparse.Namespace, batch: int) -> list[dict[str, Any]]:
    """Images with one query each and with negatives of their own or shared ones, all distinct."""
    count, shared = args.negatives, args.shared
    negatives = words(count if shared else count * batch, batch)
    return [
        {
            "image": noise_image(args.size, index),
            "queries": words(1, index),
            "negatives": negatives if shared else negatives[index * count : (index + 1) * count],
        }
        for index in range(batch)
    ]


def measure_training(args: argparse.Namespace, batch: int, profiler: PartProfiler) -> int:
    """Time training steps and count their work; returns the peak of memory in MB."""
    cfg = make_config(args)
    model = make_model(args, cfg).train()
    optimizer = AnchorTrainer.build_optimizer(cfg, model)
    inputs = training_batch(args, batch)

    def step() -> None:
        with profiler.part("forward"), precision_of(args):
            loss = sum(model(inputs).values())
        optimizer.zero_grad()
        with profiler.part("backward"):
            loss.backward()
        with profiler.part("update"):
            optimizer.step()

    profiler.watch(model, PARTS)
    profiler.repeat(step, args.warmup, args.repeat, "step")
    memory = peak_memory(args.device)
    profiler.count(step, "step", args.compile)
    return memory


def measure_inference(args: argparse.Namespace, batch: int, profiler: PartProfiler) -> int:
    """Time inference with new words, with cached ones and with more; returns as for training."""
    model = make_model(args, make_config(args)).eval()
    inputs: list[dict[str, Any]] = [
        {"image": noise_image(args.size, i), "texts": words(args.words, i * args.words)}
        for i in range(batch)
    ]
    more = [{**x, "texts": x["texts"] + words(FURTHER_WORDS, batch * args.words)} for x in inputs]

    def known(given: list[dict[str, Any]] = inputs) -> None:
        with precision_of(args):
            model(given)

    def new() -> None:
        model.train().eval()  # empties the text cache
        known()

    profiler.watch(model, PARTS)
    profiler.repeat(new, args.warmup, args.repeat, "new words")
    memory = peak_memory(args.device)
    profiler.count(new, "new words", args.compile)
    profiler.repeat(known, args.warmup, args.repeat, "known words")
    profiler.count(known, "known words", args.compile)
    profiler.repeat(lambda: known(more), args.warmup + 1, args.repeat, MORE)
    profiler.count(lambda: known(more), MORE, args.compile)
    return memory


def measure_spotting(args: argparse.Namespace, batch: int, profiler: PartProfiler) -> int:
    """Time SRSTS-A with `--words` words per image; returns as for training."""
    cfg = make_config(args)
    if cfg.MODEL.META_ARCHITECTURE != "SRSTSA":
        raise ValueError(f"{args.config_file} describes no SRSTS-A; see configs/stage2/srsts_a")
    cfg.defrost()
    # In noise, the anchors of highest confidence are read, however low it is.
    cfg.MODEL.SRSTS_A.TEST.CONFIDENCE = 0.0
    cfg.MODEL.SRSTS_A.TEST.MAX_ANCHORS = args.words
    model = make_model(args, cfg).eval()
    inputs = [{"image": noise_image(args.size, i)} for i in range(batch)]

    def spot() -> None:
        with precision_of(args):
            model(inputs)

    profiler.watch(model, SPOTTER_PARTS)
    profiler.repeat(spot, args.warmup, args.repeat, "spotting")
    memory = peak_memory(args.device)
    profiler.count(spot, "spotting", args.compile)
    return memory


MEASUREMENTS = {
    "train": measure_training,
    "inference": measure_inference,
    "spotting": measure_spotting,
}


# Benchmarks with options of their own.
OTHERS = {
    "anchors": labelling_speed.run,
    "labels": label_scale.run,
    "read": reading_speed.run,
    "work": work.run,
}


def precision_of(args: argparse.Namespace) -> torch.autocast:
    """Autocast to the wanted number format."""
    kind = torch.device(args.device).type
    precision = PRECISIONS[args.precision]
    return torch.autocast(kind, dtype=precision, enabled=precision is not None)


def product_speed(args: argparse.Namespace) -> float:
    """GFLOP per second of a product of square matrices, the best of several."""
    dtype = PRECISIONS[args.precision] or torch.float32
    left, right = (
        torch.randn(PRODUCT_SIDE, PRODUCT_SIDE, device=args.device, dtype=dtype) for _ in range(2)
    )
    return 2 * PRODUCT_SIDE**3 / 1e9 / fewest_seconds(args, lambda: left @ right)


def copy_speed(args: argparse.Namespace) -> float:
    """GB per second that a large copy reads and writes, the best of several."""
    source = torch.ones(COPY_SIZE, dtype=torch.uint8, device=args.device)
    target = torch.zeros_like(source)
    return 2 * COPY_SIZE / 1e9 / fewest_seconds(args, lambda: target.copy_(source))


def fewest_seconds(args: argparse.Namespace, run: Callable[[], object]) -> float:
    """Best of many runs: on a GPU wall time, otherwise CPU seconds of a thread."""
    profiler = PartProfiler(args.device)
    profiler.repeat(run, 3, 30, "run")
    wall, cpu = (min(seconds) for seconds in zip(*profiler.seconds["run"], strict=True))
    return wall if profiler.on_gpu else cpu / args.threads


def measure(args: argparse.Namespace, batch: int) -> dict[str, Any]:
    """Measure one case in the calling process."""
    torch.manual_seed(0)
    prepare_cpu(args.threads)
    load = os.getloadavg()[0]
    profiler = PartProfiler(args.device)
    memory = MEASUREMENTS[args.what](args, batch, profiler)
    speeds = product_speed(args), copy_speed(args)
    result: dict[str, Any] = {
        "batch": batch,
        "load_before": load,
        "peak_memory_mb": memory,
        "product_gflop_per_s": round(speeds[0], 1),
        "copy_gb_per_s": round(speeds[1], 1),
        "parts": {
            name: summary(seconds, profiler.work[name], speeds)
            for name, seconds in profiler.seconds.items()
        },
    }
    if MORE in profiler.seconds:
        medians = [result["parts"][name]["median_s"] for name in (MORE, "known words")]
        result["further_word_ms"] = (medians[0] - medians[1]) / FURTHER_WORDS / batch * 1e3
    return result


def summary(
    seconds: list[tuple[float, ...]], work: tuple[float, ...], speeds: tuple[float, float]
) -> dict[str, Any]:
    """Wall and CPU time of the runs; FLOP and bytes, and their seconds at these speeds."""
    wall, cpu = zip(*seconds, strict=True)
    gflop, gigabytes = (x / 1e9 for x in work)
    return {
        "median_s": statistics.median(wall),
        "fastest_s": min(wall),
        "slowest_s": max(wall),
        "cpu_s": min(cpu),
        "gflop": gflop,
        "least_s": gflop / speeds[0],
        "gb": gigabytes,
        "moving_s": gigabytes / speeds[1],
    }


def machine(args: argparse.Namespace) -> dict[str, Any]:
    """Date, hardware and versions of a measurement."""
    on_gpu = args.device.startswith("cuda")
    return {
        "date": date.today().isoformat(),
        "device": torch.cuda.get_device_name() if on_gpu else processor(),
        "cpu_features": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "threads": args.threads,
        "torch": torch.__version__,
    }


def report(case: dict[str, Any]) -> None:
    """Print one case as a table."""
    print(
        f"batch {case['batch']}: peak of memory {case['peak_memory_mb']} MB, matrix product "
        f"{case['product_gflop_per_s']} GFLOP/s, copy {case['copy_gb_per_s']} GB/s, "
        f"load before {case['load_before']:.1f}"
    )
    heads = ("median", "fastest", "slowest", "CPU", "GFLOP", "least", "GB", "moving")
    print(f"  {'seconds':28}" + "".join(f"{head:>9}" for head in heads))
    for name, part in case["parts"].items():
        numbers = (f"{x:9.1f}" if key == "gflop" else f"{x:9.3f}" for key, x in part.items())
        print(f"  {name:28}" + "".join(numbers))
    if "further_word_ms" in case:
        print(f"  each further word of an image: {case['further_word_ms']:.2f} ms")


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = command_parser("benchmark", __doc__)
    parser.add_argument("what", choices=tuple(MEASUREMENTS))
    parser.add_argument("--config-file", help="default: the full-size model")
    parser.add_argument("--batch", type=int, nargs="+", help="images, one case for each number")
    parser.add_argument("--size", type=int, nargs=2, help="height and width in pixels")
    parser.add_argument("--negatives", type=int, default=16, help="per training image")
    parser.add_argument(
        "--shared", action="store_true", help="one set of negatives for all images of a batch"
    )
    parser.add_argument("--words", type=int, default=8, help="per image at inference")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument("--precision", choices=tuple(PRECISIONS), default="float32")
    parser.add_argument(
        "--compile",
        action="store_true",
        help="torch.compile for backbone and text encoder: minutes in the warm-up, and on a CPU "
        "only where a C++ compiler is installed",
    )
    parser.add_argument("--warmup", type=int, default=1, help="runs that are not counted")
    parser.add_argument("--repeat", type=int, default=5, help="runs that are counted")
    parser.add_argument("--output", type=Path, help="JSON file for everything that was measured")
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="changes of the config")
    args = parser.parse_intermixed_args(argv)  # KEY VALUE may follow the options
    if args.device.startswith("cuda") and not torch.cuda.is_available():
        parser.error("PyTorch sees no GPU here; use --device cpu")
    if args.compile and args.what == "spotting":
        parser.error("--compile is for stage 1; leave it out")
    args.config_file = args.config_file or CONFIGS[args.what]
    args.batch = args.batch or ([4] if args.what == "train" else [1])
    args.size = args.size or ([256, 256] if args.what == "train" else [640, 640])
    return args


@command("benchmark")
def main(argv: Sequence[str] | None = None) -> int:
    """Measure what the command line asks for; returns the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] and arguments[0] in OTHERS:
        OTHERS[arguments[0]](arguments[1:])
        return DONE
    args = parse_args(arguments)
    cases = []
    for batch in args.batch:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
            cases.append(process.submit(measure, args, batch).result())
        report(cases[-1])
    if args.output:
        options = {k: v for k, v in vars(args).items() if k not in ("output", "batch")}
        content = {"machine": machine(args), "options": options, "cases": cases}
        write_json(args.output, content)
    return DONE
