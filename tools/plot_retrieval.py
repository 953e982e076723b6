r"""Draw retrieval, which needs no positions, against the inside rate, over trainings.

    python tools/plot_retrieval.py "quick, seed 0=output/quick_0" "street=output/street_curve" \
        --output docs/images/retrieval.png

Each folder has the metrics.json that a training writes with TEST.EVAL_PERIOD above 0. The rank
correlation of each figure with the inside rate is printed, for each training apart.
"""

import argparse
import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # before pyplot is imported: no window

from matplotlib import pyplot
from scipy.stats import spearmanr

FIGURES = {
    "retrieval/accuracy": "beats all negatives",
    "retrieval/auc": "area under the curve",
    "retrieval/agreement": "agreement of two scales",
}
INSIDE = "anchors/inside_rate"


def read_checkpoints(folder: Path) -> list[dict[str, float]]:
    """Metrics of the iterations that were evaluated.

    Raises:
        ValueError: if fewer than three were.
    """
    path = folder / "metrics.json"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    evaluated = {row["iteration"]: row for row in rows if {INSIDE, *FIGURES} <= row.keys()}
    if len(evaluated) < 3:
        raise ValueError(f"{path} has {len(evaluated)} evaluations; train with TEST.EVAL_PERIOD")
    return [evaluated[iteration] for iteration in sorted(evaluated)]


def main() -> int:
    """Print the correlations and write the plot."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("trainings", nargs="+", metavar="NAME=FOLDER")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    trainings = dict(training.split("=", 1) for training in args.trainings)
    checkpoints = {name: read_checkpoints(Path(folder)) for name, folder in trainings.items()}
    figure, axes = pyplot.subplots(1, len(FIGURES), figsize=(11, 3.6), layout="constrained")
    for axis, (key, label) in zip(axes, FIGURES.items(), strict=True):
        for name, rows in checkpoints.items():
            inside, values = [row[INSIDE] for row in rows], [row[key] for row in rows]
            correlation = spearmanr(inside, values).statistic
            print(f"{name}, {label}: rank correlation {correlation:.2f} ({len(rows)} checkpoints)")
            axis.plot(inside, values, "o-", markersize=3, label=f"{name}: {correlation:.2f}")
        axis.set(xlabel="inside rate", ylabel=label, xlim=(0, 1), ylim=(0, 1))
        axis.legend(title="rank correlation", fontsize=8, title_fontsize=8)
    figure.savefig(args.output, dpi=110)
    return 0


if __name__ == "__main__":
    sys.exit(main())
