"""Curves of the report in coordinates of a page, which a template draws as SVG; it needs no other library."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import NamedTuple

from machinable.results.chart import COLOURS, Chart, Point, axis_label, number_text, thinned

__all__ = ["SIZE", "Drawing", "Line", "lay_out", "stroke", "ticks"]

MAX_POINTS = 400  # of one line; more cannot be distinguished
MAX_BEYOND = 0.5  # of the range of the points: how far an interval may be visible beyond its point
SIZE = {"width": 560, "height": 300, "left": 64, "right": 12, "top": 16, "bottom": 40}  # of a chart, and its margins
_DASHES = ("", "6 3", "2 2", "8 3 2 3")

Place = tuple[float, float]


class Line(NamedTuple):
    """A piece of a curve without gaps.

    Attributes:
        points: Its places; a single one is drawn as a dot.
        bands: The outlines of the intervals around it.
        number: The number of the series, which determines its stroke.
        name: Its name.
    """

    points: list[Place]
    bands: list[list[Place]]
    number: int
    name: str


class Drawing(NamedTuple):
    """A chart in coordinates; without lines if no point is finite. A tick is a coordinate and its label."""

    title: str
    horizontal: str
    lines: list[Line]
    horizontal_ticks: list[tuple[float, str]]
    vertical_ticks: list[tuple[float, str]]


def stroke(number: int) -> tuple[str, str]:
    """Return colour and dashes of a series."""
    return COLOURS[number % len(COLOURS)], _DASHES[number // len(COLOURS) % len(_DASHES)]


def lay_out(chart: Chart, title: str, number: Callable[[int], int] = int) -> Drawing:
    """Lay out a chart of curves; points that are not finite numbers are gaps.

    Args:
        chart: The curves.
        title: What is above them.
        number: Returns the number of a series on the whole page for that in the chart.
    """
    finite = [point for one in chart.series for point in one.points if math.isfinite(point.y)]
    if not finite:
        return Drawing(title, axis_label(chart.x), [], [], [])
    across = _Scale([point.x for point in finite], SIZE["left"], SIZE["width"] - SIZE["right"])
    low, high = _visible(finite)
    up = _Scale([low, high], SIZE["height"] - SIZE["bottom"], SIZE["top"])

    def place(point: Point, y: float) -> Place:
        return across.place(point.x), up.place(min(max(y, low), high))

    lines = []
    for at, one in enumerate(chart.series):
        for is_finite, group in groupby(one.points, lambda point: math.isfinite(point.y)):
            if is_finite:
                piece = thinned(list(group), MAX_POINTS)
                bands = []
                for has_band, part in groupby(piece, lambda point: point.low is not None and point.high is not None):
                    if has_band:
                        points = list(part)
                        upper = [place(point, point.y if point.high is None else point.high) for point in points]
                        lower = [place(point, point.y if point.low is None else point.low) for point in points]
                        bands.append([*upper, *reversed(lower)])
                lines.append(Line([place(point, point.y) for point in piece], bands, number(at), one.name))
    is_whole = all(point.x.is_integer() for point in finite)
    return Drawing(title, axis_label(chart.x), lines, across.ticks(6, is_whole=is_whole), up.ticks(5))


def _visible(points: Sequence[Point]) -> tuple[float, float]:
    """Return the ends of the vertical axis: of all points, and of intervals that leave room for these."""
    low, high = min(point.y for point in points), max(point.y for point in points)
    more = (high / 2 - low / 2) * (2 * MAX_BEYOND)
    for point in points:
        if point.low is not None and point.high is not None:
            low, high = min(low, max(point.low, point.y - more)), max(high, min(point.high, point.y + more))
    return low, high


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Return round numbers from low to high, about as many as requested."""
    if not high > low:
        return [low]
    rough = (high - low) / about
    if rough <= 0 or math.isinf(high - low):  # too close for numbers between them, or too far apart
        return [low, high]
    power = 10.0 ** math.floor(math.log10(rough))
    if power == 0.0:
        return [low, high]
    step = next((factor * power for factor in (1, 2, 5) if factor * power >= rough), 10 * power)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


class _Scale:
    """Map numbers to coordinates along one axis."""

    def __init__(self, values: Sequence[float], start: float, end: float) -> None:
        self.low, self.high = min(values), max(values)
        if self.low == self.high:
            pad = abs(self.low) * 0.05 or 0.5
            self.low, self.high = self.low - pad, self.high + pad
        self._start, self._length = start, end - start

    def place(self, value: float) -> float:
        # Halves, because the range may exceed the largest float.
        share = (value / 2 - self.low / 2) / (self.high / 2 - self.low / 2)
        return round(self._start + share * self._length, 1)

    def ticks(self, about: int, *, is_whole: bool = False) -> list[tuple[float, str]]:
        found = ticks(self.low, self.high, about)
        whole = [value for value in found if float(value).is_integer()] if is_whole else []
        return [(self.place(value), number_text(value)) for value in whole or found]
