"""The bounds of counts against scipy's distributions."""

import math

import pytest
from scipy import stats

from smoothmix.check.bounds import agreement_interval, binomial_interval, largest_rate, mean_interval


def assert_narrowest(law, low, high, alpha):
    """What is left out is rare enough, and would not be with one count more on either side."""
    assert law.cdf(low - 1) + law.sf(high) <= alpha
    assert law.cdf(low) > alpha / 2
    assert law.sf(high - 1) > alpha / 2


@pytest.mark.parametrize("q", [0.001, 0.3, 0.5, 0.97])
@pytest.mark.parametrize("n", [1, 50, 1000])
@pytest.mark.parametrize("alpha", [0.05, 1e-6])
def test_binomial_interval_is_the_narrowest_that_is_left_rarely_enough(q, n, alpha):
    assert_narrowest(stats.binom(n, q), *binomial_interval(n, q, alpha), alpha)


def test_binomial_interval_without_chance():
    assert binomial_interval(7, 0, 1e-6) == (0, 0)
    assert binomial_interval(7, 1, 1e-6) == (7, 7)


@pytest.mark.parametrize("n", [2, 51, 600])
@pytest.mark.parametrize("alpha", [0.05, 1e-6])
def test_agreement_is_hypergeometric(n, alpha):
    assert_narrowest(stats.hypergeom(n, n // 2, n // 2), *agreement_interval(n, alpha), alpha)


@pytest.mark.parametrize(("k", "n"), [(0, 20), (3, 500), (499, 500), (70, 500)])
def test_largest_rate_is_clopper_and_pearsons(k, n):
    assert largest_rate(k, n, 1e-6) == pytest.approx(stats.beta.ppf(1 - 1e-6, k + 1, n - k), abs=1e-6)


def test_largest_rate_of_all_is_one():
    assert largest_rate(5, 5, 1e-6) == pytest.approx(1)


@pytest.mark.parametrize("q", [0.02, 0.3, 0.5])
def test_the_mean_is_outside_its_limits_rarely_enough(q):
    """Of draws that are 0 or 1, the widest law: summed over all counts of ones."""
    n, alpha, missed = 60, 0.05, 0.0
    for ones in range(n + 1):
        low, high = mean_interval([1.0] * ones + [0.0] * (n - ones), alpha)
        missed += 0 if low <= q <= high else stats.binom(n, q).pmf(ones)
    assert missed <= alpha


def test_the_limits_of_a_mean_follow_the_variance():
    log = math.log(4 / 0.01)
    assert mean_interval([0.2, 0.4] * 50, 0.01)[1] == pytest.approx(
        0.3 + math.sqrt(2 * 0.1**2 * 100 / 99 * log / 100) + 7 * log / (3 * 99)
    )
    assert mean_interval([0.5], 0.01) == (0, 1)
