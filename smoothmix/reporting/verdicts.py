"""Judging claims on runs that are paired by seed: tests, Holm's correction, verdicts, and what n seeds can show.

Runs of one seed share initialisation, order, crops and flips, so every test is about the differences within pairs.
A claim can be supported and it can be contradicted, and there is a p-value for either:

- direction: the two-sided paired t test of the difference against the margin (0 without one).
- within: supported by two one-sided t tests (TOST; Schuirmann 1987, J. Pharmacokinet. Biopharm. 15, 657-680),
  contradicted by a two-sided t test that puts the difference beyond a margin.
- stable: the Pitman-Morgan test (Pitman 1939, Morgan 1939, Biometrika 31, 9-12 and 13-19): two variances are equal if
  and only if sum and difference are uncorrelated. Unlike the F test and Levene's it allows the two rows to be
  correlated, as rows with common seeds are. Two-sided; for normal errors.
- against several rows: supported if it is against each (intersection-union test: the largest p), contradicted if it is
  against any (Bonferroni).

The smaller p decides: *supported* or *contradicted* below 5 %, after Holm's correction if the claim is primary, and
else *undecided*. Claims without runs count among the primary ones.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower
from statsmodels.stats.weightstats import DescrStatsW

from smoothmix.reporting.claims import Claim

ALPHA, POWER = 0.05, 0.8
SUPPORTED, CONTRADICTED, UNDECIDED = "supported", "contradicted", "undecided"
TINY = 1e-6  # a standard deviation (of errors in % or nats) up to this is rounding
HALF = 0.5  # the ratio of standard deviations that a plan for a claim of stability is made to see


class Comparison(NamedTuple):
    """A row beside another, or a number: n pairs, the effect with its 95 % interval, p-values for and against.

    The effect is the mean difference, or of a claim of stability the ratio of the standard deviations. `deviation` is
    that of the differences, and their `correlation` that of the two rows. What n does not allow is NaN.
    """

    n: int
    effect: float = math.nan
    low: float = math.nan
    high: float = math.nan
    p_for: float = math.nan
    p_against: float = math.nan
    deviation: float = math.nan
    correlation: float = math.nan


def judge(runs: pd.DataFrame, claims: Sequence[Claim]) -> pd.DataFrame:
    """Judge `claims` on `runs`, which has the columns row, seed, and the endpoints that the claims name.

    Returns:
        a line for each claim and row it is compared to: id, sentence, source, primary, endpoint, row, to, measure
        ("difference" or "ratio of deviations"), n, effect, low, high (95 % interval), p and p_holm (of the claim;
        p_holm NaN unless it is primary), verdict, and detectable: the smallest effect that n seeds had an 80 % chance
        to see, at the level of Holm's first step if the claim is primary.
    """
    rows, values = [], []
    for claim, level, comparisons in _compared(runs, claims):
        values.append(_verdict(claim, list(comparisons.values())))
        for other, comparison in comparisons.items():
            rows.append(
                _identity(claim, other)
                | {key: getattr(comparison, key) for key in ("n", "effect", "low", "high")}
                | {"p": values[-1][0], "detectable": detectable(claim, comparison, level)}
            )
    judged = pd.DataFrame(rows)
    p_holm = _holm(claims, [p for p, _ in values])
    judged.insert(judged.columns.get_loc("p") + 1, "p_holm", judged["id"].map(p_holm))
    verdicts = {}
    for claim, (p, side) in zip(claims, values, strict=True):
        decided = (p_holm[claim.id] if claim.primary else p) < ALPHA
        verdicts[claim.id] = side if decided or side.startswith(UNDECIDED) else UNDECIDED
    judged["verdict"] = judged["id"].map(verdicts)
    return judged


def plan(runs: pd.DataFrame, claims: Sequence[Claim], effect: float) -> pd.DataFrame:
    """Return how many seeds each comparison asks for, from the deviation in the `runs` of a pilot.

    Args:
        runs: as for :func:`judge`.
        claims: of the table.
        effect: the difference that a direction without a margin should show. With a margin, or within one, the true
            difference is taken to be 0; of a claim of stability, the ratio of deviations to be one half.

    Returns:
        id, sentence, primary, endpoint, row, to, n (of the pilot), deviation, effect, seeds (NaN where the pilot has
        too few pairs), for a power of 80 % at the level of Holm's first step if the claim is primary.
    """
    rows = []
    for claim, level, comparisons in _compared(runs, claims):
        for other, comparison in comparisons.items():
            aim = HALF if claim.stable else claim.within or claim.margin or effect
            rows.append(
                _identity(claim, other)
                | {"n": comparison.n, "deviation": comparison.deviation, "effect": aim}
                | {"seeds": _seeds(claim, comparison, aim, level)}
            )
    return pd.DataFrame(rows)


def _compared(
    runs: pd.DataFrame, claims: Sequence[Claim]
) -> Iterator[tuple[Claim, float, dict[str | float, Comparison]]]:
    """Yield each claim, the level that it is tested at first, and its comparisons to each row, or to the number."""
    tables, primary = by_row(runs, claims), sum(claim.primary for claim in claims)
    for claim in claims:
        others = claim.to if isinstance(claim.to, tuple) else (claim.to,)
        compared = {other: compare(claim, *pairs(tables[claim.endpoint], claim.row, other)) for other in others}
        yield claim, ALPHA / primary if claim.primary else ALPHA, compared


def by_row(runs: pd.DataFrame, claims: Iterable[Claim]) -> dict[str, pd.DataFrame]:
    """Return, for each endpoint of the claims, its values with a line for each seed and a column for each row."""
    endpoints = dict.fromkeys(claim.endpoint for claim in claims)
    return {name: runs.pivot(index="seed", columns="row", values=name).astype(float) for name in endpoints}


def pairs(values: pd.DataFrame, row: str, other: str | float) -> tuple["pd.Series[float]", "pd.Series[float]"]:
    """Return the `values` (seed by row) of a row and of the `other`, or the number, of the seeds that both have."""
    first = values.get(row, pd.Series(dtype=float))
    second = values.get(other, pd.Series(dtype=float)) if isinstance(other, str) else pd.Series(other, first.index)
    both = pd.concat([first, second], axis=1).dropna()
    return both.iloc[:, 0], both.iloc[:, 1]


def compare(claim: Claim, first: "pd.Series[float]", second: "pd.Series[float]") -> Comparison:
    """Test a claim on pairs of values, as the module says; NaN for too few pairs, or for values without spread."""
    n, differences = len(first), first - second
    deviation = float(differences.std())
    if n < 2 or not deviation > TINY:
        return Comparison(n, float(differences.mean()), deviation=deviation)
    if claim.stable:
        return _pitman_morgan(first, second)
    mean, summary = float(differences.mean()), DescrStatsW(differences)
    low, high = summary.tconfint_mean()
    if claim.within is not None:
        p_for, _, _ = summary.ttost_mean(-claim.within, claim.within)
        beyond = [
            summary.ttest_mean(bound, alternative)[1]
            for bound, alternative in ((claim.within, "larger"), (-claim.within, "smaller"))
        ]
        p_against = 2 * min(beyond)
    else:
        sign = 1 if claim.direction == "less" else -1
        p_for = 2 * summary.ttest_mean(sign * claim.margin, "smaller" if sign > 0 else "larger")[1]
        p_against = 2 - p_for
    return Comparison(n, mean, low, high, min(1.0, p_for), min(1.0, p_against), deviation)


def _pitman_morgan(first: "pd.Series[float]", second: "pd.Series[float]") -> Comparison:
    """Compare two variances of paired values; the interval of their ratio is Morgan's (1939)."""
    n, a, b, deviation = len(first), float(first.std()), float(second.std()), float((first - second).std())
    if n < 3 or min(a, b, float((first + second).std())) <= TINY:
        return Comparison(n, a / b if b > TINY else math.nan, deviation=deviation)
    ratio, correlation = a / b, float(first.corr(second))
    test = stats.pearsonr(first + second, first - second, alternative="less")
    t = stats.t.ppf(1 - ALPHA / 2, n - 2)
    middle = 1 + 2 * (1 - correlation**2) * t**2 / (n - 2)
    spread = math.sqrt(middle**2 - 1)
    low, high = (ratio * math.sqrt(max(0.0, middle + step)) for step in (-spread, spread))
    p_for = 2 * float(test.pvalue)
    return Comparison(n, ratio, low, high, min(1.0, p_for), min(1.0, 2 - p_for), deviation, correlation)


def detectable(claim: Claim, comparison: Comparison, alpha: float) -> float:
    """Return the smallest effect that n pairs see with a power of 80 %, given their deviation; NaN for too few.

    In the endpoint's unit: the difference, of a claim within a margin the smallest margin if the true difference is 0,
    of one of stability the ratio of deviations, below 1 (Fisher's approximation for a correlation).
    """
    n = comparison.n
    if claim.stable:
        if n < 4 or math.isnan(comparison.correlation):
            return math.nan
        rho = math.tanh((stats.norm.ppf(1 - alpha / 2) + stats.norm.ppf(POWER)) / math.sqrt(n - 3))
        # the correlation of sum and difference is (1 - v) / sqrt((1 + v)^2 - 4 r^2 v), with v the ratio of variances
        middle = (1 + rho**2 * (1 - 2 * comparison.correlation**2)) / (1 - rho**2)
        return math.sqrt(middle - math.sqrt(middle**2 - 1))
    if n < 2 or not comparison.deviation > TINY:
        return math.nan
    level, power = _one_sided(claim, alpha)
    size = TTestPower().solve_power(nobs=n, alpha=level, power=power, alternative="larger")
    return float(size) * comparison.deviation


def _seeds(claim: Claim, comparison: Comparison, effect: float, alpha: float) -> float:
    if comparison.n < 2 or not comparison.deviation > TINY:
        return math.nan
    if claim.stable:
        candidates = (comparison._replace(n=n) for n in range(4, 10_000))
        return next((other.n for other in candidates if detectable(claim, other, alpha) >= effect), math.nan)
    level, power = _one_sided(claim, alpha)
    size = TTestPower().solve_power(effect / comparison.deviation, alpha=level, power=power, alternative="larger")
    return max(2, math.ceil(float(np.squeeze(size))))


def _one_sided(claim: Claim, alpha: float) -> tuple[float, float]:
    """Return level and power of the one-sided t test that decides.

    A two-sided test at `alpha` is one at half of it, since at this power the other side is never reached. Two one-sided
    tests are each at `alpha`, and if the true difference is 0 each may miss half as often.
    """
    return (alpha, (1 + POWER) / 2) if claim.within is not None else (alpha / 2, POWER)


def _verdict(claim: Claim, comparisons: Sequence[Comparison]) -> tuple[float, str]:
    """Return the p of a claim and the verdict that it has if that is small enough."""
    n = min(comparison.n for comparison in comparisons)
    if n < (3 if claim.stable else 2):
        return math.nan, f"{UNDECIDED} (n={n})"
    p_for = max((comparison.p_for for comparison in comparisons), key=lambda p: math.inf if math.isnan(p) else p)
    known = [comparison.p_against for comparison in comparisons if not math.isnan(comparison.p_against)]
    p_against = min(1.0, len(comparisons) * min(known, default=math.nan))
    if math.isnan(p_for) or p_against < p_for:
        return p_against, CONTRADICTED
    return p_for, SUPPORTED


def _holm(claims: Sequence[Claim], values: Sequence[float]) -> dict[str, float]:
    """Return {id: p after Holm's correction over the primary claims}; one without a p counts with 1."""
    adjusted = dict.fromkeys((claim.id for claim in claims), math.nan)
    primary = [(claim.id, p) for claim, p in zip(claims, values, strict=True) if claim.primary]
    if primary:
        whole = [1.0 if math.isnan(p) else p for _, p in primary]
        corrected = multipletests(whole, ALPHA, "holm")[1]
        for (name, p), value in zip(primary, corrected, strict=True):
            adjusted[name] = math.nan if math.isnan(p) else float(value)
    return adjusted


def _identity(claim: Claim, other: str | float) -> dict[str, object]:
    named = {key: getattr(claim, key) for key in ("id", "sentence", "source", "primary", "endpoint", "row")}
    return {**named, "to": other, "measure": "ratio of deviations" if claim.stable else "difference"}
