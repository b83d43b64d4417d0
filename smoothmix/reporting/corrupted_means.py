"""From records of corrupted errors to tables of their means over seeds."""

import pandas as pd

from smoothmix.corruptions import CORRUPTIONS
from smoothmix.evaluation.averages import mean_of_category_means, means
from smoothmix.evaluation.robustness import CorruptionRecord
from smoothmix.reporting.corruption_tables import SETTING
from smoothmix.reporting.markup import markdown
from smoothmix.reporting.tables import name_of, place_of

MEASURED = {
    "clean": "clean",
    "corruptions_mean": "mean over corruptions",
    "categories_mean": "mean of category means",
}


def summarize(records: list[CorruptionRecord]) -> pd.DataFrame:
    """Return one row per setting and method: n, and means over seeds in percent.

    Columns: `SETTING` (``corruptions`` is the tuple of those with all five severities), ``method``, ``config_hash``,
    ``n``, and ``clean``, ``corruptions_mean`` (every corruption weighs alike), ``categories_mean`` (every category
    does), each with ``<column>_std``, the sample standard deviation (NaN for one seed).
    """
    rows = []
    for record in records:
        over_severities = means(record.top1_errors)
        there = tuple(name for name in CORRUPTIONS if name in over_severities)
        rows.append(
            {key: getattr(record, key) for key in [*SETTING, "method", "config_hash"]}
            | {"corruptions": there, "clean": record.clean_top1_error}
            | {
                "corruptions_mean": sum(over_severities.values()) / len(there) if there else float("nan"),
                "categories_mean": mean_of_category_means(record.top1_errors) if there else float("nan"),
            }
        )
    table = pd.DataFrame(rows)
    if table.empty:
        return table
    groups = table.groupby([*SETTING, "corruptions", "method", "config_hash"], sort=False, dropna=False)
    summary = groups[[*MEASURED]].mean().join(groups[[*MEASURED]].std().add_suffix("_std"))
    summary.insert(0, "n", groups.size())
    summary = summary.reset_index()
    return summary.sort_values("method", key=lambda names: names.map(place_of), kind="stable", ignore_index=True)


def to_markdown(summary: pd.DataFrame) -> str:
    """Return the summary as Markdown, a table for each setting."""
    parts = []
    for setting, rows in summary.groupby([*SETTING, "corruptions"], sort=False, dropna=False):
        benchmark, source, model, recipe, epochs, weights, corruptions = setting
        absent = [name for name in CORRUPTIONS if name not in corruptions]
        without = f" (without {', '.join(absent)})" if absent else ""
        length = "" if pd.isna(epochs) else f", {epochs:.0f} epochs"
        parts += [
            f"{benchmark}, {source}; {model}, recipe {recipe}{length}, {weights} weights; top-1 error in %, corrupted: "
            f"over {len(corruptions)} of {len(CORRUPTIONS)} corruptions{without}, severities 1 to 5",
            "",
        ]
        several = rows["method"].duplicated(keep=False)
        shown = pd.DataFrame({"method": rows["method"].map(name_of), "n": rows["n"]})
        shown["method"] += (" (" + rows["config_hash"] + ")").where(several, "")
        for name, title in MEASURED.items():
            shown[title] = [_cell(row, name) for _, row in rows.iterrows()]
        parts += [markdown(shown), ""]
    return "\n".join(parts)


def by_corruption(records: list[CorruptionRecord]) -> str:
    """Return Markdown in the shape of the paper's Table 4, for each setting: a row a corruption, a column a method.

    A cell is the mean over the five severities and over seeds, in %; "-" where a seed of the method lacks it.
    """
    rows = [
        {key: getattr(record, key) for key in SETTING}
        | {"column": (record.method, record.config_hash), "seed": record.seed}
        | {"corruption": name, "error": error}
        for record in records
        for name, error in means(record.top1_errors).items()
    ]
    if not rows:
        return ""
    parts = []
    for setting, cells in pd.DataFrame(rows).groupby(SETTING, sort=False, dropna=False):
        seeds = cells.groupby("column")["seed"].nunique()
        whole = cells.groupby(["corruption", "column"])["error"].agg(["mean", "size"])
        errors = whole["mean"][whole["size"] == seeds[whole.index.get_level_values("column")].to_numpy()]
        columns = sorted(cells["column"].unique(), key=lambda column: (place_of(column[0]), column[1]))
        several = {method for method, _ in columns if sum(other == method for other, _ in columns) > 1}
        heads = [name_of(name) + (f" ({config})" if name in several else "") for name, config in columns]
        parts += [", ".join(map(str, setting)) + ": top-1 error in %, mean over severities", ""]
        names = [name for name in CORRUPTIONS if name in errors]
        shown = pd.DataFrame({"category": [CORRUPTIONS[name].category for name in names], "corruption": names})
        for head, at in zip(heads, columns, strict=True):
            shown[head] = [f"{errors[name, at]:.2f}" if (name, at) in errors else "-" for name in names]
        parts += [markdown(shown), ""]
    return "\n".join(parts)


def _cell(row: pd.Series, name: str) -> str:
    if pd.isna(row[name]):
        return "-"
    spread = row[f"{name}_std"]
    return f"{row[name]:.2f}" if pd.isna(spread) else f"{row[name]:.2f} ± {spread:.2f}"
