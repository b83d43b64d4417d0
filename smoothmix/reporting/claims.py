"""Claims about the rows of a table, judged on runs that are paired by seed.

A claim can be supported and it can be contradicted, and there is a p-value for either:

- direction: the two-sided paired t test of the difference against the margin (0 without one).
- within: supported if the 95 % interval of the difference lies within the margin, contradicted if it lies beyond it.
  That is two one-sided tests at 2.5 % each (Schuirmann 1987, J. Pharmacokinet. Biopharm. 15, 657-680), so that of
  differences at the margin itself 5 % get a verdict.
- stable: the Pitman-Morgan test (Pitman 1939, Morgan 1939, Biometrika 31, 9-12 and 13-19): two variances are equal if
  and only if sum and difference are uncorrelated. Unlike the F test and Levene's it allows the two rows to be
  correlated, as rows with common seeds are. Two-sided; for normal errors.
- trend: the slope over log10 of a number (:func:`smoothmix.reporting.statistics.trend`), two-sided.
- against several rows: supported if it is against each (intersection-union test: the largest p), contradicted if it is
  against any (Bonferroni).

The smaller p decides: *supported* or *contradicted* below 5 %, after Holm's correction if the claim is primary, and
else *undecided*. Claims without runs count among the primary ones.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import pandas as pd
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

from smoothmix.evaluation.averages import CATEGORIES
from smoothmix.evaluation.corrupted import CorruptedEvaluation
from smoothmix.reporting.frames import TOP1, Results
from smoothmix.reporting.page import Block, Markdown, heading, items
from smoothmix.reporting.statistics import ALPHA, TINY, averages, by_seed, effect, number, p_value, paired, pairs, trend
from smoothmix.reporting.tables import evaluated
from smoothmix.utils.errors import UserError

POWER = 0.8
SUPPORTED, CONTRADICTED, UNDECIDED = "supported", "contradicted", "undecided"
MARGINS = (0.25, 0.5, 1.0, 1.5, 2.0)  # points at which a claim about a margin is shown
# top-1 error in % on the clean test set, unless it says otherwise; all are better when lower
ENDPOINTS = {
    "last_top1": "top-1 error after the last epoch",
    "best_top1": "top-1 error of the best epoch, chosen on the test set unless images were held out",
    "last_top5": "top-5 error after the last epoch",
    "test_loss": "mean cross-entropy on the test set after the last epoch, in nats",
    "corrupted": "mean top-1 error over all corruptions and severities",
    **{name: f"mean top-1 error over the corruptions of the category {name}" for name in CATEGORIES},
    "corruption_gap": "mean top-1 error over all corruptions minus that on the same images without corruption",
}
DIRECTIONS = ("less", "greater")
LEGEND = f"""Differences are within pairs of one seed. The effect is the mean difference (first row minus second, in the
endpoint's unit), for a claim of stability the ratio of the standard deviations, for a trend the slope per tenfold
number, with its 95 % interval. Intervals are over seeds, given the test images. A claim is *supported* or
*contradicted* at p < {ALPHA}, otherwise *undecided*, which is no evidence against it where *detectable*, the smallest
effect (for a margin on both sides, the smallest margin) that so many seeds had an 80 % chance of detecting, is larger
than the effect that matters. p is from the two-sided paired t test, from two one-sided tests for a margin on both
sides, from the Pitman-Morgan test for stability, from Welch's contrast for a trend; *exact p* is from all changes of
sign, without correction. A claim against several rows is supported if it is supported against each of them; they share
one p.""".replace("\n", " ")


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A sentence about `row` and what it is compared `to`, and what has to be true of an `endpoint` for it to hold.

    With d the difference of the endpoint's expected values, `row` minus the other:

    - direction "less": d < margin; "greater": d > -margin. A margin above 0 asks only not to be worse by that much.
    - within: abs(d) < within.
    - stable: the standard deviation over seeds is less than the other row's.
    - trend: d changes with a number, {number: (row, other)}; there is no `row` and `to`.

    `to` is a number, or rows; the claim holds if it holds against each of them.
    """

    id: str
    sentence: str
    source: str
    endpoint: str
    row: str = ""
    to: tuple[str, ...] | float = ()
    direction: str | None = None
    margin: float = 0.0
    within: float | None = None
    stable: bool = False
    trend: Mapping[float, tuple[str, str]] | None = None
    primary: bool = False

    @property
    def asked(self) -> str:
        """What is asked of the effect."""
        if self.trend:
            return "not 0"
        if self.stable:
            return "ratio < 1"
        if self.within is not None:
            return f"within ±{self.within:g}"
        sign, bound = ("<", self.margin) if self.direction == "less" else (">", -self.margin)
        return f"{sign} {bound:g}" if bound else f"{sign} 0"


class Comparison(NamedTuple):
    """A row beside another, or a number: n pairs, the effect with its 95 % interval, p-values for and against.

    The effect is the mean difference, of a claim of stability the ratio of the standard deviations, of a trend the
    slope. `deviation` is that of the differences, `correlation` that of the two rows. What n does not allow is NaN.
    """

    n: int
    effect: float = math.nan
    low: float = math.nan
    high: float = math.nan
    p_for: float = math.nan
    p_against: float = math.nan
    p_exact: float = math.nan
    deviation: float = math.nan
    correlation: float = math.nan


def endpoints(results: Results, evaluation: CorruptedEvaluation | None) -> pd.DataFrame:
    """Return row, seed, fingerprint and :data:`ENDPOINTS` of each run of labelled results; NaN: not measured."""
    values = results.runs.set_index("run")
    if evaluation is not None:
        errors, _ = evaluated(results, evaluation)
        values = values.join(averages(errors[errors["measure"] == TOP1]).set_index("run"))
    return values.reindex(columns=["row", "seed", "data_fingerprint", *ENDPOINTS]).reset_index(drop=True)


def judge(values: pd.DataFrame, claims: Sequence[Claim]) -> pd.DataFrame:
    """Judge `claims` on the `values` that :func:`endpoints` returns.

    Returns:
        a line for each claim and row it is compared to: id, sentence, source, primary, endpoint, row, to, asked,
        measure ("difference", "ratio of deviations" or "slope"), n, effect, low, high (95 % interval), p, p_holm (of
        the claim; p_holm NaN unless it is primary), p_exact, detectable (the smallest effect that n seeds had an 80 %
        chance to see, at the level of Holm's first step if the claim is primary), verdict.
    """
    primary = sum(claim.primary for claim in claims)
    rows, decided = [], []
    for claim in claims:
        level = ALPHA / primary if claim.primary else ALPHA
        compared = _compared(claim, values)
        p, side = _verdict(claim, list(compared.values()))
        decided.append((p, side))
        measure = "slope" if claim.trend else "ratio of deviations" if claim.stable else "difference"
        for (row, other), found in compared.items():
            named = {key: getattr(claim, key) for key in ("id", "sentence", "source", "primary", "endpoint", "asked")}
            rows.append(
                named
                | {"row": row, "to": other, "measure": measure}
                | {key: getattr(found, key) for key in ("n", "effect", "low", "high")}
                | {"p": p, "p_exact": found.p_exact, "detectable": detectable(claim, found, level)}
            )
    judged = pd.DataFrame(rows)
    p_holm = _holm(claims, [p for p, _ in decided])
    judged.insert(judged.columns.get_loc("p_exact"), "p_holm", judged["id"].map(p_holm))
    verdicts = {}
    for claim, (p, side) in zip(claims, decided, strict=True):
        significant = (p_holm[claim.id] if claim.primary else p) < ALPHA
        verdicts[claim.id] = side if significant or side.startswith(UNDECIDED) else UNDECIDED
    return judged.assign(verdict=judged["id"].map(verdicts))


def by_margin(values: pd.DataFrame, claims: Sequence[Claim]) -> pd.DataFrame:
    """Return the verdict of each claim with a margin at each of :data:`MARGINS`, the other claims being as they are."""
    lines = []
    for place, claim in enumerate(claims):
        if not (planned := claim.within or claim.margin):
            continue
        line = {"claim": claim.id, "margin in the plan": f"{planned:g}"}
        for margin in MARGINS:
            moved = replace(claim, within=margin) if claim.within is not None else replace(claim, margin=margin)
            changed = [*claims[:place], moved, *claims[place + 1 :]]
            judged = judge(values, changed)
            line[f"{margin:g} points"] = judged.loc[judged["id"] == claim.id, "verdict"].iloc[0]
        lines.append(line)
    return pd.DataFrame(lines)


def blocks(judged: pd.DataFrame, margins: pd.DataFrame) -> list[Block]:
    """Return what :func:`judge` and :func:`by_margin` found, as blocks of a page."""
    found: list[Block] = []
    for primary, title in ((True, "Primary claims, corrected with Holm"), (False, "Secondary claims, not corrected")):
        of_kind = judged[judged["primary"] == primary]
        if of_kind.empty:
            continue
        lines = [
            {
                "claim": f"{line.sentence} ({line.source})",
                "endpoint": line.endpoint,
                "comparison": comparison(line),
                "asked": line.asked,
                "n": line.n,
                "effect [95 % interval]": effect_of(line),
                "p": p_value(line.p_holm if primary else line.p),
                "exact p": p_value(line.p_exact),
                "detectable": number(line.detectable),
                "verdict": line.verdict,
            }
            for line in of_kind.itertuples()
        ]
        found += [heading(title, 3), pd.DataFrame(lines).astype(str)]
    found.append(Markdown(LEGEND))
    if not margins.empty:
        found += ["How the verdicts move with the margin, the other claims being judged as planned:", margins]
    names = dict.fromkeys(judged["endpoint"])
    return [*found, items(Markdown(f"`{name}`: {ENDPOINTS[name]}") for name in names)]


def comparison(line: Any) -> str:
    """Return the rows that a line of :func:`judge` compares."""
    return f"{line.row} / {line.to if isinstance(line.to, str) else format(line.to, 'g')}"


def effect_of(line: Any) -> str:
    """Return the effect of a line of :func:`judge` with its interval."""
    return effect(line.effect, line.low, line.high, ".2f" if line.measure == "ratio of deviations" else "+z.2f")


def _compared(claim: Claim, values: pd.DataFrame) -> dict[tuple[str, str | float], Comparison]:
    _refuse_other_images(claim, values)
    wide = by_seed(values.astype({claim.endpoint: float}), claim.endpoint, "row")
    of = {row: wide[row] for row in wide}
    nothing = pd.Series(dtype=float)
    if claim.trend:
        groups = {}
        for key, (row, other) in claim.trend.items():
            both = pairs(of.get(row, nothing), of.get(other, nothing))
            groups[key] = both["first"] - both["second"]
        slope = trend(groups)
        found = Comparison(slope.n, slope.mean, slope.low, slope.high, slope.p, 1.0, deviation=slope.std)
        rows = [row for row, _ in claim.trend.values()]
        return {(" to ".join((rows[0], rows[-1])), "per tenfold number"): found}
    others = claim.to if isinstance(claim.to, tuple) else (claim.to,)
    first = of.get(claim.row, nothing)
    return {
        (claim.row, other): compare(claim, first, of.get(other, nothing) if isinstance(other, str) else other)
        for other in others
    }


def _refuse_other_images(claim: Claim, values: pd.DataFrame) -> None:
    """Raise UserError if rows that are subtracted were trained on different images."""
    others = claim.to if isinstance(claim.to, tuple) else ()
    for one, other in claim.trend.values() if claim.trend else [(claim.row, other) for other in others]:
        of_both = values[values["row"].isin((one, other))]
        if of_both["data_fingerprint"].nunique() > 1:
            raise UserError(f"{one} and {other} were trained on different images, so their errors are not compared")


def compare(claim: Claim, first: "pd.Series[float]", second: "pd.Series[float] | float") -> Comparison:
    """Test a claim on values indexed by seed, as the module says; NaN for too few pairs, or without a spread."""
    if claim.stable:
        return _pitman_morgan(pairs(first, second))
    if claim.within is None:
        sign = 1 if claim.direction == "less" else -1
        found = paired(first, second, sign * claim.margin)
        p_for = found.p if sign * found.mean < claim.margin else 2 - found.p
        p_against = 2 - p_for
    else:
        found = paired(first, second)
        above, below = (paired(first, second, bound) for bound in (claim.within, -claim.within))
        # one-sided tests, doubled: each side decides at 2.5 %
        p_for = max(_below(found.mean, claim.within, above.p), _below(-found.mean, claim.within, below.p))
        p_against = min(_below(claim.within, found.mean, above.p), _below(claim.within, -found.mean, below.p))
    if not found.known:
        return Comparison(found.n, found.mean, deviation=found.std)
    exact = math.nan if claim.within is not None else found.p_exact
    return Comparison(
        found.n, found.mean, found.low, found.high, min(1.0, p_for), min(1.0, p_against), exact, found.std
    )


def _below(value: float, bound: float, p: float) -> float:
    """Return twice the one-sided p for value < bound, from the two-sided p of value = bound."""
    return p if value < bound else 2 - p


def _pitman_morgan(both: pd.DataFrame) -> Comparison:
    """Compare two variances of paired values; the interval of their ratio is Morgan's (1939)."""
    first, second = both["first"], both["second"]
    n, a, b, deviation = len(both), float(first.std()), float(second.std()), float((first - second).std())
    if n < 3 or not min(a, b, float((first + second).std()), deviation) > TINY:
        return Comparison(n, a / b if b > TINY else math.nan, deviation=deviation)
    ratio, correlation = a / b, float(first.corr(second))
    test = stats.pearsonr(first + second, first - second, alternative="less")
    t = stats.t.ppf(1 - ALPHA / 2, n - 2)
    middle = 1 + 2 * (1 - correlation**2) * t**2 / (n - 2)
    spread = math.sqrt(middle**2 - 1)
    low, high = (ratio * math.sqrt(max(0.0, middle + step)) for step in (-spread, spread))
    p_for = 2 * float(test.pvalue)
    return Comparison(
        n, ratio, low, high, min(1.0, p_for), min(1.0, 2 - p_for), deviation=deviation, correlation=correlation
    )


def detectable(claim: Claim, found: Comparison, alpha: float) -> float:
    """Return the smallest effect that n pairs see with a power of 80 %, given their deviation; NaN for too few.

    In the endpoint's unit: the difference, of a claim within a margin the smallest margin if the true difference is 0,
    of one of stability the ratio of deviations, below 1 (Fisher's approximation for a correlation). Not of a trend.
    """
    n = found.n
    if claim.trend:
        return math.nan
    if claim.stable:
        if n < 4 or math.isnan(found.correlation):
            return math.nan
        rho = math.tanh((stats.norm.ppf(1 - alpha / 2) + stats.norm.ppf(POWER)) / math.sqrt(n - 3))
        # the correlation of sum and difference is (1 - v) / sqrt((1 + v)^2 - 4 r^2 v), with v the ratio of variances
        middle = (1 + rho**2 * (1 - 2 * found.correlation**2)) / (1 - rho**2)
        return math.sqrt(middle - math.sqrt(middle**2 - 1))
    if n < 2 or not found.deviation > TINY:
        return math.nan
    # a two-sided test is a one-sided one at half its level; of two one-sided tests each may miss half as often
    power = (1 + POWER) / 2 if claim.within is not None else POWER
    size = TTestPower().solve_power(nobs=n, alpha=alpha / 2, power=power, alternative="larger")
    return float(size) * found.deviation


def _verdict(claim: Claim, found: Sequence[Comparison]) -> tuple[float, str]:
    """Return the p of a claim and the verdict that it has if that is small enough."""
    n = min(comparison.n for comparison in found)
    if n < (3 if claim.stable else 2):
        return math.nan, f"{UNDECIDED} (n={n})"
    p_for = max((comparison.p_for for comparison in found), key=lambda p: math.inf if math.isnan(p) else p)
    known = [comparison.p_against for comparison in found if not math.isnan(comparison.p_against)]
    p_against = min(1.0, len(found) * min(known, default=math.nan))
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
