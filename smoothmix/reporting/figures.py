"""Figures as files that are the same bytes each time, and those of errors on corrupted images."""

import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.figure import Figure

from smoothmix.corruptions import CORRUPTIONS, SEVERITIES
from smoothmix.evaluation.averages import CATEGORIES, complete
from smoothmix.evaluation.robustness import CorruptionRecord
from smoothmix.reporting.comparison import labelled
from smoothmix.reporting.methods import PLACES
from smoothmix.utils.errors import UserError
from smoothmix.utils.files import replacing

FOREGROUND = "#010203"  # nearly black; the report turns it into the colour of its text
COLOURS = {"identity": FOREGROUND, "smoothmix_c": "royalblue"}  # what is compared most stands out
OTHERS = [matplotlib.colormaps["tab20"](number) for number in range(20)]
THEMES = "svg{color:#1f2328}text{fill:currentColor}@media(prefers-color-scheme:dark){svg{color:#e6e9ee}}"
DPI = 100


def save(figure: Figure, path: Path) -> list[Path]:
    """Write a figure as ``path.svg`` and ``path.png``, without dates or random names; return the two paths.

    Raises:
        UserError: the file system refuses.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write {path}.* ({error}); give another --output") from error
    written = []
    for kind, nameless in (("svg", {"Date": None, "Creator": None}), ("png", {"Software": None})):
        written.append(path.with_name(f"{path.name}.{kind}"))
        with replacing(written[-1], "wb") as file, matplotlib.rc_context({"svg.hashsalt": "smoothmix"}):
            figure.savefig(file, format=kind, dpi=DPI, metadata=nameless)
    return written


def svg(figure: Figure) -> bytes:
    """Return a figure as SVG for a web page: without a background, in the reader's colours, light or dark."""
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


def colour_of(method: str) -> Any:
    """Return the same colour for a method in every figure; grey for one that the tables do not know."""
    if method in COLOURS:
        return COLOURS[method]
    return OTHERS[(PLACES[method] - 1) % len(OTHERS)] if method in PLACES else "grey"


def corruption_bars(records: list[CorruptionRecord], title: str) -> Figure:
    """Draw the mean error over the five severities of each corruption that all `records` hold: a bar a method."""
    errors = _errors(records)
    over_severities = errors.groupby(["method", "corruption"])["error"].mean().unstack("method")
    colours = _colours(records)
    names = [name for name in CORRUPTIONS if name in over_severities.index]
    figure = Figure(figsize=(max(8, 2 + 0.5 * len(names)), 4.5), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(colours)
    for number, (method, colour) in enumerate(colours.items()):
        places = [place - 0.4 + (number + 0.5) * width for place in range(len(names))]
        heights = over_severities.loc[names, method]
        axes.bar(places, heights, width, color=colour, label=method)
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", fontsize="small")
    axes.set_ylabel("top-1 error (%), mean over severities")
    if title:
        figure.suptitle(title, fontsize="small")
    figure.legend(loc="outside right upper", fontsize="small")
    return figure


def severity_curves(records: list[CorruptionRecord], title: str) -> Figure:
    """Draw the mean error at each severity, over the corruptions of each category that all `records` hold."""
    errors = _errors(records)
    categories = [name for name in CATEGORIES if name in set(errors["category"])]
    figure = Figure(figsize=(max(8, 2 + 2.6 * len(categories)), 3.6), layout="constrained")
    panels = figure.subplots(1, len(categories), squeeze=False)[0]
    for axes, category in zip(panels, categories, strict=True):
        axes.tick_params(labelsize="small")
        of_category = errors[errors["category"] == category]
        corruptions = of_category["corruption"].nunique()
        table = of_category.groupby(["severity", "method"])["error"].mean().unstack("method")
        for method, colour in _colours(records).items():
            axes.plot(table.index, table[method], marker=".", color=colour, label=method)
        axes.set(xlabel="severity", title=f"{category} ({corruptions} corruptions)", xticks=SEVERITIES)
    panels[0].set_ylabel("top-1 error (%)")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right upper", fontsize="small")
    if title:
        figure.suptitle(title, fontsize="small")
    return figure


def category_curves(record: CorruptionRecord) -> Figure:
    """Draw the mean error at each severity over the corruptions of each category, from the clean error at 0 on."""
    errors = _errors([record])
    table = errors.groupby(["severity", "category"])["error"].mean().unstack("category")
    table.loc[0] = record.clean_top1_error
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.subplots()
    for category in (name for name in CATEGORIES if name in table):
        axes.plot(table[category].sort_index(), marker=".", label=category)
    axes.set(xlabel="severity (0: clean)", ylabel="top-1 error (%)", xticks=[0, *SEVERITIES])
    figure.legend(loc="outside right upper", fontsize="small")
    return figure


def _colours(records: Sequence[CorruptionRecord]) -> dict[str, Any]:
    """Return {label: colour} of the methods, in the order of the tables."""
    return {label: colour_of(of_label[0].method) for label, of_label in labelled(records).items()}


def _errors(records: list[CorruptionRecord]) -> pd.DataFrame:
    """Return (method, corruption, category, severity, error) of the corruptions that every record holds in full."""
    in_full = [{name for name, cells in record.top1_errors.items() if complete(cells)} for record in records]
    common = set.intersection(*in_full)
    if not common:
        raise UserError("no corruption is complete in every record; run eval_corruption.py again to resume")
    rows = [
        (label, name, CORRUPTIONS[name].category, severity, record.top1_errors[name][severity])
        for label, of_label in labelled(records).items()
        for record in of_label
        for name in sorted(common)
        for severity in SEVERITIES
    ]
    return pd.DataFrame(rows, columns=["method", "corruption", "category", "severity", "error"])
