"""Mean and spread of a number over seeds."""

import math
import statistics
from collections.abc import Sequence

from scipy.stats import t


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return n, mean, sample standard deviation (divisor n - 1), smallest value, 95 % interval of the mean (low, high).

    The interval is Student's t with n - 1 degrees of freedom. What the number of values does not allow is NaN.
    """
    n = len(values)
    mean = statistics.fmean(values) if n else math.nan
    std = statistics.stdev(values) if n > 1 else math.nan
    half = half_width(std, n)
    least = min(values, default=math.nan)
    return {"n": n, "mean": mean, "std": std, "least": least, "low": mean - half, "high": mean + half}


def half_width(std: float, n: int) -> float:
    """Return half the length of the 95 % interval of a mean of `n` values; NaN for fewer than two."""
    return float(t.ppf(0.975, n - 1)) * std / math.sqrt(n) if n > 1 else math.nan
