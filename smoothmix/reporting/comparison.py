"""The user's own runs compared: a line per method for each setting of data set, network, recipe and epochs."""

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import pandas as pd
from scipy import stats
from statsmodels.stats.multitest import multipletests

from smoothmix.corruptions import CORRUPTIONS
from smoothmix.evaluation.averages import mean_of_category_means, means
from smoothmix.evaluation.calibration import MEASURES
from smoothmix.evaluation.robustness import CorruptionRecord
from smoothmix.reporting.markup import markdown
from smoothmix.reporting.mean import Mean, interval, number, p_value
from smoothmix.reporting.methods import name_of, place_of
from smoothmix.utils.records import AnyRecord, RunRecord

BASELINE = "identity"
SIGNIFICANT = 0.05
SHOWN = {"top1_error": ("top-1 error in %", ".2f"), **MEASURES}  # on corrupted images: {measure: (name, format)}


class Setting(NamedTuple):
    """What runs must have in common for their errors to be compared."""

    dataset: str
    model: str
    recipe: str
    epochs: int
    selected_on: str

    def __str__(self) -> str:
        return f"{self.dataset}, {self.model}, recipe {self.recipe}, {self.epochs} epochs"


class CorruptionSetting(NamedTuple):
    """What evaluations on corrupted images must have in common for their errors to be compared."""

    benchmark: str
    source: str
    dataset: str
    model: str
    recipe: str
    epochs: int | None
    weights: str

    def __str__(self) -> str:
        length = "" if self.epochs is None else f", {self.epochs} epochs"
        return f"{self.benchmark}: {self.dataset}, {self.model}, recipe {self.recipe}{length}, {self.weights} weights"


AnySetting = TypeVar("AnySetting", Setting, CorruptionSetting)


@dataclass
class Line:
    """A method in a comparison: its runs, and the difference of its last errors to the baseline's.

    `low` and `high` are the 95 % interval of the mean `difference`, `p` is Holm's corrected p-value; NaN where the
    seeds do not allow them. `paired`: the seeds are the baseline's, so that differences are taken seed by seed.
    """

    label: str
    method: str
    runs: list[RunRecord]
    difference: float = math.nan
    low: float = math.nan
    high: float = math.nan
    p: float = math.nan
    paired: bool = False

    @property
    def significant(self) -> bool:
        """Whether the difference to the baseline is significant."""
        return self.p < SIGNIFICANT

    def mean(self, when: str, k: int = 1) -> Mean:
        """Return the mean over seeds of the top-`k` error in % of the "best" or the "last" epoch."""
        return Mean.of([record.error(when, k) for record in self.runs])

    def text(self) -> dict[str, str]:
        """Return the cells of the line, by heading."""
        last = self.mean("last")
        change = number(self.difference, "+.2f")
        if not math.isnan(self.low):
            change += f" {interval(self.low, self.high, '+.2f')}"
        return {
            "method": self.label,
            "n": str(len(self.runs)),
            "best": str(self.mean("best")),
            "last": str(last),
            "95 % interval": last.interval(),
            "difference": change + (" *" if self.significant else ""),
            "p": p_value(self.p),
        }

    def calibration(self) -> dict[str, str]:
        """Return the cells of the line in a table of calibration after the last epoch, by heading."""
        cells = {"method": self.label, "n": str(len(self.runs))}
        for measure, (title, form) in MEASURES.items():
            cells[title] = f"{Mean.of([record.last.get(f'test_{measure}', math.nan) for record in self.runs]):{form}}"
        return cells


def calibrations(lines: Sequence[Line]) -> pd.DataFrame | None:
    """Return the calibration of each line as text, None if no run knows more of it than the loss."""
    known = any("test_ece" in record.last for line in lines for record in line.runs)
    return pd.DataFrame([line.calibration() for line in lines]) if known else None


def by_setting(records: Iterable[AnyRecord], kind: type[AnySetting]) -> dict[AnySetting, list[AnyRecord]]:
    """Return the records of each setting of a `kind`."""
    found: dict[AnySetting, list[AnyRecord]] = {}
    for record in records:
        setting = kind(*(getattr(record, key) for key in kind._fields))
        found.setdefault(setting, []).append(record)
    return found


def labelled(records: Iterable[AnyRecord]) -> dict[str, list[AnyRecord]]:
    """Return the records of one setting by method, in the paper's order, and by configuration if a method has several.

    A key is the name of the method, followed by the hash of the configuration where there are several.
    """
    found: dict[tuple[str, str], list[AnyRecord]] = {}
    for record in records:
        found.setdefault((record.method, record.config_hash), []).append(record)
    several = Counter(method for method, _ in found)
    return {
        name_of(method) + (f" ({number})" if several[method] > 1 else ""): found[method, number]
        for method, number in sorted(found, key=lambda key: (place_of(key[0]), key[1]))
    }


def compare(runs: Iterable[RunRecord]) -> dict[Setting, list[Line]]:
    """Return the lines of every setting, methods in the paper's order; two configurations of a method are two lines."""
    return {setting: _lines(labelled(of_setting)) for setting, of_setting in sorted(by_setting(runs, Setting).items())}


def compare_corrupted(
    records: Iterable[CorruptionRecord], measure: str = "top1_error"
) -> dict[CorruptionSetting, pd.DataFrame]:
    """Return the mean over seeds (:class:`Mean`) of a `measure` for every setting, a column for each method.

    The measure is one of :data:`SHOWN`; settings of which no record has it are left out. The index is "clean", each
    corruption that any record has in full (the mean over its five severities), and "mean over corruptions", where each
    weighs alike, and "mean of category means", where each category does. A seed without one of them makes the mean NaN.
    """
    return {
        setting: _corrupted(labelled(of_setting), measure)
        for setting, of_setting in by_setting(records, CorruptionSetting).items()
        if not all(math.isnan(record.measured(measure)[0]) for record in of_setting)
    }


def to_markdown(runs: Sequence[RunRecord], corrupted: Sequence[CorruptionRecord]) -> str:
    """Return both comparisons as Markdown."""
    parts = []
    for setting, lines in compare(runs).items():
        parts.append(f"{setting}; top-1 error in %, best epoch chosen on {setting.selected_on}")
        top5 = ({f"{when} top-5": str(line.mean(when, 5)) for when in ("best", "last")} for line in lines)
        parts.append(markdown(pd.DataFrame([line.text() | more for line, more in zip(lines, top5, strict=True)])))
        if (calibration := calibrations(lines)) is not None:
            parts += [f"{setting}; calibration, last epoch", markdown(calibration)]
    for measure, (title, form) in SHOWN.items():
        for where, means_of in compare_corrupted(corrupted, measure).items():
            parts.append(f"{where}; {title}, mean over severities 1 to 5; images: {where.source}")
            counts = {label: str(column.iloc[0].n) for label, column in means_of.items()}
            cells = means_of.map(lambda mean, form=form: format(mean, form))
            text = pd.concat([pd.DataFrame(counts, index=["n"]), cells]).rename_axis("images")
            parts.append(markdown(text.reset_index()))
    return "\n\n".join(parts) + "\n"


def _corrupted(rows: dict[str, list[CorruptionRecord]], measure: str) -> pd.DataFrame:
    measured = {label: [record.measured(measure) for record in of_row] for label, of_row in rows.items()}
    complete = {name for of_row in measured.values() for _, cells in of_row for name in means(cells)}
    names = [name for name in CORRUPTIONS if name in complete]
    columns = {}
    for label, of_row in measured.items():
        lines = []
        for clean, cells in of_row:
            over_severities = means(cells)
            line = {"clean": clean} | {name: over_severities.get(name, math.nan) for name in names}
            if names:
                whole = len(over_severities) == len(names)
                line["mean over corruptions"] = statistics.fmean(line[name] for name in names)
                line["mean of category means"] = mean_of_category_means(cells) if whole else math.nan
            lines.append(line)
        columns[label] = {name: Mean.of([line[name] for line in lines]) for name in lines[0]}
    return pd.DataFrame(columns, index=list(lines[0]))


def _lines(rows: dict[str, list[RunRecord]]) -> list[Line]:
    lines = [Line(label, of_row[0].method, of_row) for label, of_row in rows.items()]
    baselines = [line for line in lines if line.method == BASELINE]
    if len(baselines) == 1:
        others = [line for line in lines if line.method != BASELINE]
        for line in others:
            _subtract(line, baselines[0])
        tested = [line for line in others if not math.isnan(line.p)]
        if tested:
            for line, p in zip(tested, multipletests([line.p for line in tested], method="holm")[1], strict=True):
                line.p = float(p)
    return lines


def _subtract(line: Line, baseline: Line) -> None:
    """Set the difference to the baseline: by seed if two or more are common, else between the means (Welch)."""
    ours, theirs = ({record.seed: record.error("last") for record in one.runs} for one in (line, baseline))
    common = sorted(ours.keys() & theirs.keys())
    if len(common) > 1:
        differences = [ours[seed] - theirs[seed] for seed in common]
        found = Mean.of(differences)
        line.paired, line.difference, line.low, line.high = True, found.mean, found.low, found.high
        if found.std > 0:
            line.p = float(stats.ttest_1samp(differences, 0).pvalue)
        return
    a, b = list(ours.values()), list(theirs.values())
    line.difference = sum(a) / len(a) - sum(b) / len(b)
    if len(a) > 1 and len(b) > 1 and Mean.of(a).std + Mean.of(b).std > 0:
        test = stats.ttest_ind(a, b, equal_var=False)
        interval = test.confidence_interval()
        line.low, line.high, line.p = float(interval.low), float(interval.high), float(test.pvalue)
