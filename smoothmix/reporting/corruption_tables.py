"""Tables 4 and 5: the paper's numbers beside ours, in the paper's rows."""

from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd

from smoothmix.corruptions import SEVERITIES
from smoothmix.evaluation.robustness import CorruptionRecord
from smoothmix.reporting.mean import Mean, number, with_deviation
from smoothmix.reporting.methods import name_of, place_of

PUBLISHED = "published files"
CELL = ["category", "corruption", "severity"]


def choose_source(records: list[CorruptionRecord]) -> str | None:
    """Return the one source of images that a table shows: the published files, else that of most records."""
    counts = Counter(record.source for record in records)
    if PUBLISHED in counts:
        return PUBLISHED
    return min(counts, key=lambda source: (-counts[source], source), default=None)


def read_paper(path: Path) -> pd.DataFrame:
    """Return a file of results/paper/: columns category, corruption, severity, method, top1_error, origin."""
    return pd.read_csv(path, dtype={"severity": str}, keep_default_na=False).astype({"top1_error": float})


def compare(records: list[CorruptionRecord], paper: pd.DataFrame, by_category: bool) -> pd.DataFrame:
    """Return a row for every cell of the paper's table and method: the paper's error and ours, in %.

    Args:
        records: of one setting, any methods and seeds.
        paper: columns category, corruption, severity, method, top1_error; the corruption "average" stands for the mean
            over a category, or without one over the table; the severity "average" for the mean over five.
        by_category: the mean over the table is the mean of the category means (Table 5), not over corruptions (4).

    Returns:
        columns category, corruption, severity, method, paper (NaN where it printed none), ours (mean over seeds, NaN
        where an error is missing), std (sample standard deviation), n, low, high (95 % interval), difference.
    """
    rows = paper[CELL].drop_duplicates()
    members = rows[rows["corruption"] != "average"][["category", "corruption"]].drop_duplicates()
    categories = members.groupby("category", sort=False)["corruption"].apply(list)
    measured = []
    for record in records:
        for row in rows.itertuples():
            if row.corruption != "average":
                groups = [[row.corruption]]
            elif row.category:
                groups = [categories[row.category]]
            else:
                groups = list(categories) if by_category else [list(members["corruption"])]
            error = _mean([_mean([_error(record, name, row.severity) for name in group]) for group in groups])
            key = {name: getattr(row, name) for name in CELL}
            measured.append({**key, "method": record.method, "ours": error})
    columns = [*CELL, "method"]
    found = pd.DataFrame(measured, columns=[*columns, "ours"]).groupby(columns, sort=False)["ours"]
    # a seed that lacks a cell makes the mean NaN: it is not left out silently
    means = [dict(zip(columns, key, strict=True)) | Mean.of(list(errors))._asdict() for key, errors in found]
    ours = pd.DataFrame(means, columns=[*columns, *Mean._fields]).rename(columns={"mean": "ours"}).drop(columns="least")
    printed = paper.rename(columns={"top1_error": "paper"})[[*columns, "paper"]]
    table = printed.merge(ours, how="outer", on=columns, sort=False)
    table["n"] = table["n"].fillna(0).astype(int)
    table["difference"] = table["ours"] - table["paper"]
    place = {key: number for number, key in enumerate(rows.itertuples(index=False, name=None))}
    order = [place[key] for key in table[CELL].itertuples(index=False, name=None)]
    return table.iloc[pd.Series(order).argsort(kind="stable")].reset_index(drop=True)


def text(table: pd.DataFrame) -> pd.DataFrame:
    """Return what `compare` made as text: a line for each corruption, a column for each severity and method.

    A cell reads ``paper / ours / difference``, or ours alone where the paper has no number.
    """
    cells = {(row.category, row.corruption, row.severity, row.method): _cell(row) for row in table.itertuples()}
    shown = table[["category", "corruption"]].drop_duplicates().reset_index(drop=True)
    lines = list(shown.itertuples(index=False, name=None))
    for severity in dict.fromkeys(table["severity"]):
        for method in sorted(set(table["method"]), key=place_of):
            head = name_of(method) + ("" if severity == "average" else f", level {severity}")
            shown[head] = [cells.get((*line, severity, method), "-") for line in lines]
    return shown


def _cell(row: Any) -> str:
    ours = with_deviation(row.ours, row.std)
    return ours if pd.isna(row.paper) else f"{row.paper:.2f} / {ours} / {number(row.difference, '+.2f')}"


def _error(record: CorruptionRecord, name: str, severity: str) -> float:
    cells = record.top1_errors.get(name, {})
    wanted = SEVERITIES if severity == "average" else (int(severity),)
    return _mean([cells.get(number, float("nan")) for number in wanted])


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
