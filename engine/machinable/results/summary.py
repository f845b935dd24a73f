"""Summarise repeated trials: mean, spread and confidence interval of a number in each group."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from machinable.plan.table import html_table, text_table
from machinable.results.query import mean, spread
from machinable.results.tables import Tabular, format_cell

__all__ = ["Summary", "figures", "t_quantile"]


class Summary(Tabular, Sequence[Mapping[str, Any]]):
    """A row for each group of trials.

    A row has the values of the group under the names of `by`, then `n` (finished trials with a value), their `mean`,
    their `spread` (standard deviation of the sample), the 95 % interval of the mean from `low` to `high` by Student's
    t, and `failed`, the number of failed trials, which are not in `n`. An undefined figure, such as the spread of one
    value, is None.

    Attributes:
        field: The field that is summarised.
        by: The fields that define the groups.
    """

    def __init__(self, field: str, by: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
        self.field = field
        self.by = tuple(by)
        self._rows = [dict(row) for row in rows]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> Any:
        return self._rows[index]

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        return "\n".join([self.field, *text_table(self._headings, self._cells())])

    def _repr_html_(self) -> str:
        from html import escape

        return f"<p><b>{escape(self.field)}</b></p>{html_table(self._headings, self._cells())}"

    @property
    def _headings(self) -> list[str]:
        return [*self.by, "n", "mean", "spread", "low", "high", "failed"]

    def _cells(self) -> list[list[str]]:
        return [[format_cell(row[heading]) for heading in self._headings] for row in self._rows]

    def _by_column(self) -> dict[str, list[Any]]:
        return {heading: [row[heading] for row in self._rows] for heading in self._headings}


def figures(numbers: Sequence[float], failed: int) -> dict[str, Any]:
    """Return the figures of a group: of its finished trials, and how many failed."""
    n = len(numbers)
    middle = mean(numbers) if n else None
    deviation = spread(numbers) if n > 1 else None
    low = high = None
    if middle is not None and deviation is not None:
        half = t_quantile(n - 1) * deviation / math.sqrt(n)
        low, high = middle - half, middle + half
    return {"n": n, "mean": middle, "spread": deviation, "low": low, "high": high, "failed": failed}


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
