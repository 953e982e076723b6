"""Results of a study: a table of all runs, one of means and spreads, and a plot."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tabulate import tabulate

from wecromcl_d2.files import replace_file
from wecromcl_d2.tasks import load_config

from .grid import Run
from .measures import read_lines
from .study import Study


@dataclass(frozen=True)
class Row:
    """The finished runs of a variant with one value of the grid's key.

    Attributes:
        variant: name of the variant.
        value: of the grid's key.
        measured: metric of each finished run.
        against: mean of the metric `Grid.against`; None if no run has it.
        also: means of the metrics `Grid.also`, likewise.
        chance: mean of the rate that random points reach; None if the runs have none.
        reached: iterations up to the grid's `reach` of each run that came to it.
        seconds: wall time of each run.
        planned: number of runs, finished or not.
    """

    variant: str
    value: Any
    measured: tuple[float, ...]
    against: float | None
    also: tuple[float | None, ...]
    chance: float | None
    reached: tuple[int, ...]
    seconds: tuple[float, ...]
    planned: int

    @property
    def mean(self) -> float:
        """Mean of the metric over the finished runs, of which there is at least one."""
        return mean(self.measured)


def mean(values: Sequence[float]) -> float:
    """Mean of at least one value."""
    return sum(values) / len(values)


def rows_of(study: Study) -> list[Row]:
    """A row for each variant and value, in the grid's order, with what has finished."""
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in study.grid.runs:
        groups.setdefault((run.variant, repr(run.value)), []).append(run)
    rows = []
    for runs in groups.values():
        finished = [run for run in runs if study.has_finished(run)]
        summaries = [study.summary(run) for run in finished]
        reached = [iterations_to_reach(study, run) for run in finished]
        row = Row(
            variant=runs[0].variant,
            value=runs[0].value,
            measured=tuple(metric_of(study, summary) for summary in summaries),
            against=mean_of(summaries, study.grid.against),
            also=tuple(mean_of(summaries, path) for path in study.grid.also),
            chance=mean_of(summaries, "anchors/chance"),
            reached=tuple(count for count in reached if count is not None),
            seconds=tuple(study.seconds(run) for run in finished),
            planned=len(runs),
        )
        rows.append(row)
    return rows


def metric_of(study: Study, summary: dict[str, Any]) -> float:
    """The grid's metric in the summary of a run.

    Raises:
        ValueError: if the run does not have it.
    """
    part, _, name = study.grid.metric.partition("/")
    if name not in summary.get(part, {}):
        known = [f"{part}/{name}" for part, metrics in summary.items() for name in metrics]
        raise ValueError(
            f"'metric' of the grid is {study.grid.metric!r}, but its runs have {', '.join(known)}"
        )
    return float(summary[part][name])


def mean_of(summaries: Sequence[dict[str, Any]], path: str) -> float | None:
    """Mean of a metric over those runs that have it; None if there is none."""
    part, _, name = path.partition("/")
    values = [s[part][name] for s in summaries if name in s.get(part, {})]
    return mean(values) if values else None


def iterations_to_reach(study: Study, run: Run) -> int | None:
    """Iterations after which the validation metric first was at least the grid's `reach`."""
    if study.grid.reach is None:
        return None
    stage = study.grid.metric.partition("/")[0]
    config, opts = run.stages[stage]
    name = load_config(config, opts).TEST.BEST_METRIC
    rows = read_lines(study.folder_of(run) / stage)
    good = [row["iteration"] + 1 for row in rows if row.get(name, -1.0) >= study.grid.reach]
    return min(good, default=None)


def write_report(study: Study) -> str:
    """Write `table.md`, `runs.csv` and `plot.png` into the study's folder.

    Returns:
        The table.
    """
    rows = rows_of(study)
    table = format_table(study, rows)
    text = f"# {study.grid.name}\n\n{study.grid.question}\n\n{table}\n"
    _write(study.folder / "table.md", text)
    _write(study.folder / "runs.csv", _format_runs(study))
    if any(row.measured for row in rows):
        draw(study, rows, study.folder / "plot.png")
    return table


def format_table(study: Study, rows: Sequence[Row]) -> str:
    """The rows in Markdown, with the columns that the grid has a use for."""
    grid = study.grid
    has_chance = any(row.chance is not None for row in rows)
    lines = []
    for row in rows:
        cells: dict[str, Any] = {"Variant": row.variant}
        if grid.key:
            cells[grid.key] = row.value
        cells[f"{grid.metric}, mean"] = f"{row.mean:.3f}" if row.measured else ""
        cells["lowest to highest"] = spread(row.measured)
        if grid.against:
            cells[f"{grid.against}, mean"] = shown(row.against)
        for number, path in enumerate(grid.also):
            cells[path] = shown(row.also[number])
        if has_chance:
            cells["chance"] = shown(row.chance)
        if grid.reach is not None:
            cells[f"iterations to {grid.reach}"] = _reached(row)
        cells["minutes a run"] = f"{mean(row.seconds) / 60:.0f}" if row.seconds else ""
        cells["seeds"] = f"{len(row.measured)} of {row.planned}"
        lines.append(cells)
    return tabulate(lines, headers="keys", tablefmt="github", disable_numparse=True)


def shown(value: float | None) -> str:
    """A metric in a table."""
    if value is None:
        return ""
    return f"{value:.3f}" if abs(value) < 100 else f"{value:,.0f}"


def spread(values: Sequence[float]) -> str:
    """Lowest and highest of at least two values."""
    return f"{min(values):.3f} to {max(values):.3f}" if len(values) > 1 else ""


def _reached(row: Row) -> str:
    """Mean of the iterations, and of how many runs if not of all."""
    if not row.measured:
        return ""
    if not row.reached:
        return "not reached"
    count = f"{mean(row.reached):,.0f}"
    share = f" ({len(row.reached)} of {len(row.measured)} runs)"
    return count if len(row.reached) == len(row.measured) else count + share


def _format_runs(study: Study) -> str:
    """One line for each finished run, with all its metrics."""
    lines = []
    for run in study.grid.runs:
        if study.has_finished(run):
            line = {"variant": run.variant, study.grid.key or "value": run.value, "seed": run.seed}
            if study.grid.reach is not None:
                line[f"iterations_to_{study.grid.reach}"] = iterations_to_reach(study, run)
            for stage, metrics in study.summary(run).items():
                line |= {f"{stage}/{name}": value for name, value in metrics.items()}
            lines.append(line)
    names = dict.fromkeys(name for line in lines for name in line)
    output = io.StringIO()
    writer = csv.DictWriter(output, list(names), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return output.getvalue()


def _write(path: Path, text: str) -> None:
    with replace_file(path) as stream:
        stream.write(text.encode("utf-8"))


def draw(study: Study, rows: Sequence[Row], path: Path) -> None:
    """Draw the metric: over another one, over the values of the grid's key, or as bars.

    Bars and points are means, lines through them go from the lowest to the highest.
    """
    # Imported here: the runner needs it only at the end, and it takes a second.
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    known = [row for row in rows if row.measured]
    curves = bool(study.grid.key) and all(isinstance(row.value, (int, float)) for row in rows)
    bars = not curves and not study.grid.against
    height = 1.0 + 0.35 * len(known) if bars else 4.5
    figure, axes = plt.subplots(figsize=(7, height), layout="constrained")
    if study.grid.against:
        for row in known:
            place = row.against
            if place is None:
                continue
            axes.errorbar(
                place, row.mean, [[x] for x in _errors(row)], marker="o", color="tab:blue"
            )
            axes.annotate(_name(row), (place, row.mean), (4, 4), textcoords="offset points")
        axes.set(xlabel=study.grid.against, ylabel=study.grid.metric)
    elif curves:
        for name in dict.fromkeys(row.variant for row in known):
            own = [row for row in known if row.variant == name]
            errors = list(zip(*map(_errors, own), strict=True))
            places, means = [row.value for row in own], [row.mean for row in own]
            axes.errorbar(places, means, errors, marker="o", label=name)
        axes.set(xlabel=study.grid.key, ylabel=study.grid.metric)
        axes.legend()
    else:
        errors = list(zip(*map(_errors, known), strict=True))
        axes.barh([_name(row) for row in known], [row.mean for row in known], xerr=errors)
        axes.set(xlabel=study.grid.metric)
        axes.invert_yaxis()
    axes.set_title(study.grid.question, fontsize="medium", wrap=True)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _errors(row: Row) -> tuple[float, float]:
    """How far the lowest and the highest run are from the mean."""
    return row.mean - min(row.measured), max(row.measured) - row.mean


def _name(row: Row) -> str:
    return row.variant if row.value is None else f"{row.variant}, {row.value}"
