"""Figures as SVG that is the same bytes each time, in the reader's colours, light or dark."""

import io
import re
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from smoothmix.corruptions import CORRUPTIONS, SEVERITIES
from smoothmix.evaluation.averages import CATEGORIES
from smoothmix.reporting.frames import LEVELS
from smoothmix.reporting.methods import PLACES
from smoothmix.reporting.statistics import by_seed, paired

FOREGROUND = "#010203"  # nearly black; svg() turns it into the colour of the text
# Okabe and Ito's colours, which colour-blind readers can tell apart (Nature Methods 8, 441)
PALETTE = ("#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#0072B2")
STYLES = ("-", "--", ":", "-.")
COMPARED = {  # what is compared most has a colour of its own
    "identity": (FOREGROUND, "-"),
    "mixup": (PALETTE[0], "-"),
    "cutout": (PALETTE[1], "-"),
    "manifold_mixup": (PALETTE[2], "-"),
    "smoothmix_s": (PALETTE[3], "-"),
    "cutmix": (PALETTE[4], "-"),
    "smoothmix_c": (PALETTE[5], "-"),
}
THEMES = "svg{color:#1f2328}text{fill:currentColor}@media(prefers-color-scheme:dark){svg{color:#e6e9ee}}"
BANDED = 4  # curves, up to which bands can be told apart
NUMBERED = 20  # classes, up to which a confusion matrix has numbers


def svg(figure: Figure) -> bytes:
    """Return a figure as SVG: without a background, dates or random names."""
    file = io.StringIO()
    for axes in figure.axes:
        axes.set_facecolor("none")
    for legend in figure.legends:
        legend.set_frame_on(False)
    figure.patch.set_alpha(0)
    with matplotlib.rc_context({"svg.hashsalt": "smoothmix", "svg.fonttype": "none"}):
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    text = file.getvalue().replace("<defs>", f"<style>{THEMES}</style><defs>", 1)
    return re.sub(f"{FOREGROUND}|#000000", "currentColor", text).encode()


def png(figure: Figure) -> bytes:
    """Return a figure as PNG, on white."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=100, metadata={"Software": None})
    return file.getvalue()


def look_of(method: str) -> tuple[str, str]:
    """Return the colour and the line style of a method, the same in every figure; grey for one that no table knows."""
    if method in COMPARED:
        return COMPARED[method]
    if method not in PLACES:
        return "grey", "-"
    place = [name for name in PLACES if name not in COMPARED].index(method)
    return PALETTE[place % len(PALETTE)], STYLES[1 + place // len(PALETTE)]


def differences(runs: pd.DataFrame, values: dict[str, str], to: str) -> Figure:
    """Draw the mean paired difference of each label to the label `to`, with its 95 % interval; dots are single seeds.

    Args:
        runs: columns label, method, seed, and the keys of `values`.
        values: {column: title of its panel}.
        to: a label.
    """
    labels = [label for label in runs["label"].drop_duplicates() if label != to]
    figure = Figure(figsize=(2.2 + 3.6 * len(values), 1.2 + 0.35 * len(labels)), layout="constrained")
    for axes, (value, title) in zip(
        figure.subplots(1, len(values), sharey=True, squeeze=False)[0], values.items(), strict=True
    ):
        wide = by_seed(runs, value)
        for place, label in enumerate(labels):
            found, colour = paired(wide[label], wide[to]), _colour(runs, label)
            single = (wide[label] - wide[to]).dropna()
            axes.plot(single, [place + 0.2] * len(single), ".", color=colour, markersize=3, alpha=0.6)
            half = found.high - found.mean if found.known else 0
            axes.errorbar(found.mean, place, xerr=half, fmt="o", color=colour, capsize=3, markersize=4)
        axes.axvline(0, color=FOREGROUND, linewidth=0.8)
        axes.set_title(title, fontsize="small", wrap=True)
        axes.set_xlabel(f"points from {to}; lower is better", fontsize="small")
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    return figure


def curves(means: pd.DataFrame, methods: dict[str, str], measures: dict[str, str]) -> Figure:
    """Draw means over seeds by epoch, a panel per measure, each line labelled at its end.

    Args:
        means: what :func:`smoothmix.reporting.curves.mean_curves` returns.
        methods: {label: its method}.
        measures: {column: its title}; losses have a logarithmic axis.
    """
    figure = Figure(figsize=(11, 4.4), layout="constrained")
    for axes, (name, title) in zip(figure.subplots(1, len(measures), squeeze=False)[0], measures.items(), strict=True):
        ends = {}
        for label, method in methods.items():
            line = means[means["label"] == label].sort_values("epoch").dropna(subset=name)
            colour, style = look_of(method)
            if line.empty:
                continue
            if len(methods) <= BANDED and line["n"].max() > 1:
                std = line[f"{name}_std"].fillna(0)
                axes.fill_between(line["epoch"], line[name] - std, line[name] + std, color=colour, alpha=0.15, lw=0)
            marker = "." if len(line) < 20 else None
            axes.plot(line["epoch"], line[name], style, color=colour, linewidth=1.2, marker=marker)
            ends[label] = (line["epoch"].iloc[-1], line[name].iloc[-1], colour)
        if "loss" in name:
            axes.set_yscale("log")
        axes.set(xlabel="epoch", ylabel=title)
        axes.xaxis.get_major_locator().set_params(integer=True)
        _label_ends(axes, ends)
    return figure


def heat_map(errors: pd.DataFrame, to: str) -> Figure:
    """Write the mean of each label and corruption over severities and seeds, coloured by the paired difference to `to`.

    Args:
        errors: columns label, seed, corruption, mean, of one measure.
        to: a label.
    """
    wide = errors.pivot(index=["corruption", "seed"], columns="label", values="mean")
    wide = wide[list(errors["label"].drop_duplicates())]
    names = [name for name in CORRUPTIONS if name in wide.index.get_level_values("corruption")]
    added = wide.sub(wide[to], axis=0)
    table, colours = (frame.groupby("corruption").mean().loc[names].T for frame in (wide, added))
    limit = max(1.0, float(colours.abs().max(axis=None)))
    figure = Figure(figsize=(3 + 0.55 * table.shape[1], 2 + 0.35 * table.shape[0]), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(colours, cmap=matplotlib.colormaps["RdBu_r"], vmin=-limit, vmax=limit, aspect="auto")
    for line, label in enumerate(table.index):
        for column, name in enumerate(table.columns):
            dark = abs(colours.loc[label, name]) > 0.6 * limit
            shown = f"{table.loc[label, name]:.1f}"
            axes.text(column, line, shown, ha="center", va="center", fontsize=7, color="white" if dark else "#010101")
    axes.set_xticks(range(table.shape[1]), table.columns, rotation=45, ha="right", fontsize="small")
    axes.set_yticks(range(table.shape[0]), table.index, fontsize="small")
    figure.colorbar(image, label=f"points above {to}")
    return figure


def severities(errors: pd.DataFrame) -> Figure:
    """Draw the mean at each severity over the corruptions of each category, a panel per category, a line per label.

    Args:
        errors: columns label, method, corruption and :data:`~smoothmix.reporting.frames.LEVELS`, of one measure.
    """
    whole = errors[errors["corruption"] != "clean"].dropna(subset=LEVELS)
    category = whole["corruption"].map({name: kind.category for name, kind in CORRUPTIONS.items()})
    shown = [name for name in CATEGORIES if (category == name).any()]
    figure = Figure(figsize=(max(8, 2 + 2.6 * len(shown)), 3.6), layout="constrained")
    panels = figure.subplots(1, len(shown), squeeze=False)[0]
    for axes, name in zip(panels, shown, strict=True):
        of_category = whole[category == name]
        for label, of_label in of_category.groupby("label", sort=False):
            colour, style = look_of(of_label["method"].iloc[0])
            axes.plot(SEVERITIES, of_label[LEVELS].mean(), style, marker=".", color=colour, label=label)
        axes.set(xlabel="severity", title=f"{name} ({of_category['corruption'].nunique()})", xticks=SEVERITIES)
        axes.tick_params(labelsize="small")
    panels[0].set_ylabel("top-1 error (%)")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right upper", fontsize="small")
    return figure


def confusion(matrices: dict[str, Any], names: Sequence[str]) -> Figure:
    """Draw confusion matrices, a panel per label: rows are classes, columns what they are taken for, in %.

    Args:
        matrices: {label: counts (K, K)}.
        names: of the K classes.
    """
    k = len(names)
    side = 2 + max(2.5, 0.09 * k)
    figure = Figure(figsize=(side * len(matrices) + 0.8, side), layout="constrained")
    panels = figure.subplots(1, len(matrices), squeeze=False)[0]
    for axes, (label, matrix) in zip(panels, matrices.items(), strict=True):
        shares = 100 * matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
        image = axes.imshow(shares, "Blues", norm=PowerNorm(0.4, 0, 100))  # rare confusions show beside the diagonal
        axes.set(title=label, xlabel="taken for")
        axes.set_xticks(range(k), names, rotation=90, fontsize=7 if k <= NUMBERED else 3.5)
        axes.set_yticks(range(k), names, fontsize=7 if k <= NUMBERED else 3.5)
        for row, column in zip(*np.nonzero(matrix), strict=True) if k <= NUMBERED else ():
            colour = "white" if shares[row, column] > 30 else "#010101"
            axes.text(column, row, f"{shares[row, column]:.3g}", ha="center", va="center", fontsize=6, color=colour)
    figure.colorbar(image, label="% of the class")
    return figure


def reliability(bins: dict[str, pd.DataFrame], methods: dict[str, str], names: dict[str, str]) -> Figure:
    """Draw accuracy against confidence, a line per label; the area of a dot is its share of the images.

    Args:
        bins: {label: columns confidence, accuracy and images, NaN where a bin is empty}.
        methods: {label: its method}.
        names: {label: its text in the legend}.
    """
    figure = Figure(figsize=(6.5, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], ":", color="grey", linewidth=0.8)
    for label, line in bins.items():
        colour, style = look_of(methods[label])
        there, area = line.dropna(), 150 * line["images"].dropna() / line["images"].sum()
        axes.plot("confidence", "accuracy", style, data=there, color=colour, linewidth=1, label=names[label])
        axes.scatter("confidence", "accuracy", 4 + area, colour, data=there, label="", clip_on=False, zorder=3)
    axes.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1), ylim=(0, 1), aspect="equal")
    figure.legend(loc="outside right upper", fontsize="small")
    return figure


def by_images(means: pd.DataFrame) -> Figure:
    """Draw the error against the number of training images, a line per method with its 95 % interval over seeds.

    Args:
        means: columns method, name, train_images, and those of Mean.
    """
    figure = Figure(figsize=(6.5, 4), layout="constrained")
    axes = figure.subplots()
    ends = {}
    for method, line in means.groupby("method", sort=False):
        line, (colour, style) = line.sort_values("train_images"), look_of(str(method))
        low, high = line["low"].fillna(line["mean"]), line["high"].fillna(line["mean"])
        axes.fill_between(line["train_images"], low, high, color=colour, alpha=0.15, linewidth=0)
        axes.plot(line["train_images"], line["mean"], style, marker="o", markersize=4, color=colour, clip_on=False)
        ends[str(line["name"].iloc[0])] = (line["train_images"].iloc[-1], line["mean"].iloc[-1], colour)
    axes.set_xscale("log")
    axes.set(xlabel="training images", ylabel="top-1 error (%)")
    axes.margins(x=0)
    _label_ends(axes, ends)
    return figure


def _colour(frame: pd.DataFrame, label: str) -> str:
    return look_of(frame.loc[frame["label"] == label, "method"].iloc[0])[0]


def _label_ends(axes: Any, ends: dict[str, tuple[float, float, str]]) -> None:
    """Write the labels to the right of where their lines end, moved apart where they would overlap."""
    scale = axes.transData.transform
    places = {label: float(scale((x, y))[1]) for label, (x, y, _) in ends.items()}
    height, last = 12.0, -np.inf  # of a line, in pixels of the canvas
    for label in sorted(places, key=lambda label: places[label]):
        last = max(places[label], last + height)
        x, y, colour = ends[label]
        shift = (last - places[label]) * 72 / axes.figure.dpi
        axes.annotate(
            label, (x, y), (6, shift), textcoords="offset points", va="center", fontsize="small", color=colour,
            annotation_clip=False,
        )  # fmt: skip
