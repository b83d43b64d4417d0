"""Tables with a line for each method: the paper's error beside ours."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from smoothmix.reporting.mean import Mean, interval, number, with_deviation

NUMBERS = ("top1", "top5", "best")  # columns of results/paper/ that hold a number


def read_rows(path: Path) -> pd.DataFrame:
    """Return a file of results/paper/: index row; columns top1, origin, source, and some of top5, std, best.

    Numbers are floats (NaN: not printed), but `std` stays as it was printed.
    """
    table = pd.read_csv(path, dtype=str, keep_default_na=False).set_index("row")
    return table.assign(**{name: pd.to_numeric(table[name]) for name in NUMBERS if name in table})


def row_table(
    errors: Mapping[tuple[str, str], Sequence[Sequence[float]]], wanted: Mapping[str, int], paper: pd.DataFrame
) -> pd.DataFrame:
    """Return a line for every row and metric.

    Args:
        errors: {(row, metric): errors in % of the best and of the last epoch, one a seed}. The metric is "top1",
            "top5" or "corrupted", the mean error on corrupted images, which is of one epoch.
        wanted: how many seeds each row should have.
        paper: as `read_rows` returns it, or empty where there are no numbers to compare with.

    Returns:
        columns row, metric, paper, paper_std, paper_best, origin, source, n, wanted, mean, std (sample), least, low,
        high (95 % interval of the mean), last_mean, last_std, difference. `mean` to `high` are of the best epoch.
    """
    lines = []
    for (row, metric), of_seeds in errors.items():
        printed: dict[str, Any] = paper.loc[row].to_dict() if metric in paper else {}
        of_top1 = printed if metric == "top1" else {}
        best, last = map(Mean.of, of_seeds)
        line = {"row": row, "metric": metric, "paper": printed.get(metric, math.nan)}
        line |= {"paper_std": of_top1.get("std", ""), "paper_best": of_top1.get("best", math.nan)}
        line |= {key: printed.get(key, "") for key in ("origin", "source")} | {"n": best.n, "wanted": wanted[row]}
        line |= best._asdict() | {"last_mean": last.mean, "last_std": last.std}
        lines.append(line | {"difference": best.mean - line["paper"]})
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
