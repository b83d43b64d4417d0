"""Mean and deviation of a number over seeds, and how both are printed."""

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple, Self

from scipy.stats import t


class Mean(NamedTuple):
    """Mean over n seeds, sample standard deviation (divisor n - 1), smallest value, 95 % interval of the mean.

    The interval is Student's t with n - 1 degrees of freedom. What n does not allow is NaN.
    """

    n: int
    mean: float
    std: float
    least: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """Return the mean of `values`, one per seed."""
        n = len(values)
        mean = statistics.fmean(values) if n else math.nan
        std = statistics.stdev(values) if n > 1 and math.isfinite(mean) else math.nan
        half = float(t.ppf(0.975, n - 1)) * std / math.sqrt(n) if n > 1 else math.nan
        return cls(n, mean, std, min(values, default=math.nan), mean - half, mean + half)

    def __str__(self) -> str:
        return f"{self:.2f}"

    def __format__(self, form: str) -> str:
        return with_deviation(self.mean, self.std, form)

    def interval(self, form: str = ".2f") -> str:
        """Return the interval in brackets."""
        return interval(self.low, self.high, form)


def number(value: float, form: str = ".2f") -> str:
    """Return a number as tables print it: "-" for NaN."""
    return "-" if math.isnan(value) else f"{value:{form}}"


def with_deviation(mean: float, std: float, form: str = ".2f") -> str:
    """Return a mean and a standard deviation as tables print them."""
    return number(mean, form) + ("" if math.isnan(std) else f" ± {std:{form}}")


def interval(low: float, high: float, form: str = ".2f") -> str:
    """Return an interval as tables print it: "-" for NaN."""
    return "-" if math.isnan(low) else f"[{low:{form}}, {high:{form}}]"


def p_value(p: float) -> str:
    """Return a p-value as tables print it: "-" for NaN."""
    return "< 0.001" if p < 0.001 else number(p, ".3f")
