"""The user's own runs compared: a line per method, for each setting of data set, network, recipe and epochs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from scipy import stats
from statsmodels.stats.multitest import multipletests

from smoothmix.reporting.spread import spread
from smoothmix.reporting.tables import name_of, place_of
from smoothmix.utils.records import RunRecord

BASELINE = "identity"
SIGNIFICANT = 0.05


class Setting(NamedTuple):
    """What runs must have in common for their errors to be compared."""

    dataset: str
    model: str
    recipe: str
    epochs: int
    selected_on: str


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

    def errors(self, when: str, k: int = 1) -> list[float]:
        """Return the top-`k` errors in % of the "best" or the "last" epoch, one per seed."""
        return [record.error(when, k) for record in self.runs]


def compare(runs: Sequence[RunRecord]) -> dict[Setting, list[Line]]:
    """Return the lines of every setting, methods in the paper's order; two configurations of a method are two lines."""
    settings: dict[Setting, dict[tuple[str, str], list[RunRecord]]] = {}
    for record in runs:
        setting = Setting(record.dataset, record.model, record.recipe, record.epochs, record.selected_on)
        settings.setdefault(setting, {}).setdefault((record.method, record.config_hash), []).append(record)
    return {setting: _lines(by_method) for setting, by_method in sorted(settings.items())}


def labels(keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """Return the label of each (method, configuration hash): the hash is shown where a method has several."""
    methods = [method for method, _ in keys]
    return {
        (method, number): name_of(method) + (f" ({number})" if methods.count(method) > 1 else "")
        for method, number in sorted(keys, key=lambda key: (place_of(key[0]), key[1]))
    }


def _lines(by_method: dict[tuple[str, str], list[RunRecord]]) -> list[Line]:
    lines = [Line(label, key[0], by_method[key]) for key, label in labels(list(by_method)).items()]
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
        found = spread([ours[seed] - theirs[seed] for seed in common])
        line.paired, line.difference, line.low, line.high = True, found["mean"], found["low"], found["high"]
        if found["std"] > 0:
            line.p = float(stats.ttest_1samp([ours[seed] - theirs[seed] for seed in common], 0).pvalue)
        return
    a, b = list(ours.values()), list(theirs.values())
    line.difference = sum(a) / len(a) - sum(b) / len(b)
    if len(a) > 1 and len(b) > 1 and spread(a)["std"] + spread(b)["std"] > 0:
        test = stats.ttest_ind(a, b, equal_var=False)
        interval = test.confidence_interval()
        line.low, line.high, line.p = float(interval.low), float(interval.high), float(test.pvalue)
