"""Figures as files that are the same bytes each time, and the figures that are drawn from records."""

import io
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import matplotlib
import pandas as pd
from matplotlib.figure import Figure

from smoothmix.corruptions import CORRUPTIONS, SEVERITIES
from smoothmix.evaluation.averages import CATEGORIES, complete
from smoothmix.evaluation.robustness import CorruptionRecord
from smoothmix.reporting.comparison import labels
from smoothmix.reporting.tables import PLACES, place_of
from smoothmix.utils.checks import is_count, is_loss, is_percentage, parse_object, wrong_key
from smoothmix.utils.errors import UserError
from smoothmix.utils.records import Record, RunRecord

FOREGROUND = "#010203"  # nearly black; the report turns it into the colour of its text
COLOURS = {"identity": FOREGROUND, "smoothmix_c": "royalblue"}  # what is compared most stands out
OTHERS = [matplotlib.colormaps["tab20"](number) for number in range(20)]
THEMES = "svg{color:#1f2328}text{fill:currentColor}@media(prefers-color-scheme:dark){svg{color:#e6e9ee}}"
AnyRecord = TypeVar("AnyRecord", bound=Record)
STYLES = ["-", "--", ":", "-."]  # of several configurations of one method
DPI = 100
EPOCH = {"epoch": is_count, "test_top1_error": is_percentage, "test_loss": is_loss}  # of each line that is drawn


def save(figure: Figure, path: Path) -> list[Path]:
    """Write a figure as ``path.svg`` and ``path.png``, without dates or random names; return the two paths.

    Raises:
        UserError: the file system refuses.
    """
    written = [path.with_name(f"{path.name}.{kind}") for kind in ("svg", "png")]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with matplotlib.rc_context({"svg.hashsalt": "smoothmix"}):
            figure.savefig(written[0], metadata={"Date": None, "Creator": None})
        figure.savefig(written[1], dpi=DPI, metadata={"Software": None})
    except OSError as error:
        raise UserError(f"cannot write {path}.* ({error}); give another --output") from error
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


def groups(records: list[AnyRecord], keys: list[str]) -> dict[str, list[AnyRecord]]:
    """Return the records by setting, that is by the values of `keys`, which joined by dashes are its name."""
    found: dict[str, list[AnyRecord]] = {}
    for record in records:
        found.setdefault("-".join(str(getattr(record, key)) for key in keys), []).append(record)
    return found


def learning_curves(records: list[RunRecord], title: str) -> Figure:
    """Draw test error and loss by epoch: means over seeds, with a band of one standard deviation to either side.

    Args:
        records: runs of one setting, as `read_folders` finds them.
        title: of the figure.

    Raises:
        UserError: a run has no metrics.jsonl, or a damaged one.
    """
    runs = pd.concat([read_log(record) for record in records])
    names = labels(list(dict.fromkeys((record.method, record.config_hash) for record in records)))
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    for axes, column, label in zip(
        figure.subplots(1, 2), ("test_top1_error", "test_loss"), ("test top-1 error (%)", "test loss"), strict=True
    ):
        drawn: Counter[str] = Counter()
        # two settings of one method are two lines
        by_setting = dict(list(runs.groupby(["method", "config_hash"])))
        for method, config in sorted(by_setting, key=lambda setting: (place_of(setting[0]), setting[1])):
            of_method = by_setting[method, config]
            table = of_method.pivot(index="epoch", columns="seed", values=column)
            mean, deviation = table.mean(axis=1, skipna=False), table.std(axis=1, skipna=False).fillna(0)
            colour = colour_of(method)
            axes.fill_between(table.index, mean - deviation, mean + deviation, color=colour, alpha=0.15, lw=0)
            style = {"linestyle": STYLES[drawn[method] % len(STYLES)], "marker": "." if len(mean) < 20 else None}
            axes.plot(table.index, mean, color=colour, linewidth=1.2, label=names[method, config], **style)
            drawn[method] += 1
        axes.set(xlabel="epoch", ylabel=label)
        axes.xaxis.get_major_locator().set_params(integer=True)
        _zoom(axes, runs["epoch"], runs[column])
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right upper", fontsize="small")
    if title:
        figure.suptitle(title, fontsize="small")
    return figure


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
    errors["category"] = errors["corruption"].map(lambda name: CORRUPTIONS[name].category)
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


def _zoom(axes: Any, epochs: "pd.Series[int]", values: "pd.Series[float]") -> None:
    """End the vertical axis above the second half of the epochs and three quarters of all values."""
    top, bottom = max(values[epochs > epochs.max() / 2].max(), values.quantile(0.75)), values.min()
    if top > bottom:
        axes.set_ylim(bottom - 0.05 * (top - bottom), top + 0.05 * (top - bottom))


def _colours(records: Sequence[Record]) -> dict[str, Any]:
    """Return {label: colour} of the methods, in the order of the tables."""
    keys = list(dict.fromkeys((record.method, record.config_hash) for record in records))
    return {label: colour_of(method) for (method, _), label in labels(keys).items()}


def read_log(record: RunRecord) -> pd.DataFrame:
    """Return method, config_hash, seed, epoch, test_top1_error and test_loss of the epochs that were evaluated."""
    path = record.directory / "metrics.jsonl"
    try:
        rows = [parse_object(line) for line in path.read_text(encoding="utf-8").splitlines() or [""]]
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is not the log of a run ({error}); run that run again") from error
    for number, row in enumerate(rows, start=1):
        rules = EPOCH if "test_top1_error" in row else {"epoch": is_count}
        if flaw := wrong_key(row, rules) or ("epoch" if row["epoch"] != number else None):
            raise UserError(f"{path} is not the log of a run ({flaw} of line {number} is wrong); run that run again")
    table = pd.DataFrame([row for row in rows if "test_top1_error" in row], columns=[*EPOCH])
    return table.assign(**{key: getattr(record, key) for key in ("method", "config_hash", "seed")})


def _errors(records: list[CorruptionRecord]) -> pd.DataFrame:
    """Return (method, seed, corruption, severity, error) of the corruptions that every record holds in full."""
    in_full = [{name for name, cells in record.top1_errors.items() if complete(cells)} for record in records]
    common = set.intersection(*in_full)
    if not common:
        raise UserError("no corruption is complete in every record; run eval_corruption.py again to resume")
    names = labels(list(dict.fromkeys((record.method, record.config_hash) for record in records)))
    rows = [
        {"method": names[record.method, record.config_hash]}
        | {"seed": record.seed, "corruption": name, "severity": severity}
        | {"error": record.top1_errors[name][severity]}
        for record in records
        for name in sorted(common)
        for severity in SEVERITIES
    ]
    return pd.DataFrame(rows)

