"""Summarise repetitions: mean, deviation and interval of a number in each group."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from machinable.errors import import_optional
from machinable.plan.table import html_table, text_table
from machinable.results.query import mean, spread
from machinable.results.tables import Tabular, format_cell

__all__ = ["FIGURES", "INTERVALS", "FigureTable", "Summary", "figures", "scipy_stats", "t_interval", "t_quantile"]


INTERVALS = ("t", "bootstrap")
RESAMPLES = 9999
FIGURES = ("n", "failed", "mean", "sd", "low", "high", "median", "min", "max")


class FigureTable(Tabular, Sequence[Mapping[str, Any]]):
    """Rows of settings and figures.

    Attributes:
        field: The field that the figures are about.
        settings: The fields that distinguish the rows.
    """

    figures: tuple[str, ...]

    def __init__(self, field: str, settings: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
        self.field = field
        self.settings = tuple(settings)
        self._rows = [dict(row) for row in rows]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> Any:
        return self._rows[index]

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        return "\n".join([self.field, *text_table(*self._shown()), *self.notes()])

    def _repr_html_(self) -> str:
        from html import escape

        notes = "".join(f"<p>{escape(line)}</p>" for line in self.notes())
        return f"<p><b>{escape(self.field)}</b></p>{html_table(*self._shown())}{notes}"

    def _headings(self) -> list[str]:
        return [*self.settings, *self.figures]

    def _shown(self) -> tuple[list[str], list[list[str]]]:
        """Return headings and cells for people."""
        headings = self._headings()
        return headings, [[format_cell(row[heading]) for heading in headings] for row in self._rows]

    def _by_column(self) -> dict[str, list[Any]]:
        return {heading: [row[heading] for row in self._rows] for heading in self._headings()}

    def notes(self) -> list[str]:
        """Return lines below the table."""
        return []


class Summary(FigureTable):
    """A row for each set of repetitions.

    A row has the values of the group under the names of `settings`, then `n` (the number of values, see
    `Trials.summary`), `failed`, the number of failed trials, which are not in `n`, the `mean`, the standard deviation
    of the sample `sd`, the 95 % interval of the mean from `low` to `high`, `median`, `min` and `max`. An undefined
    figure, such as the deviation of one value, is None.

    Attributes:
        field: The field that is summarised.
        settings: The fields that distinguish the groups: those of `by`, and others in which trials differ.
    """

    figures = FIGURES


def figures(numbers: Sequence[float], failed: int, interval: str = "t", seed: int = 0) -> dict[str, Any]:
    """Return the figures of one group, see `Summary`; None where one is undefined.

    Args:
        numbers: The values.
        failed: The number of failed trials.
        interval: `t` for Student's interval, or `bootstrap`.
        seed: Of the resampling.
    """
    from statistics import median  # 3 ms, and tables without figures need none

    n = len(numbers)
    middle = mean(numbers) if n else None
    deviation = spread(numbers) if n > 1 else None
    low = high = None
    if middle is not None and deviation is not None:
        low, high = t_interval(middle, deviation, n) if interval == "t" else bootstrap_interval(numbers, seed)
    real = [number for number in numbers if number == number]
    return {
        "n": n,
        "failed": failed,
        "mean": middle,
        "sd": deviation,
        "low": low,
        "high": high,
        "median": median(numbers) if n and len(real) == n else math.nan if n else None,
        "min": min(real, default=math.nan if n else None),
        "max": max(real, default=math.nan if n else None),
    }


def t_interval(middle: float, deviation: float, n: int) -> tuple[float, float]:
    """Return the 95 % interval of the mean of a normal sample (Student, The Probable Error of a Mean, 1908)."""
    half = t_quantile(n - 1) * deviation / math.sqrt(n)
    return middle - half, middle + half


def bootstrap_interval(numbers: Sequence[float], seed: int) -> tuple[float, float]:
    """Return the 95 % interval of the mean by resampling, bias-corrected and accelerated.

    From B. Efron, Better Bootstrap Confidence Intervals (1987), computed by scipy.

    Raises:
        NotAvailable: scipy is not installed.
    """
    if len(set(numbers)) == 1 or not all(map(math.isfinite, numbers)):
        middle = mean(numbers)
        return middle, middle
    stats = scipy_stats()
    found = stats.bootstrap((numbers,), _array_mean, n_resamples=RESAMPLES, method="BCa", rng=seed).confidence_interval
    return float(found.low), float(found.high)


def _array_mean(values: Any, axis: int) -> Any:
    return values.mean(axis=axis)


def scipy_stats() -> Any:
    """Return the module `scipy.stats`.

    Raises:
        NotAvailable: It is not installed.
    """
    return import_optional("scipy.stats", "this needs scipy", "[stats]")


_NORMAL = 1.959963984540054  # the 97.5 % quantile of the normal distribution
_LARGE = 100  # degrees of freedom above which the expansion is as exact as the sum (10 digits)


@lru_cache(maxsize=256)
def t_quantile(freedom: int) -> float:
    """Return the 97.5 % quantile of Student's t for this many degrees of freedom, at least 1, to 9 digits.

    From M. Abramowitz and I. A. Stegun, Handbook of Mathematical Functions (1964): the finite sums 26.7.3 and 26.7.4
    for the probability, inverted by bisection; for many degrees of freedom the expansion 26.7.5 of the quantile.
    """
    if freedom >= _LARGE:
        x = _NORMAL
        terms = (
            x,
            (x**3 + x) / 4,
            (5 * x**5 + 16 * x**3 + 3 * x) / 96,
            (3 * x**7 + 19 * x**5 + 17 * x**3 - 15 * x) / 384,
            (79 * x**9 + 776 * x**7 + 1482 * x**5 - 1920 * x**3 - 945 * x) / 92160,
        )
        return math.fsum(term / freedom**power for power, term in enumerate(terms))
    low, high = _NORMAL, 13.0  # that of one degree of freedom is 12.7
    for _ in range(60):
        middle = (low + high) / 2
        if _within(middle, freedom) < 0.95:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _within(t: float, freedom: int) -> float:
    """Return the probability that Student's t lies between -t and t."""
    angle = math.atan(t / math.sqrt(freedom))
    sine, cosine = math.sin(angle), math.cos(angle)
    is_odd = freedom % 2 == 1
    term = cosine if is_odd else 1.0
    total = term if freedom > 1 else 0.0
    for k in range(3 if is_odd else 2, freedom - 1, 2):
        term *= cosine * cosine * (k - 1) / k
        total += term
    return (angle + sine * total) * 2 / math.pi if is_odd else sine * total
