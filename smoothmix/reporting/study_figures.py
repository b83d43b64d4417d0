"""The figures of a study: differences to the baseline, and errors by corruption."""

from collections.abc import Sequence

import matplotlib
import pandas as pd
from matplotlib.figure import Figure

from smoothmix.corruptions import CORRUPTIONS
from smoothmix.reporting.claims import ENDPOINTS
from smoothmix.reporting.figures import colour_of
from smoothmix.reporting.mean import Mean
from smoothmix.reporting.study import LEVELS


def differences(runs: pd.DataFrame, rows: Sequence[str], endpoints: Sequence[str]) -> Figure:
    """Draw the mean paired difference of each row to the first of `rows`, with its 95 % interval: a panel an endpoint.

    Single seeds are small dots.
    """
    figure = Figure(figsize=(2.2 + 3.6 * len(endpoints), 1.2 + 0.35 * len(rows)), layout="constrained")
    baseline, *others = rows
    for axes, endpoint in zip(
        figure.subplots(1, len(endpoints), sharey=True, squeeze=False)[0], endpoints, strict=True
    ):
        wide = runs.pivot(index="seed", columns="row", values=endpoint)
        for place, row in enumerate(others):
            values = (wide[row] - wide[baseline]).dropna()
            found, colour = Mean.of(list(values)), _colour(runs, row)
            axes.plot(values, [place + 0.2] * len(values), ".", color=colour, markersize=3, alpha=0.6)
            half = found.high - found.mean
            axes.errorbar(found.mean, place, xerr=half, fmt="o", color=colour, capsize=3, markersize=4)
        axes.axvline(0, color="black", linewidth=0.8)
        axes.set_title(ENDPOINTS[endpoint], fontsize="small", wrap=True)
        axes.set_xlabel(f"difference to {baseline}", fontsize="small")
    axes.set_yticks(range(len(others)), others)
    axes.set_ylim(len(others) - 0.5, -0.5)
    return figure


def heat_map(corruptions: pd.DataFrame, rows: Sequence[str]) -> Figure:
    """Write the mean error in % of each row and corruption, coloured by its paired difference to the first of `rows`.

    Means over the severities and over the seeds that were evaluated.
    """
    errors = corruptions.assign(error=corruptions[LEVELS].mean(axis=1))
    wide = errors.pivot(index=["corruption", "seed"], columns="row", values="error")[list(rows)]
    by_corruption = [name for name in CORRUPTIONS if name in wide.index.get_level_values("corruption")]
    table, colours = (
        frame.groupby("corruption").mean().loc[by_corruption].T for frame in (wide, wide.sub(wide[rows[0]], axis=0))
    )
    limit = max(1.0, float(colours.abs().max(axis=None)))
    figure = Figure(figsize=(3 + 0.55 * table.shape[1], 2 + 0.35 * table.shape[0]), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(colours, cmap=matplotlib.colormaps["RdBu_r"], vmin=-limit, vmax=limit, aspect="auto")
    for line, row in enumerate(table.index):
        for column, name in enumerate(table.columns):
            dark = abs(colours.loc[row, name]) > 0.6 * limit
            shown = f"{table.loc[row, name]:.1f}"
            axes.text(column, line, shown, ha="center", va="center", fontsize=7, color="white" if dark else "black")
    axes.set_xticks(range(table.shape[1]), table.columns, rotation=45, ha="right", fontsize="small")
    axes.set_yticks(range(table.shape[0]), table.index, fontsize="small")
    figure.colorbar(image, label=f"points above {table.index[0]}")
    return figure


def _colour(runs: pd.DataFrame, row: str) -> object:
    return colour_of(runs.loc[runs["row"] == row, "method"].iloc[0])
