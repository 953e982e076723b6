r"""`wecromcl benchmark labels`: seconds and memory of label files that do not fit into memory.

    wecromcl benchmark labels --records 1000000
    wecromcl benchmark labels --records 10000000 --steps 3 --folder /data/scale

Generates a table of words whose images are a handful of files under many names, and runs, each in a
process of its own:

    prepare      `wecromcl prepare table`: the table and the images' headers to a label file
    first read   the label file, which is checked and gets its cache
    later read   the cache, and the sampler's index of all words
    train        some steps of stage 1 on it, with --steps

"memory" is the most that the process held privately (anonymous and resident): the cache, which all
processes share, is not in it. "imports" is what it held before it began.
"""

import argparse
import contextlib
import csv
import io
import random
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from PIL import Image

from ..data.datasets import read_labels
from ..evaluation.report import write_json
from ..stage1.trainer import AnchorTrainer
from ..tasks import load_config
from . import prepare
from .status import check_positive, command_parser

# Files of images; each further name of one is a link to their folder.
FILES = 100
SIDE = 64
CONFIG = "configs/quick/anchors.yaml"
BATCH = 8


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The parsed command line."""
    parser = command_parser("benchmark labels", __doc__)
    parser.add_argument("--records", type=int, default=100_000, help="images (%(default)s)")
    parser.add_argument("--words", type=int, default=8, help="of each image (%(default)s)")
    parser.add_argument("--vocabulary", type=int, default=200_000, help="distinct (%(default)s)")
    parser.add_argument("--steps", type=int, default=0, help="of training (%(default)s)")
    parser.add_argument(
        "--folder", type=Path, help="for the files, some kB a record; a temporary one by default"
    )
    parser.add_argument("--output", type=Path, help="JSON file for everything that was measured")
    args = parser.parse_args(argv)
    check_positive(parser, args, "records", "words", "vocabulary")
    return args


def generate(folder: Path, args: argparse.Namespace) -> None:
    """Write `train.csv`, a handful of images, and links that give them enough names."""
    files = folder / "files"
    files.mkdir(parents=True)
    for number in range(min(FILES, args.records)):
        shade = (number * 2, 128, 255 - number * 2)
        Image.new("RGB", (SIDE, SIDE), shade).save(files / f"{number:02d}.jpg")
    generator = random.Random(0)
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    vocabulary = [
        "".join(generator.choices(letters, k=generator.randint(2, 12)))
        for _ in range(args.vocabulary)
    ]
    with open(folder / "train.csv", "w", encoding="utf-8", newline="") as stream:
        table = csv.writer(stream)
        for record in range(args.records):
            name, number = divmod(record, FILES)
            if number == 0:
                (folder / f"{name:06d}").symlink_to("files", target_is_directory=True)
            # Few words are frequent and most are rare.
            places = (int(args.vocabulary * generator.random() ** 3) for _ in range(args.words))
            table.writerow([f"{name:06d}/{number:02d}.jpg", *(vocabulary[i] for i in places)])


def run_prepare(folder: Path) -> str:
    """Convert the table."""
    with contextlib.redirect_stdout(io.StringIO()) as said:
        status = prepare.main(["table", "--root", str(folder), "--split", "train"])
    if status:
        raise RuntimeError(f"prepare ended with status {status}: {said.getvalue()}")
    return f"{(folder / 'train.jsonl').stat().st_size / 1e6:.0f} MB of labels"


def run_read(folder: Path) -> str:
    """Read the label file."""
    return f"{len(read_labels(folder / 'train.jsonl'))} records"


def run_index(folder: Path) -> str:
    """Read the label file and make the sampler of its batches."""
    cfg = training_config(folder, 0)
    records = AnchorTrainer.load_records(cfg, cfg.DATASETS.TRAIN)
    sampler = AnchorTrainer.build_sampler(cfg, records, BATCH)
    return f"{len(sampler.words)} distinct words"


def run_training(folder: Path, steps: int) -> str:
    """Train on the label file."""
    trainer = AnchorTrainer(training_config(folder, steps))
    trainer.resume_or_load(resume=False)
    trainer.train()
    return f"{steps} steps"


def training_config(folder: Path, steps: int) -> Any:
    """The quick config, on the generated labels alone."""
    options: dict[str, Any] = {
        "DATASETS.TRAIN": (str(folder / "train.jsonl"),),
        "DATASETS.TEST": (),
        "SOLVER.CURRICULUM.DATASETS": [],
        "SOLVER.CURRICULUM.ITERS": [],
        "SOLVER.CURRICULUM.IMS_PER_BATCH": [],
        "SOLVER.IMS_PER_BATCH": BATCH,
        "SOLVER.MAX_ITER": steps,
        "SOLVER.WARMUP_ITERS": 0,
        "TEST.EVAL_PERIOD": 0,
        "DATALOADER.NUM_WORKERS": 1,
        "OUTPUT_DIR": str(folder / "output"),
    }
    return load_config(CONFIG, [part for item in options.items() for part in item])


def private_memory() -> int:
    """Anonymous resident memory of this process in MB."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(x.split()[1]) * 1024 // 10**6 for x in lines if x.startswith("RssAnon"))


@contextlib.contextmanager
def watched_memory(peaks: list[int]) -> Iterator[None]:
    """Append the most private memory that the process holds in the meantime."""
    peak, done = private_memory(), threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.05):
            peak = max(peak, private_memory())

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        peaks.append(max(peak, private_memory()))


def measure(run: Callable[[Path], str], folder: Path) -> dict[str, Any]:
    """Seconds and memory of one part, in the process it is called in."""
    before, peaks = private_memory(), list[int]()
    start, cpu_start = time.perf_counter(), time.process_time()
    with watched_memory(peaks):
        result = run(folder)
    return {
        "seconds": round(time.perf_counter() - start, 2),
        "cpu_seconds": round(time.process_time() - cpu_start, 2),
        "memory_mb": peaks[0],
        "imports_mb": before,
        "result": result,
    }


def run(argv: Sequence[str] | None) -> None:
    """Measure what the command line asks for."""
    args = parse_args(argv)
    parts: dict[str, Callable[[Path], str]] = {
        "prepare": run_prepare,
        "first read": run_read,
        "later read": run_index,
    }
    if args.steps:
        parts["train"] = partial(run_training, steps=args.steps)
    measured = {}
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        folder = Path(name) / "set"
        generate(folder, args)
        print(f"{'':12}{'seconds':>10}{'CPU':>10}{'memory':>10}{'imports':>10}")
        for title, part in parts.items():
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
                case = process.submit(measure, part, folder).result()
            measured[title] = case
            print(
                f"{title:12}{case['seconds']:10.1f}{case['cpu_seconds']:10.1f}"
                f"{case['memory_mb']:7} MB{case['imports_mb']:7} MB  {case['result']}",
                flush=True,
            )
    if args.output:
        kept = ("records", "words", "vocabulary", "steps")
        options = {key: getattr(args, key) for key in kept}
        write_json(args.output, {"options": options, "parts": measured})
