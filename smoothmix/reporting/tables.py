"""From run records to a table of mean errors over seeds."""

import itertools

import pandas as pd

from smoothmix.reporting.markup import markdown
from smoothmix.utils.records import RunRecord

METHODS = {
    "identity": "Baseline",
    "stochdepth": "StochDepth",
    "label_smoothing": "Label smoothing",
    "cutout": "Cutout",
    "hide_and_seek": "Hide-and-Seek",
    "dropblock": "DropBlock",
    "mixup": "Mixup",
    "manifold_mixup": "Manifold Mixup",
    "autoaugment": "AutoAugment",
    "augmix": "AugMix",
    "shakedrop": "ShakeDrop",
    "cutmix": "CutMix",
    "shakedrop_cutmix": "ShakeDrop + CutMix",
    "smoothmix_s": "SmoothMix_S",
    "center_gaussian": "Center Gaussian",
    "center_gaussian_4": "Center Gaussian (sigma=4)",
    "center_gaussian_12": "Center Gaussian (sigma=12)",
    "sigma_8": "SmoothMix_C (sigma=8)",
    "sigma_12": "SmoothMix_C (sigma=12)",
    "sigma_16": "SmoothMix_C (sigma=16)",
    "smoothmix_c": "SmoothMix_C",
}
PLACES = {method: place for place, method in enumerate(METHODS)}
SETTING = ["dataset", "model", "recipe", "epochs", "method", "config_hash"]


def name_of(method: str) -> str:
    """Return the name of a method as tables and figures print it; one that is not in METHODS as it is."""
    return METHODS.get(method, method)


def place_of(method: str) -> tuple[int, str]:
    """Return what sorts methods: in the order of METHODS, the others behind them by name."""
    return PLACES.get(method, len(PLACES)), method


def summarize(records: list[RunRecord]) -> pd.DataFrame:
    """Return one row per setting (everything but the seed): n, and best and last errors in percent.

    Columns ``best_top1``, ``best_top5``, ``last_top1``, ``last_top5`` are means over seeds, ``<column>_std`` the sample
    standard deviations (divisor n - 1; NaN for one seed). Best is the epoch of lowest top-1 error on `selected_on`.
    """
    rows = [
        {key: getattr(record, key) for key in [*SETTING, "seed", "selected_on"]}
        | {f"{when}_top{k}": record.error(when, k) for when in ("best", "last") for k in (1, 5)}
        for record in records
    ]
    table = pd.DataFrame(rows)
    if table.empty:
        return table
    measured = ["best_top1", "best_top5", "last_top1", "last_top5"]
    groups = table.groupby([*SETTING, "selected_on"], sort=False)
    summary = groups[measured].mean().join(groups[measured].std().add_suffix("_std"))
    summary.insert(0, "n", groups["seed"].nunique())
    summary = summary.reset_index()
    summary["place"] = summary["method"].map(place_of)
    return summary.sort_values(["dataset", "model", "recipe", "epochs", "place"], kind="stable").drop(columns="place")


def to_markdown(summary: pd.DataFrame) -> str:
    """Return the summary as Markdown, a table for each (data set, model, recipe, epochs)."""
    parts = []
    for setting, rows in summary.groupby(["dataset", "model", "recipe", "epochs", "selected_on"], sort=False):
        dataset, model, recipe, epochs, selected_on = setting
        parts += [
            f"{dataset}, {model}, recipe {recipe}, {epochs} epochs; error in %, best epoch chosen on {selected_on}",
            "",
        ]
        several = rows["method"].duplicated(keep=False)
        shown = pd.DataFrame({"method": rows["method"].map(name_of), "n": rows["n"]})
        shown["method"] += (" (" + rows["config_hash"] + ")").where(several, "")
        for k, when in itertools.product((1, 5), ("best", "last")):
            shown[f"{when} top-{k}"] = [_mean_and_spread(row, f"{when}_top{k}") for _, row in rows.iterrows()]
        parts += [markdown(shown), ""]
    return "\n".join(parts)


def _mean_and_spread(row: pd.Series, name: str) -> str:
    spread = row[f"{name}_std"]
    return f"{row[name]:.2f}" if pd.isna(spread) else f"{row[name]:.2f} ± {spread:.2f}"
