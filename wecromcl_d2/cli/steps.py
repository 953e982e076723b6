"""Steps of a long run: commands that are printed, run once, and continued if interrupted."""

import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..engine import results_folder
from ..evaluation.report import write_json
from .status import DONE, LOSSES

# Start of a command line that runs a command of this package in a process of its own.
PROGRAM = (sys.executable, "-m", "wecromcl_d2")


@dataclass(frozen=True)
class Step:
    """One command of a run.

    Attributes:
        name: of the step.
        action: the command, one of `wecromcl --help`.
        arguments: of the command.
        accepted: exit statuses that count as finished.
        quiet: write its output to a file.
        hint: remedy that is printed if it fails.
    """

    name: str
    action: str
    arguments: tuple[str, ...]
    accepted: tuple[int, ...] = (DONE,)
    quiet: bool = False
    hint: str = ""

    @property
    def command(self) -> list[str]:
        """The complete command line."""
        return [*PROGRAM, self.action, *self.arguments]


class Runner:
    """Runs the steps that have not finished yet.

    Args:
        folder: of all results; the state of each step is stored in its subfolder `steps`.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._started: list[subprocess.Popen] = []

    def run(self, *steps: Step) -> list[float]:
        """Run steps at the same time; the first one's output is shown, the others' goes to files.

        Returns:
            Seconds of each step, interrupted attempts included.

        Raises:
            SystemExit: with the exit status of a command that failed.
        """
        states = [self._state(step) for step in steps]
        open_steps = [i for i, s in enumerate(steps) if states[i].get("finished") != s.command]
        for i, step in enumerate(steps):
            if i not in open_steps:
                print(f"== {step.name}: finished before, in {states[i]['seconds']:.0f} s")
        shown = [i for i in open_steps[:1] if not steps[i].quiet]
        start = time.monotonic()
        processes: dict[int, subprocess.Popen] = {}
        codes: dict[int, int] = {}
        try:
            with exit_on_sigterm():
                for i in open_steps:
                    processes[i] = self._start(steps[i], i in shown)
                    self._started.append(processes[i])
                for i in _ended(processes):
                    codes[i] = processes[i].returncode
                    states[i]["seconds"] += time.monotonic() - start
                    self._keep(steps[i], states[i], finished=codes[i] in steps[i].accepted)
        except SystemExit:
            self.terminate()
            raise
        finally:
            for i in processes.keys() - codes.keys():
                processes[i].wait()
                states[i]["seconds"] += time.monotonic() - start
                self._keep(steps[i], states[i], finished=False)
        for i, code in codes.items():
            if code not in steps[i].accepted:
                place = "above" if i in shown else f"in {self._log(steps[i])}"
                print(f"{steps[i].name} failed with status {code}; see its output {place}")
                print("what is done is kept")
                if steps[i].hint:
                    print(steps[i].hint)
                raise SystemExit(code)
        return [state["seconds"] for state in states]

    def terminate(self) -> None:
        """End the steps that are running, also those that other threads wait for."""
        for process in self._started:
            process.terminate()

    def _start(self, step: Step, shown: bool) -> subprocess.Popen:
        print(f"== {step.name}: {shlex.join(step.command)}", flush=True)
        if shown:
            return subprocess.Popen(step.command)
        path = self._log(step)
        path.parent.mkdir(parents=True, exist_ok=True)
        print(f"   its output is in {path}", flush=True)
        with path.open("ab") as log:
            return subprocess.Popen(step.command, stdout=log, stderr=subprocess.STDOUT)

    def _log(self, step: Step) -> Path:
        return self.folder / "steps" / f"{step.name}.log"

    def _note(self, step: Step) -> Path:
        return self.folder / "steps" / f"{step.name}.json"

    def _state(self, step: Step) -> dict[str, Any]:
        note = self._note(step)
        return json.loads(note.read_text(encoding="utf-8")) if note.exists() else {"seconds": 0.0}

    def _keep(self, step: Step, state: dict[str, Any], finished: bool) -> None:
        done = {"finished": step.command} if finished else {}
        write_json(self._note(step), {"seconds": state["seconds"]} | done)


@contextmanager
def exit_on_sigterm() -> Iterator[None]:
    """Let SIGTERM raise `SystemExit`, so that the steps can be ended, too.

    Only the main thread gets signals; in another one nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _ended(processes: Mapping[int, subprocess.Popen]) -> Iterator[int]:
    """The key of each process, once it has ended."""
    left = dict(processes)
    while left:
        time.sleep(0.2)
        for key in [key for key, process in left.items() if process.poll() is not None]:
            del left[key]
            yield key


def train_step(name: str, config: str, opts: Sequence[str], processes: int = 1) -> Step:
    """Step that trains in several processes, on a free port."""
    share = ("--num-gpus", str(processes), "--dist-url", "auto")
    return Step(name, "train", ("--config-file", config, "--resume", *share, *opts))


def forecast_step(name: str, config: str, opts: Sequence[str], processes: int = 1) -> Step:
    """Step that measures a training beforehand, in as many processes."""
    share = ("--num-gpus", str(processes), "--dist-url", "auto")
    return Step(name, "train", ("--config-file", config, "--forecast", *share, *opts))


def evaluation_step(
    name: str, config: str, weights: str, datasets: Sequence[str], opts: Sequence[str]
) -> Step:
    """Step that evaluates a checkpoint on datasets."""
    data = ("MODEL.WEIGHTS", weights, "DATASETS.TEST", names(*datasets))
    return Step(name, "train", ("--config-file", config, "--eval-only", *opts, *data), quiet=True)


def labels_step(
    name: str, config: str, weights: str, dataset: str, output: Path, *options: str
) -> Step:
    """Step that labels a dataset with its anchors.

    Images that cannot be used are listed by the command and left out.
    """
    model = ("--config-file", config, "--weights", weights)
    data = ("--dataset", dataset, "--output", str(output))
    return Step(name, "anchors", (*model, *data, *options), (DONE, LOSSES))


def drawing_step(
    name: str, what: str, config: str, weights: str, dataset: str, output: Path, *options: str
) -> Step:
    """Step that draws `anchors` or `words` of a dataset."""
    model = ("--config-file", config, "--weights", weights)
    data = ("--dataset", dataset, "--output", str(output))
    return Step(name, "visualize", (what, *model, *data, *options))


def names(*datasets: str) -> str:
    """Datasets as a value of the command line."""
    return repr(datasets)


def best_weights(folder: Path) -> str:
    """The best checkpoint of a training; the last one if it was never evaluated."""
    best = folder / "model_best.pth"
    return str(best if best.is_file() else folder / "model_final.pth")


def read_metrics(folder: Path, dataset: str, task: str) -> dict[str, Any]:
    """Metrics of the last evaluation of a dataset."""
    path = Path(results_folder(str(folder), dataset)) / f"{task}.json"
    return json.loads(path.read_text(encoding="utf-8"))["metrics"]


def print_table(title: str, rows: dict[str, str]) -> None:
    """Print a title and rows of names and values."""
    print(f"\n{title}")
    for name, value in rows.items():
        print(f"  {name:<22} {value}")
    print(flush=True)


def prepare_environment() -> None:
    """Set environment variables for the processes of a run, unless the user has set them."""
    # Threads of torch spin while they wait for each other, so several processes use a CPU better.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
