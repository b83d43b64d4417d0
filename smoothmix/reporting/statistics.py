"""What is computed over seeds: means, paired differences, a trend, and the averages of corrupted images.

Runs of one seed share initialisation, order, crops and flips, so a difference is taken within each seed. Every interval
is over seeds, given one test set (and one draw of training images, unless each seed draws its own). A value that is
missing stays missing: the mean of a row that lacks it is NaN.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Self

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.multitest import multipletests

from smoothmix.corruptions import CORRUPTIONS
from smoothmix.evaluation.averages import ALEXNET, ALEXNET_CLEAN, BENCHMARK, CATEGORIES
from smoothmix.reporting.frames import EVALUATION, TOP1

ALPHA = 0.05
TINY = 1e-6  # a standard deviation (of errors in % or nats) up to this is rounding, and says nothing
EXACT = 16  # pairs, up to which all signs are tried
DRAWS = 2000  # of the bootstrap


class Mean(NamedTuple):
    """Mean over n seeds, sample standard deviation (divisor n - 1), smallest value, 95 % interval of the mean.

    The interval is Student's t with n - 1 degrees of freedom. What n does not allow is NaN.
    """

    n: int
    mean: float = math.nan
    std: float = math.nan
    least: float = math.nan
    low: float = math.nan
    high: float = math.nan

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """Return the mean of `values`, one per seed."""
        n = len(values)
        if n == 0:
            return cls(0)
        mean = statistics.fmean(values)
        std = statistics.stdev(values) if n > 1 and math.isfinite(mean) else math.nan
        half = float(stats.t.ppf(0.975, n - 1)) * std / math.sqrt(n) if n > 1 else math.nan
        return cls(n, mean, std, min(values), mean - half, mean + half)

    def __str__(self) -> str:
        return format(self)

    def __format__(self, form: str) -> str:
        form = form or ".2f"
        return number(self.mean, form) + ("" if math.isnan(self.std) else f" ± {self.std:{form}}")


class Difference(NamedTuple):
    """The mean difference of n pairs, its standard deviation over pairs, 95 % interval and two-sided p-values.

    `p` is the paired t test's and `p_exact` that of all changes of sign (above :data:`EXACT` pairs NaN). They are NaN,
    like the interval, for fewer than two pairs and for differences that are all equal, of which nothing is known.
    """

    n: int
    mean: float = math.nan
    std: float = math.nan
    low: float = math.nan
    high: float = math.nan
    p: float = math.nan
    p_exact: float = math.nan

    @property
    def known(self) -> bool:
        """Whether there is an interval."""
        return not math.isnan(self.low)


def pairs(first: "pd.Series[float]", second: "pd.Series[float] | float") -> pd.DataFrame:
    """Return the values of two rows, indexed by seed, of the seeds that both have; or of one row beside a number."""
    if not isinstance(second, pd.Series):
        second = pd.Series(second, first.index)
    return pd.concat([first, second], axis=1, keys=["first", "second"]).dropna()


def paired(first: "pd.Series[float]", second: "pd.Series[float] | float", bound: float = 0.0) -> Difference:
    """Test first - second, values indexed by seed, against `bound`: the one test of differences in this package."""
    both = pairs(first, second)
    differences = (both["first"] - both["second"]).to_numpy(dtype=float)
    n = len(differences)
    if n == 0:
        return Difference(0)
    mean = float(differences.mean())
    std = float(differences.std(ddof=1)) if n > 1 else math.nan
    if not std > TINY:
        return Difference(n, mean, std)
    low, high = stats.t.interval(1 - ALPHA, n - 1, mean, std / math.sqrt(n))
    p_exact = math.nan
    if n <= EXACT:
        signs = 1 - 2 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
        sums = np.abs(signs @ (differences - bound))
        p_exact = float((sums >= sums[0] - TINY).mean())
    p = float(stats.ttest_1samp(differences, bound).pvalue)
    return Difference(n, mean, std, float(low), float(high), p, p_exact)


def trend(groups: Mapping[float, "pd.Series[float]"]) -> Difference:
    """Return the slope of the groups' means over log10 of their key, each group weighing alike, against 0.

    The slope is a contrast of independent means with unequal variances: its variance is estimated as Welch's, with
    Satterthwaite's degrees of freedom. Each group holds one value (a paired difference) per seed; n is the smallest.
    """
    x = np.log10([float(key) for key in groups])
    weights = (x - x.mean()) / ((x - x.mean()) ** 2).sum()
    values = [group.dropna().to_numpy(dtype=float) for group in groups.values()]
    n = min(map(len, values))
    if n == 0:
        return Difference(0)
    slope = float(sum(weight * group.mean() for weight, group in zip(weights, values, strict=True)))
    if n < 2:
        return Difference(n, slope)
    parts = [weight**2 * group.var(ddof=1) / len(group) for weight, group in zip(weights, values, strict=True)]
    error = math.sqrt(sum(parts))
    if error <= TINY:
        return Difference(n, slope, error)
    freedom = sum(parts) ** 2 / sum(part**2 / (len(group) - 1) for part, group in zip(parts, values, strict=True))
    low, high = stats.t.interval(1 - ALPHA, freedom, slope, error)
    return Difference(n, slope, error, float(low), float(high), float(2 * stats.t.sf(abs(slope / error), freedom)))


def over_images_and_seeds(differences: "np.typing.NDArray[np.float64]") -> tuple[float, float]:
    """Return the 95 % bootstrap interval of the mean of differences (S seeds, N images); both are resampled.

    Seeds and images are drawn with replacement, independently, so that all images of a seed, and all seeds of an image,
    stay together (Owen, The pigeonhole bootstrap, 2007); with one seed, images alone. Its ends are percentiles of
    :data:`DRAWS` draws, always the same.
    """
    seeds = len(differences)
    patterns, counts = np.unique(differences, axis=1, return_counts=True)  # images of one pattern stand for each other
    generator = np.random.default_rng(0)
    images = generator.multinomial(counts.sum(), counts / counts.sum(), DRAWS)
    weights = generator.multinomial(seeds, np.full(seeds, 1 / seeds), DRAWS)
    means = ((weights @ patterns) * images).sum(1) / differences.size
    low, high = np.percentile(means, [100 * ALPHA / 2, 100 - 100 * ALPHA / 2])
    return float(low), float(high)


def by_seed(frame: pd.DataFrame, value: str, label: str = "label") -> pd.DataFrame:
    """Return the `value` of each run, a line for each seed and a column for each label, in the order of the frame."""
    order = frame[label].drop_duplicates()
    return frame.pivot(index="seed", columns=label, values=value).reindex(columns=order)


def over_seeds(frame: pd.DataFrame, value: str, label: str = "label") -> dict[str, Mean]:
    """Return {label: mean over its seeds}, in the order of the frame."""
    return {str(name): Mean.of(list(of)) for name, of in frame.groupby(label, sort=False)[value]}


def differences(frame: pd.DataFrame, value: str, to: str, label: str = "label") -> pd.DataFrame:
    """Return the paired difference of each label to the label `to`: a line per label, the columns of Difference.

    `p_holm` is corrected over the labels. Raises ValueError where a label has two runs of one seed.
    """
    wide = by_seed(frame, value, label)
    found = pd.DataFrame(
        [paired(wide[name], wide[to]) for name in wide if name != to],
        index=[name for name in wide if name != to],
        columns=Difference._fields,
    )
    tested = found["p"].notna()
    found["p_holm"] = math.nan
    if tested.any():
        found.loc[tested, "p_holm"] = multipletests(found.loc[tested, "p"], ALPHA, "holm")[1]
    return found


def averages(errors: pd.DataFrame) -> pd.DataFrame:
    """Return a line per evaluation and measure of a frame of errors.

    Columns are those of an evaluation, `measure`, `clean`, a mean for each category, `corrupted` (over corruptions,
    which weigh alike), `by_category` (over category means: the paper's Average.All in Table 5), `corruption_gap`
    (corrupted - clean), `mce` and `relative_mce` (of ImageNet-C's top-1 errors, in %). The corruptions are all that
    any run in the frame has in full under the same benchmark, images and weights: a run without one of them has NaN.
    """
    parts = []
    for (benchmark, measure), group in errors.groupby(["benchmark", "measure"], sort=False):
        for _, alike in group.groupby([*EVALUATION[1:]], sort=False, dropna=False):
            means = alike.pivot(index=[*EVALUATION, "measure"], columns="corruption", values="mean")
            names = [name for name in CORRUPTIONS if name in means and means[name].notna().any()]
            part = pd.DataFrame({"clean": means.get("clean", math.nan)}, index=means.index)
            for category in CATEGORIES:
                members = [name for name in names if CORRUPTIONS[name].category == category]
                part[category] = means[members].mean(axis=1, skipna=False) if members else math.nan
            present = part[[*CATEGORIES]].dropna(axis=1, how="all")
            part["corrupted"] = means[names].mean(axis=1, skipna=False)
            part["by_category"] = present.mean(axis=1, skipna=False)
            part["corruption_gap"] = part["corrupted"] - part["clean"]
            if benchmark == "imagenet_c" and measure == TOP1 and set(names) >= set(BENCHMARK):
                alexnet = pd.Series({name: statistics.fmean(ALEXNET[name]) for name in BENCHMARK})
                added = means[[*BENCHMARK]].sub(part["clean"], axis=0)
                part["mce"] = 100 * (means[[*BENCHMARK]] / alexnet).mean(axis=1, skipna=False)
                part["relative_mce"] = 100 * (added / (alexnet - ALEXNET_CLEAN)).mean(axis=1, skipna=False)
            parts.append(part.reset_index())
    columns = ["clean", *CATEGORIES, "corrupted", "by_category", "corruption_gap", "mce", "relative_mce"]
    empty = pd.DataFrame(columns=[*EVALUATION, "measure", *columns])
    return pd.concat(parts, ignore_index=True).reindex(columns=empty.columns) if parts else empty


# ---- how numbers are printed


def number(value: float, form: str = ".2f") -> str:
    """Return a number as tables print it: "-" for NaN."""
    return "-" if math.isnan(value) else f"{value:{form}}"


def interval(low: float, high: float, form: str = ".2f") -> str:
    """Return an interval as tables print it: "-" for NaN."""
    return "-" if math.isnan(low) else f"[{low:{form}}, {high:{form}}]"


def effect(mean: float, low: float, high: float, form: str = "+z.2f") -> str:
    """Return a difference with its interval, if it has one."""
    return f"{number(mean, form)} {interval(low, high, form)}".removesuffix(" -")


def p_value(p: float) -> str:
    """Return a p-value as tables print it: "-" for NaN."""
    return "< 0.001" if p < 0.001 else number(p, ".3f")
