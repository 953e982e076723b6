"""Running the runs of a grid: finished ones are kept, killed ones continued, several at a time."""

import functools
import json
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path
from typing import Any

from wecromcl_d2.cli.steps import (
    Runner,
    Step,
    best_weights,
    evaluation_step,
    read_metrics,
    train_step,
)
from wecromcl_d2.evaluation.report import write_json
from wecromcl_d2.tasks import load_config

from .grid import Grid, Run

PACKAGE = "projects.studies"
# Seconds between two lines on the progress of the whole grid.
REPORT_PERIOD = 60.0


class Study:
    """The runs of a grid in a folder.

    Args:
        grid: what is run.
        folder: of all results; each run has a folder of its name in `runs`.
    """

    def __init__(self, grid: Grid, folder: Path):
        self.grid, self.folder = grid, folder
        self.runner = Runner(folder)

    def run(self, processes: int) -> list[Run]:
        """Run what has not finished, `processes` runs at a time.

        Returns:
            The runs that failed; the others went on.

        Raises:
            ValueError: if a run was begun with other settings.
        """
        for run in self.grid.runs:
            self._claim(run)
        open_runs = [run for run in self.grid.runs if not self.has_finished(run)]
        start, before = time.monotonic(), self.progress()
        with ThreadPoolExecutor(processes) as pool:
            futures = {pool.submit(self._execute, run): run for run in open_runs}
            try:
                for _ in _ticks(futures):
                    print(self._describe(time.monotonic() - start, before), flush=True)
            except KeyboardInterrupt:
                # The terminal interrupts the trainings, too; the rest must not begin.
                pool.shutdown(cancel_futures=True)
                raise
        return [run for future, run in futures.items() if future.exception() is not None]

    def folder_of(self, run: Run) -> Path:
        """Folder of a run's results."""
        return self.folder / "runs" / run.name

    def has_finished(self, run: Run) -> bool:
        """Whether a run has trained and was measured."""
        return bool(self.summary(run)) and bool(self._state(run).get("finished"))

    def summary(self, run: Run) -> dict[str, Any]:
        """Metrics of each stage, such as {"anchors": {"inside_rate": 0.9}}; empty before the end.

        A run of both stages writes it after each.
        """
        return _read_json(self.folder_of(run) / "summary.json")

    def seconds(self, run: Run) -> float:
        """Wall time of a run's trainings and of finding points, interrupted attempts included."""
        return float(sum(stage["seconds"] for stage in self.summary(run).values()))

    def iterations(self, run: Run) -> tuple[int, int]:
        """Iterations that a run has done, of all its trainings, and those that it will do."""
        done, planned = 0, 0
        for stage, (config, opts) in run.stages.items():
            whole = _max_iter(config, opts)
            planned += whole
            rows = read_lines(self.folder_of(run) / stage)
            done += min(max((row["iteration"] + 1 for row in rows), default=0), whole)
        return (planned if self.has_finished(run) else done), planned

    def progress(self) -> float:
        """Share of all iterations of the grid that are done."""
        counts = [self.iterations(run) for run in self.grid.runs]
        return sum(done for done, _ in counts) / sum(planned for _, planned in counts)

    def _describe(self, elapsed: float, before: float) -> str:
        now = self.progress()
        finished = sum(self.has_finished(run) for run in self.grid.runs)
        hours = (1 - now) * elapsed / (now - before) / 3600 if now > before else None
        rest = "" if finished == len(self.grid.runs) else f", ETA {describe_hours(hours)}"
        return f"-- {finished} of {len(self.grid.runs)} runs, {now:.0%} of the iterations{rest}"

    def _execute(self, run: Run) -> None:
        """Run a run's steps; the last one leaves its summary."""
        folder = self.folder_of(run)
        if run.config:
            self.runner.run(_pipeline_step(run, folder))
            return
        config, opts = run.stages["spotting"]
        output = folder / "spotting"
        own = (*opts, "OUTPUT_DIR", str(output))
        (seconds,) = self.runner.run(_step(run.name, train_step("train", config, own)))
        weights, (val, *_) = best_weights(output), run.load_configs()["spotting"].DATASETS.TEST
        validation = evaluation_step("validate", config, weights, [val], own)
        self.runner.run(_step(f"{run.name}-validate", validation))
        threshold = read_metrics(output, val, "spotting")["words"]["sweep_threshold"]
        own = (*own, "TEST.SPOTTING_THRESHOLD", str(threshold))
        test = evaluation_step("test", config, weights, [run.test], own)
        self.runner.run(_step(f"{run.name}-test", test))
        metrics = read_metrics(output, run.test, "spotting")
        own_metrics = metrics.get("spotting", metrics["words"])
        result = {name: own_metrics[name] for name in ("precision", "recall", "threshold")}
        result |= {"f": own_metrics["hmean"], "seconds": round(seconds, 1)}
        write_json(folder / "summary.json", {"spotting": result})

    def _state(self, run: Run) -> dict[str, Any]:
        """What the runner has noted of a run's last step."""
        last = run.name if run.config else f"{run.name}-test"
        return _read_json(self.folder / "steps" / f"{last}.json")

    def _claim(self, run: Run) -> None:
        """Note the settings of a run; refuse to continue one that was begun with others."""
        path = self.folder_of(run) / "settings.json"
        stages = {name: [config, *opts] for name, (config, opts) in run.stages.items()}
        settings = {"stages": stages, "test": run.test}
        noted = _read_json(path)
        if noted and noted != settings:
            raise ValueError(
                f"{path.parent} was begun with other settings than the grid now has: remove it, or "
                "name another folder by --output"
            )
        write_json(path, settings)


@functools.cache
def _max_iter(config: str, opts: tuple[str, ...]) -> int:
    return load_config(config, opts).SOLVER.MAX_ITER


def _step(name: str, step: Step) -> Step:
    """A step of a study: the parts of the studies are imported, the output goes to a file."""
    arguments = ("--import", PACKAGE, *step.arguments)
    return replace(step, name=name, arguments=arguments, quiet=True)


def _pipeline_step(run: Run, folder: Path) -> Step:
    """Step that trains and measures stage 1, and stage 2 on its anchors if the run has one."""
    files = ("--config-file", run.config, *(("--spotter", run.spotter) if run.spotter else ()))
    results = ("--output", str(folder), "--test", run.test)
    own = {"--anchor-opts": run.anchor_opts, "--spotter-opts": run.spotter_opts}
    # The lists end at the next option, so the pairs for both stages, which have none, come first.
    lists = [word for option, pairs in own.items() if pairs for word in (option, *pairs)]
    share = ("--processes", "1", "--pictures", "1")
    return _step(run.name, Step("", "pipeline", (*files, *results, *share, *run.opts, *lists)))


def _ticks(futures: Sequence[Future] | dict[Future, Run]) -> Iterator[None]:
    """An item every `REPORT_PERIOD` and whenever a future ends, until all have."""
    open_futures = set(futures)
    while open_futures:
        open_futures = wait(open_futures, REPORT_PERIOD, "FIRST_COMPLETED").not_done
        yield


def read_lines(folder: Path) -> list[dict[str, Any]]:
    """Lines of a training's metrics.json; a line that is being written is left out."""
    path = folder / "metrics.json"
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    rows = []
    for line in lines:
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return [row for row in rows if "iteration" in row]


def _read_json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def describe_hours(hours: float | None) -> str:
    """Hours in words; None for unknown ones."""
    if hours is None:
        return "not known yet"
    return f"{hours:.1f} h" if hours >= 1 else f"{60 * hours:.0f} min"
