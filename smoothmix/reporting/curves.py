"""Learning curves: the logs of runs, their means over seeds, and how they are drawn."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from smoothmix.reporting.comparison import labelled
from smoothmix.reporting.figures import colour_of
from smoothmix.utils.errors import UserError
from smoothmix.utils.files import parse_object
from smoothmix.utils.records import RunRecord, is_count, is_loss, is_percentage, wrong_key

MEASURES = {
    "train_loss": "training loss (of mixed images where a method mixes)",
    "test_top1_error": "test top-1 error (%)",
    "test_loss": "test loss",
}
EVALUATED = {"epoch": is_count, "test_top1_error": is_percentage, "test_loss": is_loss}  # of a line with test errors
STYLES = ["-", "--", ":", "-."]  # of several configurations of one method


def read_log(record: RunRecord) -> pd.DataFrame:
    """Return epoch and :data:`MEASURES` of the epochs of a run that were evaluated.

    Raises:
        UserError: its metrics.jsonl is missing or damaged.
    """
    path = record.directory / "metrics.jsonl"
    try:
        rows = [parse_object(line) for line in path.read_text(encoding="utf-8").splitlines() or [""]]
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is not the log of a run ({error}); repeat that run") from error
    for number, row in enumerate(rows, start=1):
        rules = EVALUATED if "test_top1_error" in row else {"epoch": is_count}
        if "train_loss" in row:
            rules = rules | {"train_loss": is_loss}
        if flaw := wrong_key(row, rules) or ("epoch" if row["epoch"] != number else None):
            raise UserError(f"{path} is not the log of a run ({flaw} of line {number} is wrong); repeat that run")
    evaluated = [row for row in rows if "test_top1_error" in row]
    frame = pd.DataFrame(evaluated, columns=["epoch", *MEASURES])
    return frame.astype(dict.fromkeys(MEASURES, float))


def mean_curves(records: Mapping[str, Sequence[RunRecord]]) -> pd.DataFrame:
    """Return row, epoch, n, and mean and sample standard deviation (``<name>_std``) over seeds of each measure.

    Args:
        records: the runs of each row, one per seed.

    Raises:
        UserError: a log is missing or damaged.
    """
    logs = [read_log(record).assign(row=row) for row, runs in records.items() for record in runs]
    empty = pd.DataFrame(columns=["row", "epoch", *MEASURES], dtype=float)
    groups = pd.concat([*logs, empty]).groupby(["row", "epoch"], sort=False)
    named = {f"{name}{end}": (name, how) for name in MEASURES for end, how in (("", "mean"), ("_std", "std"))}
    return groups.agg(n=("epoch", "size"), **named).reset_index()


def learning_curves(records: Sequence[RunRecord], title: str = "") -> Figure:
    """Draw test error and loss of the runs of one setting by epoch.

    Raises:
        UserError: a log is missing or damaged.
    """
    rows = labelled(records)
    methods = {row: runs[0].method for row, runs in rows.items()}
    return draw(mean_curves(rows), methods, ("test_top1_error", "test_loss"), title)


def draw(curves: pd.DataFrame, methods: Mapping[str, str], measures: Sequence[str], title: str = "") -> Figure:
    """Draw what `mean_curves` returned, a panel per measure, with a band of one standard deviation to either side.

    Args:
        curves: the means.
        methods: {row: its method} of the rows to be drawn; rows of one method differ by the style of their line.
        measures: of :data:`MEASURES`.
        title: of the figure.
    """
    figure = Figure(figsize=(11, 4.4), layout="constrained")
    for axes, name in zip(figure.subplots(1, len(measures)), measures, strict=True):
        drawn: Counter[str] = Counter()
        for row, method in methods.items():
            of_row = curves[curves["row"] == row].sort_values("epoch")
            epoch, mean, colour = of_row["epoch"], of_row[name], colour_of(method)
            std = of_row[f"{name}_std"].fillna(0)
            axes.fill_between(epoch, mean - std, mean + std, color=colour, alpha=0.15, linewidth=0)
            style = {"linestyle": STYLES[drawn[method] % len(STYLES)], "marker": "." if len(mean) < 20 else None}
            axes.plot(epoch, mean, color=colour, linewidth=1.2, label=row, **style)
            drawn[method] += 1
        axes.set(xlabel="epoch", ylabel=MEASURES[name])
        axes.xaxis.get_major_locator().set_params(integer=True)
        _zoom(axes, curves["epoch"], curves[name])
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right upper", fontsize="small")
    if title:
        figure.suptitle(title, fontsize="small")
    return figure


def _zoom(axes: Any, epochs: "pd.Series[int]", values: "pd.Series[float]") -> None:
    """End the vertical axis above the second half of the epochs and three quarters of all values."""
    top, bottom = max(values[epochs > epochs.max() / 2].max(), values.quantile(0.75)), values.min()
    if top > bottom:
        axes.set_ylim(bottom - 0.05 * (top - bottom), top + 0.05 * (top - bottom))
