"""Verdicts against scipy, against numbers worked out by hand, and on simulated runs of which the truth is known."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from smoothmix.reporting import claims, statistics
from smoothmix.reporting.claims import Claim, by_margin, judge
from tests.mistakes import refused

SUPPORTED, CONTRADICTED, UNDECIDED = "supported", "contradicted", "undecided"


def claim(name, row="A", to=("B",), endpoint="last_top1", **kind):
    return Claim(id=name, sentence=name, source="-", row=row, to=to, endpoint=endpoint, **kind)


def runs_of(**rows):
    """Frame of rows with errors of seed 0, 1, ...; None for a seed that was not run."""
    lines = [
        {"row": row, "seed": seed, "last_top1": value, "data_fingerprint": None}
        for row, values in rows.items()
        for seed, value in enumerate(values)
        if value is not None
    ]
    return pd.DataFrame(lines, columns=["row", "seed", "last_top1", "data_fingerprint"])


def one(runs, asked):
    (line,) = judge(runs, [asked]).itertuples()
    return line


@pytest.fixture
def random_runs():
    values = np.random.default_rng(3).normal([[30.0], [30.6], [29.9]], 0.5, (3, 7))
    return runs_of(A=values[0], B=values[1], C=values[2]), values


def test_a_paired_t_test_by_hand():
    """Differences -1, -2, -3: mean -2, deviation 1, t = -2 sqrt 3; t(2) has P(T < t) = 1/2 + t / (2 sqrt(2 + t^2))."""
    line = one(runs_of(A=[10, 20, 30], B=[11, 22, 33]), claim("ab", direction="less"))
    t = -2 * math.sqrt(3)
    p = 2 * (0.5 + t / (2 * math.sqrt(2 + t * t)))
    half = 4.302652729911275 / math.sqrt(3)  # the 97.5 % point of t(2) by the inverse of the same formula
    assert (line.n, line.effect, line.verdict) == (3, -2.0, UNDECIDED)
    assert line.p == pytest.approx(p, rel=1e-9)
    assert (line.low, line.high) == pytest.approx((-2 - half, -2 + half), rel=1e-9)
    assert math.isnan(line.p_holm)


def test_directions_are_scipys_paired_t_test(random_runs):
    runs, (a, b, _) = random_runs
    expected = stats.ttest_rel(a, b)
    for direction, verdict in (("less", SUPPORTED), ("greater", CONTRADICTED)):
        line = one(runs, claim("ab", direction=direction))
        assert line.p == pytest.approx(expected.pvalue)
        assert (line.low, line.high) == pytest.approx(tuple(expected.confidence_interval()))
        assert line.verdict == verdict
    # the sign of the difference: the other way round it is the other verdict
    assert one(runs, claim("ba", row="B", to=("A",), direction="less")).verdict == CONTRADICTED


@pytest.mark.parametrize("direction", ["less", "greater"])
def test_a_margin_shifts_the_difference(random_runs, direction):
    runs, (a, _, c) = random_runs
    sign = 1 if direction == "less" else -1
    line = one(runs, claim("ac", to=("C",), direction=direction, margin=0.8))
    assert line.p == pytest.approx(stats.ttest_1samp(a - c, sign * 0.8).pvalue)
    assert (stats.ttest_1samp(sign * (a - c), 0.8, alternative="less").pvalue < 0.025) == (line.verdict == SUPPORTED)


def test_a_number_is_a_test_of_one_sample(random_runs):
    runs, (a, _, _) = random_runs
    line = one(runs, claim("a", to=31.0, direction="less"))
    assert line.p == pytest.approx(stats.ttest_1samp(a, 31.0).pvalue)
    assert (line.verdict, line.effect) == (SUPPORTED, pytest.approx(a.mean() - 31))


def test_equivalence_is_two_one_sided_tests(random_runs):
    runs, (a, _, c) = random_runs
    for margin in (0.2, 0.8):
        line = one(runs, claim("ac", to=("C",), within=margin))
        above = stats.ttest_1samp(a - c, -margin, alternative="greater").pvalue
        below = stats.ttest_1samp(a - c, margin, alternative="less").pvalue
        assert line.p == pytest.approx(min(1, 2 * max(above, below), 2 * min(1 - above, 1 - below)))
        inside = -margin < line.low and line.high < margin  # the interval alone decides
        assert line.verdict == (SUPPORTED if inside else UNDECIDED)
    assert one(runs_of(A=[1, 2, 3, 4], B=[5, 6.1, 7, 8.1]), claim("ab", within=1.0)).verdict == CONTRADICTED
    assert one(runs_of(B=[1, 2, 3, 4], A=[5, 6.1, 7, 8.1]), claim("ab", within=1.0)).verdict == CONTRADICTED


def test_pitman_morgan():
    """The statistic that Pitman gives: t = (F - 1) sqrt(n - 2) / (2 sqrt((1 - r^2) F)), F the ratio of variances."""
    generator = np.random.default_rng(5)
    a = generator.normal(0, 1.0, 9)
    b = 0.5 * a + generator.normal(0, 3.0, 9)
    runs, n = runs_of(A=a, B=b), 9
    ratio, r = a.var() / b.var(), np.corrcoef(a, b)[0, 1]
    t = (ratio - 1) * math.sqrt(n - 2) / (2 * math.sqrt((1 - r**2) * ratio))
    line = one(runs, claim("ab", stable=True))
    assert line.p == pytest.approx(2 * stats.t.sf(abs(t), n - 2))
    assert (line.verdict, line.measure, line.effect) == (SUPPORTED, "ratio of deviations", pytest.approx(ratio**0.5))
    assert one(runs, claim("ba", row="B", to=("A",), stable=True)).verdict == CONTRADICTED
    # at the ends of the interval the test of that ratio has p = 0.05: B scaled by it, and tested again
    for end in (line.low, line.high):
        assert one(runs_of(A=a, B=b * end), claim("ab", stable=True)).p == pytest.approx(0.05)


def test_against_several_rows(random_runs):
    runs, (a, b, c) = random_runs
    lines = judge(runs, [claim("abc", to=("B", "C"), direction="less")])
    ab, ac = stats.ttest_rel(a, b).pvalue, stats.ttest_rel(a, c).pvalue
    assert list(lines["to"]) == ["B", "C"]
    assert list(lines["p"]) == pytest.approx([max(ab, ac)] * 2)
    assert set(lines["verdict"]) == {UNDECIDED}
    lines = judge(runs, [claim("bac", row="B", to=("A", "C"), direction="less")])
    assert list(lines["p"]) == pytest.approx([2 * min(ab, stats.ttest_rel(b, c).pvalue)] * 2)
    assert set(lines["verdict"]) == {CONTRADICTED}


def test_holm_over_the_primary_claims_by_hand(monkeypatch):
    """p 0.012, 0.03, 0.02 and one that was not run: times 4, then 3 (0.06), then 2 raised to the one before."""
    values = {"A": 0.012, "B": 0.03, "C": 0.02}

    def known(asked, *_):
        p = values.get(asked.row, math.nan)
        return claims.Comparison(5 if asked.row in values else 0, -1.0, -2.0, 0.0, p, 2 - p)

    monkeypatch.setattr(claims, "compare", known)
    asked = [claim(row, row=row, to=("E",), direction="less", primary=True) for row in "ABCD"]
    asked.append(claim("secondary", to=("E",), direction="less"))
    table = judge(runs_of(A=[1], B=[1], C=[1], E=[1]), asked).set_index("id")
    assert dict(table["p_holm"].dropna()) == pytest.approx({"A": 0.048, "B": 0.06, "C": 0.06})
    assert list(table["verdict"]) == [SUPPORTED, UNDECIDED, UNDECIDED, "undecided (n=0)", SUPPORTED]


def test_only_common_seeds_are_pairs():
    runs = runs_of(A=[1, 2, None, 4, 9], B=[3, None, 4, 5, 10.5])
    line = one(runs, claim("ab", direction="less"))
    assert (line.n, line.effect) == (3, pytest.approx(-1.5))


@pytest.mark.parametrize(
    ("rows", "kind", "verdict"),
    [
        ({"A": [1]}, {"direction": "less"}, "undecided (n=0)"),
        ({"A": [1], "B": [2]}, {"within": 1.0}, "undecided (n=1)"),
        ({"A": [1, 3], "B": [2, 9]}, {"stable": True}, "undecided (n=2)"),
        ({"A": [1, 2], "B": [2, 3]}, {"direction": "less"}, UNDECIDED),  # no spread: no test
        ({"A": [0.1, 0.2, 0.3], "B": [0.4, 0.5, 0.6]}, {"direction": "less"}, UNDECIDED),  # none but rounding
        ({"A": [5, 5, 5], "B": [5, 5, 5]}, {"within": 1.0}, UNDECIDED),
        ({"A": [5, 5, 5], "B": [5, 5, 5]}, {"stable": True}, UNDECIDED),
        ({"A": [5, 5, 5], "B": [5, 6, 7]}, {"stable": True}, UNDECIDED),
    ],
)
def test_too_few_pairs_and_pairs_without_spread(rows, kind, verdict):
    assert one(runs_of(**rows), claim("ab", **kind)).verdict == verdict


def test_detectable_has_the_power_that_it_says():
    """scipy's noncentral t for the t tests; simulation for stability, where Fisher's approximation stands behind it."""
    generator = np.random.default_rng(0)
    a, b = generator.normal(0, 1, (2, 12))
    runs, deviation = runs_of(A=a, B=b), np.std(a - b, ddof=1)
    primary = [claim(str(number), direction="less", primary=True) for number in range(3)]
    for asked, alpha in ((single := [claim("s", direction="less")], 0.05), (primary, 0.05 / 3)):
        line = judge(runs, asked).iloc[0]
        shift = line.detectable / deviation * math.sqrt(12)
        assert stats.nct.sf(stats.t.ppf(1 - alpha / 2, 11), 11, shift) == pytest.approx(0.8, abs=1e-4)
    within = one(runs, replace(single[0], direction=None, within=1.0)).detectable
    draws = generator.normal(0, deviation, (20_000, 12))
    half = stats.t.ppf(0.975, 11) * draws.std(axis=1, ddof=1) / math.sqrt(12)
    assert (np.abs(draws.mean(axis=1)) + half < within).mean() == pytest.approx(0.8, abs=0.02)
    ratio = one(runs, replace(single[0], direction=None, stable=True)).detectable
    r = np.corrcoef(a, b)[0, 1]
    pairs = generator.multivariate_normal([0, 0], [[ratio**2, r * ratio], [r * ratio, 1]], (4000, 12))
    x, y = pairs[..., 0] + pairs[..., 1], pairs[..., 0] - pairs[..., 1]
    p = stats.pearsonr(x, y, axis=1).pvalue
    assert (p < 0.05).mean() == pytest.approx(0.8, abs=0.05)


@pytest.mark.slow
def test_wrong_verdicts_are_rare_over_the_whole_procedure(monkeypatch):
    """Every primary claim at the edge of its hypothesis, 8 seeds, rows correlated: at most 5 % of tables may err.

    100 tables: the bound is three standard errors above 5 %. Without Holm's correction a third of them err.
    """
    monkeypatch.setattr(claims, "detectable", lambda *_: math.nan)  # slow, and in no verdict
    monkeypatch.setattr("gc.collect", lambda *_: 0)  # statsmodels calls it each time
    monkeypatch.setattr(statistics, "EXACT", 0)
    generator = np.random.default_rng(7)
    asked = [
        claim("less", direction="less", primary=True),
        claim("within", to=("C",), within=1.0, primary=True),
        claim("several", to=("D", "E"), direction="less", margin=0.5, primary=True),
        claim("stable", row="B", to=("F",), stable=True, primary=True),
        *(claim(f"pair {row}", row=row, to=(to,), direction="less", primary=True) for row, to in ("BG", "FH", "GI")),
    ]
    means = {"A": 0.0, "B": 0.0, "C": 1.0, "D": -0.5, "E": -0.5, "F": 0.0, "G": 0.0, "H": 0.0, "I": 0.0}
    wrong = uncorrected = 0
    for _ in range(100):
        common = generator.normal(0, 1, 8)
        runs = runs_of(**{row: mean + common + generator.normal(0, 0.7, 8) for row, mean in means.items()})
        table = judge(runs, asked).drop_duplicates("id").set_index("id")
        erring = table["verdict"].isin([SUPPORTED, CONTRADICTED])
        wrong += erring.any()
        uncorrected += (table["p"].drop("within") < 0.05).any()
    assert wrong / 100 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 100)
    assert uncorrected / 100 > 0.15


def test_a_verdict_at_the_margin_is_wrong_in_one_of_twenty(monkeypatch):
    """The true difference is the margin itself: supported and contradicted together may be said in 5 % of 1,000."""
    monkeypatch.setattr(statistics, "EXACT", 0)
    monkeypatch.setattr("gc.collect", lambda *_: 0)  # statsmodels calls it each time
    draws, asked = np.random.default_rng(3).normal(1.0, 0.7, (1000, 6)), claim("ab", within=1.0)
    found = [claims.compare(asked, pd.Series(draw), 0.0) for draw in draws]
    said = [min(one.p_for, one.p_against) < 0.05 for one in found]
    assert np.mean(said) == pytest.approx(0.05, abs=3 * math.sqrt(0.05 * 0.95 / 1000))


def test_a_trend_is_judged_on_differences_within_each_number():
    rows = {"A1": [10, 12, 11], "B1": [20, 22.2, 20.9], "A2": [5, 6, 5.5], "B2": [6.1, 7, 6.4]}
    trend = {10.0: ("A1", "B1"), 1000.0: ("A2", "B2")}
    line = one(runs_of(**rows), Claim(id="t", sentence="t", source="-", endpoint="last_top1", trend=trend))
    first, second = (np.subtract(rows[a], rows[b]) for a, b in trend.values())
    test = stats.ttest_ind(second, first, equal_var=False)  # of two groups, the contrast is Welch's test
    assert (line.effect, line.p) == (pytest.approx((second.mean() - first.mean()) / 2), pytest.approx(test.pvalue))
    assert (line.n, line.verdict, line.measure) == (3, SUPPORTED, "slope")


def test_rows_on_different_images_are_not_compared(random_runs):
    runs, _ = random_runs
    runs["data_fingerprint"] = runs["row"]
    with refused("A", "B", "images"):
        judge(runs, [claim("ab", direction="less")])


def test_how_a_verdict_moves_with_its_margin():
    runs = runs_of(A=[1.0, 1.2, 0.8, 1.1], B=[0.3, 0.6, 0.2, 0.4])  # 0.6 to 0.7 apart
    line = by_margin(runs, [claim("ab", within=1.0), claim("plain", direction="less")]).iloc[0]
    verdicts = {name: line[f"{name} points"] for name in ("0.25", "0.5", "1", "1.5", "2")}
    assert verdicts == {"0.25": CONTRADICTED, "0.5": CONTRADICTED, "1": SUPPORTED, "1.5": SUPPORTED, "2": SUPPORTED}
