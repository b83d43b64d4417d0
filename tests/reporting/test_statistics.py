"""Means, paired differences, the trend and averages of corrupted images, against scipy and slow loops."""

import itertools
import math
import statistics

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from smoothmix.corruptions import CORRUPTIONS
from smoothmix.evaluation.averages import ALEXNET, ALEXNET_CLEAN, BENCHMARK, mean_corruption_error
from smoothmix.evaluation.averages import relative_mean_corruption_error as relative
from smoothmix.reporting.statistics import Mean, averages, differences, paired, trend
from tests.reporting.made import errors_of, lines_of


def series(*values, start=0):
    return pd.Series(values, index=range(start, start + len(values)), dtype=float)


def test_a_mean_has_students_interval_and_what_n_does_not_allow_is_nan():
    values = [19.0, 19.5, 18.8, 19.4, 19.2]
    mean = Mean.of(values)
    low, high = stats.t.interval(0.95, 4, statistics.mean(values), statistics.stdev(values) / math.sqrt(5))
    assert mean == pytest.approx((5, statistics.mean(values), statistics.stdev(values), 18.8, low, high))
    assert str(mean) == "19.18 ± 0.29"
    assert str(Mean.of([19.0])) == "19.00"
    assert str(Mean.of([])) == "-"
    assert math.isnan(Mean.of([1.0, math.nan]).mean)  # a missing value is not left out


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-50, 50), min_size=3, max_size=8), st.floats(-2, 2))
def test_paired_is_scipys_test_and_the_exact_p_is_that_of_all_signs(values, bound):
    values = [*values, values[0] + 1]  # not all alike
    other = np.linspace(0, 3, len(values)) ** 2
    found = paired(series(*values), series(*other), bound)
    d = np.array(values) - other
    if d.std(ddof=1) < 1e-5:
        return
    assert found.p == pytest.approx(stats.ttest_1samp(d, bound).pvalue, abs=1e-9)
    assert (found.low, found.high) == pytest.approx(tuple(stats.ttest_1samp(d, 0).confidence_interval()))
    total = abs(sum(d - bound))
    signs = itertools.product((1, -1), repeat=len(d))
    extreme = [abs(sum(s * x for s, x in zip(sign, d - bound, strict=True))) >= total - 1e-6 for sign in signs]
    assert found.p_exact == pytest.approx(sum(extreme) / 2 ** len(d))


@pytest.mark.parametrize(
    ("first", "second", "n", "mean"),
    [
        ((), (), 0, math.nan),
        ((1.0,), (3.0,), 1, -2.0),
        ((23 / 3.6, 31 / 3.6), (20 / 3.6, 28 / 3.6), 2, 3 / 3.6),  # two seeds of 360 images: equal but for rounding
        ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6), 3, -0.3),
    ],
)
def test_where_nothing_is_known_there_is_no_interval_and_no_p(first, second, n, mean):
    found = paired(series(*first), series(*second))
    assert (found.n, found.mean) == (n, pytest.approx(mean, nan_ok=True))
    assert not found.known
    assert math.isnan(found.p)
    assert math.isnan(found.p_exact)


def test_only_common_seeds_are_pairs():
    assert paired(series(1, 2, 3, 4), series(5, 7, 8, start=2)).n == 2
    assert paired(series(1, 2, 3, 4), series(5, 7, start=7)).n == 0


def test_differences_of_all_labels_are_corrected_together():
    frame = pd.DataFrame(
        [
            {"label": label, "seed": seed, "x": value}
            for label, values in {"B": [1, 2, 3.5], "A": [2, 4, 4.6], "C": [1, 2.1, 3.1]}.items()
            for seed, value in enumerate(values)
        ]
    )
    found = differences(frame, "x", "B")
    small, large = sorted(found["p"])
    assert list(found.index) == ["A", "C"]
    assert sorted(found["p_holm"]) == pytest.approx(sorted([2 * small, max(large, 2 * small)]))
    assert found.loc["A", "mean"] == pytest.approx((1 + 2 + 1.1) / 3)


def test_the_trend_of_two_groups_is_welchs_test_and_of_three_a_contrast_by_hand():
    a, b, c = series(1, 2, 4), series(2, 5, 3, 9), series(7, 8)
    two = trend({10: a, 1000: b})
    test = stats.ttest_ind(b, a, equal_var=False)
    assert (two.mean, two.p) == (pytest.approx((b.mean() - a.mean()) / 2), pytest.approx(test.pvalue))
    assert (two.low, two.high) == pytest.approx(tuple(end / 2 for end in test.confidence_interval()))
    three = trend({1: a, 10: b, 100: c})  # weights -1/2, 0, 1/2: the middle group says nothing
    assert (three.n, three.mean) == (2, pytest.approx((c.mean() - a.mean()) / 2))
    assert three.std == pytest.approx(math.sqrt(a.var() / 3 + c.var() / 2) / 2)
    assert math.isnan(trend({1: a, 10: series(3)}).p)


def test_averages_are_those_of_a_slow_loop():
    cells = {name: [20 + 7 * place % 13 + level for level in range(5)] for place, name in enumerate(CORRUPTIONS)}
    (line,) = averages(errors_of(lines_of(cells, clean=9.0))).to_dict("records")
    means = {name: statistics.fmean(values) for name, values in cells.items()}
    categories = {}
    for name, mean in means.items():
        categories.setdefault(CORRUPTIONS[name].category, []).append(mean)
    for category, values in categories.items():
        assert line[category] == pytest.approx(statistics.fmean(values))
    assert line["corrupted"] == pytest.approx(statistics.fmean(means.values()))
    assert line["by_category"] == pytest.approx(statistics.fmean(map(statistics.fmean, categories.values())))
    assert line["corruption_gap"] == pytest.approx(line["corrupted"] - 9)
    assert math.isnan(line["mce"])  # not ImageNet-C


def test_mce_of_alexnet_is_100_and_that_of_others_the_command_lines():
    of_alexnet = {name: list(ALEXNET[name]) for name in BENCHMARK}
    (line,) = averages(errors_of(lines_of(of_alexnet, ALEXNET_CLEAN, benchmark="imagenet_c"))).to_dict("records")
    assert (line["mce"], line["relative_mce"]) == pytest.approx((100, 100))
    other = {name: [value / 2 + place for value in ALEXNET[name]] for place, name in enumerate(BENCHMARK)}
    (line,) = averages(errors_of(lines_of(other, 20.0, benchmark="imagenet_c"))).to_dict("records")
    by_severity = {name: dict(enumerate(values, 1)) for name, values in other.items()}
    assert line["mce"] == pytest.approx(mean_corruption_error(by_severity))
    assert line["relative_mce"] == pytest.approx(relative(by_severity, 20.0))


def test_a_run_that_lacks_a_severity_has_no_average():
    whole = lines_of({"fog": [1, 2, 3, 4, 5], "snow": [1] * 5})
    partly = lines_of({"fog": [1, 2, 3, 4, 5], "snow": [1, 1, None, 1, 1]}, seed=1)
    found = averages(errors_of(whole + partly)).set_index("run")["corrupted"]
    assert list(found.isna()) == [False, True]
