"""Exact bounds of counts: what chance alone can bring about, with the standard library."""

import math
import statistics
from collections.abc import Sequence


def binomial_interval(n: int, q: float, alpha: float) -> tuple[int, int]:
    """Return the counts (low, high) outside of which Binomial(n, q) falls with a probability of at most `alpha`."""
    if q in (0, 1):
        return round(n * q), round(n * q)
    log_odds = math.log(q), math.log1p(-q)
    return _interval([_log_choose(n, k) + k * log_odds[0] + (n - k) * log_odds[1] for k in range(n + 1)], alpha)


def agreement_interval(n: int, alpha: float) -> tuple[int, int]:
    """Return the counts (low, high) of draws that are in the upper half by two independent features at once.

    Of `n` draws, n // 2 are in the upper half by each feature. If the two are independent the overlap is
    hypergeometric, whatever the law of either.
    """
    half = n // 2
    total = _log_choose(n, half)
    return _interval([_log_choose(half, k) + _log_choose(n - half, half - k) - total for k in range(half + 1)], alpha)


def largest_rate(k: int, n: int, alpha: float) -> float:
    """Return the largest q for which Binomial(n, q) is at most `k` with a probability of `alpha` (Clopper-Pearson)."""
    low, high = k / n, 1.0
    for _ in range(50):
        q = (low + high) / 2
        below = math.fsum(
            math.exp(_log_choose(n, i) + i * math.log(q) + (n - i) * math.log1p(-q)) for i in range(k + 1) if q < 1
        )
        low, high = (q, high) if below > alpha else (low, q)
    return high


def mean_interval(values: Sequence[float], alpha: float) -> tuple[float, float]:
    """Return limits of the mean of independent draws in [0, 1], wrong with a probability of at most `alpha`.

    The empirical Bernstein bound (Maurer & Pontil, 2009, Theorem 4), on either side; it holds for any distribution.
    """
    n, log = len(values), math.log(4 / alpha)
    if n < 2:
        return 0.0, 1.0
    mean, variance = statistics.fmean(values), statistics.variance(values)
    radius = math.sqrt(2 * variance * log / n) + 7 * log / (3 * (n - 1))
    return mean - radius, mean + radius


def _interval(log_probabilities: list[float], alpha: float) -> tuple[int, int]:
    """Leave out at most alpha / 2 on either side."""
    probabilities = [math.exp(value) for value in log_probabilities]
    return _left_out(probabilities, alpha / 2), len(probabilities) - 1 - _left_out(probabilities[::-1], alpha / 2)


def _left_out(probabilities: list[float], alpha: float) -> int:
    """Return how many of the first entries sum to at most `alpha`."""
    total = 0.0
    for k, probability in enumerate(probabilities):
        total += probability
        if total > alpha:
            return k
    return len(probabilities)


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
