"""Tables with a line for each method: the paper's error beside ours."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from smoothmix.reporting.mean import Mean, interval, number, with_deviation
from smoothmix.utils.records import RunRecord

Records = Sequence[RunRecord]
NUMBERS = ("top1", "top5", "best")  # columns of results/paper/ that hold a number


def read_rows(path: Path) -> pd.DataFrame:
    """Return a file of results/paper/: index row; columns top1, origin, source, and some of top5, std, best.

    Numbers are floats (NaN: not printed), but `std` stays as it was printed.
    """
    table = pd.read_csv(path, dtype=str, keep_default_na=False).set_index("row")
    return table.assign(**{name: pd.to_numeric(table[name]) for name in NUMBERS if name in table})


def row_table(
    rows: Mapping[str, Records],
    wanted: Mapping[str, int],
    metrics: Sequence[str],
    paper: pd.DataFrame | None,
    corrupted: Mapping[str, Sequence[float]] | None = None,
) -> pd.DataFrame:
    """Return a line for every row and metric.

    Args:
        rows: the records of each row, one a seed.
        wanted: how many seeds each row should have.
        metrics: "top1", "top5": errors in %.
        paper: as `read_rows` returns it, or None where there are no numbers to compare with.
        corrupted: mean errors on corrupted images of each row, one a seed; adds the metric "corrupted".

    Returns:
        columns row, metric, paper, paper_std, paper_best, origin, source, n, wanted, mean, std (sample), least, low,
        high (95 % interval of the mean), last_mean, last_std, difference. `mean` to `high` are of the best epoch.
    """
    lines = []
    for row, records in rows.items():
        printed = {} if paper is None else paper.loc[row].to_dict()
        for metric in metrics:
            best, last = (
                Mean.of([record.error(when, int(metric[-1])) for record in records]) for when in ("best", "last")
            )
            of_last = {"last_mean": last.mean, "last_std": last.std}
            lines.append(_line(row, metric, printed, wanted[row], best) | of_last)
        if corrupted is not None:
            lines.append(_line(row, "corrupted", {}, wanted[row], Mean.of(corrupted[row])))
    return pd.DataFrame(lines)


def text(table: pd.DataFrame, commands: Mapping[tuple[str, str], str]) -> pd.DataFrame:
    """Return what `row_table` made as text, a line for each row.

    Args:
        table: the lines.
        commands: {(row, metric): shown where seeds are missing}.
    """
    shown = {"row": list(dict.fromkeys(table["row"]))}
    several, marks = (table["n"] > 1).any(), citations(table)
    for metric in dict.fromkeys(table["metric"]):
        of_metric = table[table["metric"] == metric]
        lines = list(of_metric.itertuples())
        columns = {"ours, best epoch": [_ours(line, commands) for line in lines]}
        if several:
            columns["95 % interval"] = [interval(line.low, line.high) for line in lines]
        if metric != "corrupted":
            columns["ours, last epoch"] = [with_deviation(line.last_mean, line.last_std) for line in lines]
        if of_metric["paper"].notna().any():
            columns = {"paper": [_paper(line, marks) for line in lines], **columns}
            columns["difference"] = [number(line.difference, "+.2f") for line in lines]
        if of_metric["paper_best"].notna().any():
            columns["paper, best run"] = [number(line.paper_best) for line in lines]
            columns["ours, best run"] = [number(line.least) for line in lines]
        name = {"top1": "top-1", "top5": "top-5"}.get(metric, metric)
        shown |= {f"{name}: {title}": cells for title, cells in columns.items()}
    return pd.DataFrame(shown)


def citations(table: pd.DataFrame) -> dict[str, str]:
    """Return {source: its mark} of the numbers that the paper cites."""
    sources = dict.fromkeys(table.loc[table["origin"] == "cited", "source"])
    return {source: f"†{number}" for number, source in enumerate(sources, 1)}


def _line(row: str, metric: str, printed: dict[str, Any], wanted: int, best: Mean) -> dict[str, Any]:
    line: dict[str, Any] = {"row": row, "metric": metric, "paper": printed.get(metric, math.nan)}
    line |= {"paper_std": "", "paper_best": math.nan}
    if metric == "top1":
        line |= {"paper_std": printed.get("std", ""), "paper_best": printed.get("best", math.nan)}
    line |= {key: printed.get(key, "") for key in ("origin", "source")} | {"n": best.n, "wanted": wanted}
    line |= best._asdict() | {"last_mean": math.nan, "last_std": math.nan}
    return line | {"difference": best.mean - line["paper"]}


def _ours(line: Any, commands: Mapping[tuple[str, str], str]) -> str:
    command = commands.get((line.row, line.metric), "")
    if not line.n:
        return f"`{command}`" if command else "-"
    count = f"{line.n}" if line.n == line.wanted else f"{line.n} of {line.wanted}"
    return f"{with_deviation(line.mean, line.std)} ({count})" + (f"; `{command}`" if command else "")


def _paper(line: Any, marks: dict[str, str]) -> str:
    deviation = f" ± {line.paper_std}" if line.paper_std else ""
    mark = f" {marks[line.source]}" if line.origin == "cited" else ""
    return "-" if math.isnan(line.paper) else f"{line.paper:.2f}{deviation}{mark}"
