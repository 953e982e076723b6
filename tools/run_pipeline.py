#!/usr/bin/env python
"""Train on images and their words, measure on unseen ones and draw what was found.

    python tools/run_pipeline.py --config-file configs/quick/anchors.yaml --output demo_output

Each step is a command of its own, printed before it runs. A step that has finished is not run
again, and an interrupted training goes on where it stopped: just give the same command again.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from wecromcl_d2.files import replace_file

ROOT = Path(__file__).resolve().parents[1]


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config-file", required=True, help="config of the anchor detector")
    parser.add_argument("--output", required=True, type=Path, help="folder of all results")
    parser.add_argument(
        "--test-dataset", default="synth_scenes_test", help="registered dataset, unseen in training"
    )
    parser.add_argument(
        "--processes", type=int, default=2, help="that share the training (default: %(default)s)"
    )
    parser.add_argument("--pictures", type=int, default=12, help="test images drawn")
    parser.add_argument("opts", nargs="*", help="KEY VALUE pairs that override the config")
    return parser.parse_args()


def run_step(folder: Path, name: str, script: str, *arguments: str) -> float:
    """Run a script of this project unless it has finished before.

    Args:
        folder: where the note is kept that says the step has finished.
        name: of the step.
        script: path relative to the project.
        *arguments: of the script.

    Returns:
        Seconds that the step took, all its attempts together.

    Raises:
        SystemExit: with the script's own code if it fails.
    """
    note = folder / "steps" / f"{name}.json"
    command = [sys.executable, str(ROOT / script), *arguments]
    state = json.loads(note.read_text(encoding="utf-8")) if note.exists() else {"seconds": 0.0}
    if state.get("finished") == command:
        print(f"== {name}: finished before, in {state['seconds']:.0f} s", flush=True)
        return state["seconds"]
    print(f"== {name}: {subprocess.list2cmdline(command)}", flush=True)
    start = time.monotonic()
    try:
        code = subprocess.run(command, check=False).returncode
    finally:
        state = {"seconds": state["seconds"] + time.monotonic() - start}
        _write_json(note, state)
    if code:
        print(f"{name} failed; what is done is kept in {folder}", file=sys.stderr)
        raise SystemExit(code)
    _write_json(note, state | {"finished": command})
    return state["seconds"]


def _write_json(path: Path, content: dict) -> None:
    with replace_file(path) as file:
        file.write((json.dumps(content, indent=2) + "\n").encode())


def summarize(metrics: dict, seconds: float, pictures: Path) -> dict:
    """Print the table of results and return its content."""
    rows = {
        "inside rate": f"{metrics['inside_rate']:.3f}",
        "chance": f"{metrics['chance']:.3f}",
        "distance, median": f"{metrics['distance_median']:.3f} of the word's box",
        "nearest-point H": f"{metrics['hmean']:.3f}",
        "images / words": f"{metrics['images']} / {metrics['words']}",
        "training": f"{seconds:.0f} s",
        "pictures": str(pictures),
    }
    print("\nAnchors of unseen words in unseen scenes, learned without any position")
    for name, value in rows.items():
        print(f"  {name:<17} {value}")
    keys = ("inside_rate", "chance", "distance_median", "precision", "recall", "hmean")
    return {key: metrics[key] for key in keys} | {"seconds": round(seconds, 1)}


def main() -> None:
    """Run all steps."""
    args = parse_args()
    # Threads of torch spin while they wait for each other: processes share the work better.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    folder = args.output.resolve()
    anchors = folder / "anchors"
    common = ["--config-file", args.config_file]
    share = ["--num-gpus", str(args.processes)]
    best = ["MODEL.WEIGHTS", str(anchors / "model_best.pth")]
    opts = [*args.opts, "OUTPUT_DIR", str(anchors)]
    seconds = run_step(folder, "anchors-train", "train_net.py", *common, "--resume", *share, *opts)
    test = ["DATASETS.TEST", repr((args.test_dataset,))]
    run_step(folder, "anchors-test", "train_net.py", *common, "--eval-only", *opts, *best, *test)
    pictures = folder / "pictures"
    draw = ["--dataset", args.test_dataset, "--count", str(args.pictures)]
    run_step(
        folder,
        "anchors-pictures",
        "tools/draw_anchors.py",
        *common,
        *draw,
        "--output",
        str(pictures),
        *best,
    )
    result = anchors / "inference" / args.test_dataset / "anchors.json"
    metrics = json.loads(result.read_text(encoding="utf-8"))["metrics"]
    _write_json(folder / "summary.json", {"anchors": summarize(metrics, seconds, pictures)})


if __name__ == "__main__":
    main()
