"""Running the runs of a grid: finished ones are kept, killed ones continued, several at a time."""

import functools
import json
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path
from typing import Any

from wecromcl_d2.cli.forecast import duration
from wecromcl_d2.cli.pipeline import gives_points
from wecromcl_d2.cli.steps import (
    Runner,
    Step,
    best_weights,
    evaluation_step,
    exit_on_sigterm,
    labels_step,
    read_metrics,
    train_step,
)
from wecromcl_d2.engine import results_folder
from wecromcl_d2.evaluation.report import write_json
from wecromcl_d2.tasks import load_config

from .cost import KINDS, Work, asks_for_work, describe_work, work_step
from .grid import Grid, Run, file_name
from .make_points import points_step
from .measures import measure_points, rates_by_length, rates_by_line, read_lines
from .mixed import replace_datasets, training_datasets, write_mixed

PACKAGE = "projects.studies"
# Seconds between two lines on the progress of the whole grid.
REPORT_PERIOD = 60.0
# File in a run's folder that is written at its end.
MEASURED = "measured.json"


class Study:
    """The runs of a grid in a folder.

    Args:
        grid: what is run.
        folder: of all results; each run has a folder of its name in `runs`.
    """

    def __init__(self, grid: Grid, folder: Path):
        self.grid, self.folder = grid, folder
        self.runner = Runner(folder)
        self._locks = {seed: threading.Lock() for seed in grid.detectors}
        self._measuring = threading.Lock()
        self._counts_work = asks_for_work((grid.metric, grid.against, *grid.also))

    @property
    def all_runs(self) -> tuple[Run, ...]:
        """The runs, and the detectors that they share."""
        return (*self.grid.detectors.values(), *self.grid.runs)

    def run(self, processes: int) -> dict[str, str]:
        """Run what has not finished, `processes` runs at a time.

        Returns:
            For each run that failed, by its name, what is to be said of it; the others went on.

        Raises:
            ValueError: if a run was begun with other settings.
        """
        for run in self.all_runs:
            self._claim(run)
        open_runs = [run for run in self.grid.runs if not self._is_complete(run)]
        start, before = time.monotonic(), self.progress()
        with exit_on_sigterm(), ThreadPoolExecutor(processes) as pool:
            futures = {pool.submit(self._execute, run): run for run in open_runs}
            try:
                for _ in _ticks(futures):
                    print(self._describe(time.monotonic() - start, before), flush=True)
            except (KeyboardInterrupt, SystemExit):
                pool.shutdown(wait=False, cancel_futures=True)
                self.runner.terminate()
                raise
        errors = {run.name: future.exception() for future, run in futures.items()}
        return {name: self._describe_failure(e) for name, e in errors.items() if e is not None}

    def _describe_failure(self, error: BaseException) -> str:
        """A sentence; steps that fail have said more in their log."""
        if isinstance(error, SystemExit):
            return f"its output is in {self.folder / 'steps'}"
        return f"{type(error).__name__}: {error}"

    def folder_of(self, run: Run) -> Path:
        """Folder of a run's results."""
        return self.folder / "runs" / run.name

    def has_finished(self, run: Run) -> bool:
        """Whether a run has trained and was measured."""
        return (self.folder_of(run) / MEASURED).is_file()

    def summary(self, run: Run) -> dict[str, Any]:
        """Metrics by what they measure, such as {"anchors": {"inside_rate": 0.9}}.

        Empty before the end; a run of both stages writes those of stage 1 before.
        """
        folder = self.folder_of(run)
        found = _read_json(folder / "summary.json") | _read_json(folder / MEASURED)
        return found | {"cost": self._cost(run)} if found else {}

    def seconds(self, run: Run) -> float:
        """Wall time of a run's trainings and of finding points, interrupted attempts included."""
        summary = _read_json(self.folder_of(run) / "summary.json")
        return float(sum(stage.get("seconds", 0) for stage in summary.values()))

    def _cost(self, run: Run) -> dict[str, float]:
        """Cost of all trainings that a run's result needs, of the shared detector's too."""
        starts_from_it = run.config or "MODEL.BACKBONE.WEIGHTS" not in run.opts
        shared = self.grid.detectors.get(run.seed) if run.spotter and starts_from_it else None
        runs = [run] if shared is None else [shared, run]
        cost = {"minutes": sum(map(self.seconds, runs)) / 60}
        works = [self._works(one) for one in runs]
        if not all(works):
            return cost
        before = [work for own in works[:-1] for work in own.values()]
        finds = run.spotter and (run.config or run.true_percent is not None)
        finder = works[0].get("anchors") if finds else None
        return cost | describe_work(works[-1], before, finder)

    def _works(self, run: Run) -> dict[str, Work]:
        """Work of the stages that a run trains; empty if it has not been measured."""
        found: dict[str, Work] = {
            stage: {kind: _read_json(self._work_file(run, stage, kind)) for kind in KINDS}
            for stage in self._trained(run)
        }
        return found if all(all(work.values()) for work in found.values()) else {}

    def _work_file(self, run: Run, stage: str, kind: str) -> Path:
        return self.folder / "work" / f"{run.label}-{stage}-{kind}.json"

    def _measure_work(self, run: Run) -> None:
        """Measure what no run of the variant with another seed has."""
        with self._measuring:
            for stage, (config, opts) in self._trained(run).items():
                for kind in KINDS:
                    output = self._work_file(run, stage, kind)
                    if not output.is_file():
                        trained = self.folder_of(run) / stage
                        self.runner.run(work_step(kind, config, opts, trained, output))

    def _is_complete(self, run: Run) -> bool:
        """Whether a run has finished and its work, if the grid shows that, is known."""
        return self.has_finished(run) and (not self._counts_work or bool(self._works(run)))

    def _trained(self, run: Run) -> dict[str, tuple[str, tuple[str, ...]]]:
        """The stages of a run without the one that is trained by a shared detector's run."""
        shared = {"anchors"} if run.spotter and self.grid.detectors else set()
        return {name: stage for name, stage in run.stages.items() if name not in shared}

    def iterations(self, run: Run) -> tuple[int, int]:
        """Iterations that a run has done, of all its trainings, and those that it will do."""
        done, planned = 0, 0
        for stage, (config, opts) in self._trained(run).items():
            whole = _max_iter(config, opts)
            planned += whole
            rows = read_lines(self.folder_of(run) / stage)
            done += min(max((row["iteration"] + 1 for row in rows), default=0), whole)
        return (planned if self.has_finished(run) else done), planned

    def progress(self) -> float:
        """Share of all iterations of the grid that are done."""
        counts = [self.iterations(run) for run in self.all_runs]
        return sum(done for done, _ in counts) / sum(planned for _, planned in counts)

    def _describe(self, elapsed: float, before: float) -> str:
        now = self.progress()
        count = len(self.all_runs)
        finished = sum(self.has_finished(run) for run in self.all_runs)
        seconds = (1 - now) * elapsed / (now - before) if now > before else None
        rest = "" if finished == count else f", ETA {describe_rest(seconds)}"
        return f"-- {finished} of {count} runs, {now:.0%} of the iterations{rest}"

    def _execute(self, run: Run) -> None:
        """Run a run's steps and measure what their summary leaves out."""
        folder, apart = self.folder_of(run), run.is_apart
        weights = self._detector_weights(run.seed) if run.spotter and not apart else ""
        measured: dict[str, Any] = {}
        if run.config:
            step = _pipeline_step(replace(run, spotter="") if apart else run, folder, weights)
            self.runner.run(step)
            results = results_folder(str(folder / "anchors"), run.test)
            found = _read_json(Path(results) / "anchors.json")
            measured |= {"length": rates_by_length(found), "line": rates_by_line(found)}
            reports = (folder / "points").glob("*_report.json")
            datasets = [_read_json(report)["dataset_name"] for report in reports]
        if apart or not run.config:
            datasets = self._train_spotter(run, weights)
        if run.spotter:
            read = read_metrics(folder / "spotting", run.test, "spotting")
            measured["words"] = {"f": read["words"]["hmean"]}
        if datasets:
            measured["points"] = measure_points(datasets)
        write_json(folder / MEASURED, measured)
        if self._counts_work:
            self._measure_work(run)

    def _train_spotter(self, run: Run, weights: str) -> list[str]:
        """Train a spotter on the points of its datasets, and measure it.

        Its threshold is chosen on the validation scenes.

        Args:
            run: the run.
            weights: of a detector that initialises the backbone; empty for none.

        Returns:
            The datasets that it is trained on.
        """
        folder, (config, opts) = self.folder_of(run), run.stages["spotting"]
        output, cfg = folder / "spotting", run.load_configs()["spotting"]
        datasets, finding = training_datasets(cfg), 0.0
        data: tuple[str, ...] = ()
        if run.is_apart:
            weights = best_weights(folder / "anchors")
        if run.is_apart or run.true_percent is not None:
            find = self._find_points if run.is_apart else self._mix_points
            located, finding = find(run, weights, datasets)
            datasets, data = [*located.values()], replace_datasets(cfg, located)
        start = ("MODEL.BACKBONE.WEIGHTS", weights) if weights else ()
        own = (*start, *opts, *data, "OUTPUT_DIR", str(output))
        name = f"{run.name}-spotter" if run.is_apart else run.name
        (seconds,) = self.runner.run(_step(name, train_step("train", config, own)))
        best, (val, *_) = best_weights(output), cfg.DATASETS.TEST
        validation = evaluation_step("validate", config, best, [val], own)
        self.runner.run(_step(f"{run.name}-validate", validation))
        threshold = read_metrics(output, val, "spotting")["words"]["sweep_threshold"]
        own = (*own, "TEST.SPOTTING_THRESHOLD", str(threshold))
        test = evaluation_step("test", config, best, [run.test], own)
        self.runner.run(_step(f"{run.name}-test", test))
        metrics = read_metrics(output, run.test, "spotting")
        words = metrics["words"]
        measured = metrics.get("spotting", words) if gives_points(cfg) else words
        result = {name: measured[name] for name in ("precision", "recall", "threshold")}
        result |= {"f": measured["hmean"], "seconds": round(finding + seconds, 1)}
        summary = folder / "summary.json"
        write_json(summary, _read_json(summary) | {"spotting": result})
        return datasets

    def _find_points(
        self, run: Run, weights: str, datasets: Sequence[str]
    ) -> tuple[dict[str, str], float]:
        """Label datasets with the points that a run's own detector finds, see `_mix_points`."""
        folder, found, seconds = self.folder_of(run) / "points", {}, 0.0
        config, opts = run.stages["anchors"]
        for number, dataset in enumerate(datasets):
            step = points_step(
                f"{run.name}-points-{number}",
                config,
                weights,
                dataset,
                folder / f"{number}.jsonl",
                opts,
            )
            seconds += self.runner.run(step)[0]
            found[dataset] = _read_json(folder / f"{number}_report.json")["dataset_name"]
        return found, seconds

    def _mix_points(
        self, run: Run, weights: str, datasets: Sequence[str]
    ) -> tuple[dict[str, str], float]:
        """Write labels with the true points of a share of the images.

        Args:
            run: the run.
            weights: of the shared detector, which finds the points of the other images.
            datasets: their names.

        Returns:
            For each dataset the one with these points, and the seconds for finding points.
        """
        assert run.true_percent is not None
        detector, folder = self.grid.detectors[run.seed], self.folder / "points"
        found, seconds = {}, 0.0
        with self._locks[run.seed]:
            for dataset in datasets:
                name = f"{file_name(dataset)}-seed{run.seed}"
                labels = folder / f"{name}.jsonl"
                step = labels_step("", detector.config, weights, dataset, labels, *detector.opts)
                seconds += self.runner.run(_step(f"points-{name}", step))[0]
                source = _read_json(folder / f"{name}_report.json")["dataset_name"]
                own = folder / f"{name}-{run.true_percent}_percent_true.jsonl"
                found[dataset] = write_mixed(source, own, run.true_percent)
        return found, seconds

    def _detector_weights(self, seed: int) -> str:
        """Weights of the detector that the runs of a seed share; empty without one."""
        if seed not in self._locks:
            return ""
        detector = self.grid.detectors[seed]
        # The first run of a seed trains it, those at the same time wait.
        with self._locks[seed]:
            if not self._is_complete(detector):
                self._execute(detector)
        return best_weights(self.folder_of(detector) / "anchors")

    def _claim(self, run: Run) -> None:
        """Note the settings of a run; refuse to continue one that was begun with others."""
        path = self.folder_of(run) / "settings.json"
        stages = {name: [config, *opts] for name, (config, opts) in run.stages.items()}
        settings: dict[str, Any] = {"stages": stages, "test": run.test}
        if run.true_percent is not None:
            settings["true_percent"] = run.true_percent
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


def _pipeline_step(run: Run, folder: Path, weights: str) -> Step:
    """Step that trains and measures stage 1, and stage 2 on its anchors if the run has one.

    Args:
        run: the run.
        folder: of its results.
        weights: of a finished detector; empty to train one.
    """
    files = ("--config-file", run.config, *(("--spotter", run.spotter) if run.spotter else ()))
    files = (*files, *(("--anchors-weights", weights) if weights else ()))
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


def _read_json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def describe_rest(seconds: float | None) -> str:
    """The remaining time in words; None if it is unknown."""
    return "not known yet" if seconds is None else duration(seconds)
