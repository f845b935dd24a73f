"""Charts of curves: where axes, ticks and lines lie. The template draws them as SVG."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

__all__ = ["Chart", "Curve", "Line", "Stroke", "Tick", "chart", "stroke", "ticks"]

WIDTH, HEIGHT = 560, 300
LEFT, RIGHT, TOP, BOTTOM = 64, 12, 16, 40
MAX_POINTS = 400  # of one line; more cannot be distinguished

# Colours that people with colour blindness can distinguish too (Okabe and Ito, 2008), then the same in dashes.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f")
_DASHES = ("", "6 3", "2 2", "8 3 2 3")

Point = tuple[float, float]


class Curve(NamedTuple):
    """A curve: its points, the number of its group, which decides its stroke, and its name."""

    points: Sequence[Point]
    group: int
    name: str


class Stroke(NamedTuple):
    """Colour and dashes of a line."""

    colour: str
    dashes: str


class Tick(NamedTuple):
    """A labelled place on an axis."""

    place: float
    label: str


class Line(NamedTuple):
    """A run of finite points in the coordinates of the chart; a single one is drawn as a dot."""

    points: list[Point]
    stroke: Stroke
    name: str


class Chart(NamedTuple):
    """A chart in coordinates of the page; without lines if no point is finite."""

    title: str
    horizontal: str
    lines: list[Line]
    horizontal_ticks: list[Tick]
    vertical_ticks: list[Tick]


def stroke(group: int) -> Stroke:
    """Return the stroke of a group."""
    return Stroke(_COLOURS[group % len(_COLOURS)], _DASHES[group // len(_COLOURS) % len(_DASHES)])


def chart(title: str, horizontal: str, curves: Sequence[Curve]) -> Chart:
    """Lay out a chart of curves; points that are not finite numbers are gaps.

    Args:
        title: The text above it.
        horizontal: What the first numbers of the points are.
        curves: The curves.
    """
    finite = [point for curve in curves for point in curve.points if all(map(math.isfinite, point))]
    if not finite:
        return Chart(title, horizontal, [], [], [])
    across = _Scale([x for x, _ in finite], LEFT, WIDTH - RIGHT)
    up = _Scale([y for _, y in finite], HEIGHT - BOTTOM, TOP)
    return Chart(
        title,
        horizontal,
        [line for curve in curves for line in _lines(curve, across, up)],
        across.ticks(6),
        up.ticks(5),
    )


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Return round numbers from low to high, about as many as asked for."""
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
        # Halves, since the range may exceed the largest float.
        share = (value / 2 - self.low / 2) / (self.high / 2 - self.low / 2)
        return round(self._start + share * self._length, 1)

    def ticks(self, about: int) -> list[Tick]:
        return [Tick(self.place(value), f"{value:.4g}") for value in ticks(self.low, self.high, about)]


def _lines(curve: Curve, across: _Scale, up: _Scale) -> Iterator[Line]:
    for piece in _finite_pieces(curve.points):
        yield Line([(across.place(x), up.place(y)) for x, y in _thinned(piece)], stroke(curve.group), curve.name)


def _finite_pieces(points: Iterable[Point]) -> Iterator[list[Point]]:
    piece: list[Point] = []
    for point in points:
        if all(map(math.isfinite, point)):
            piece.append(point)
        elif piece:
            yield piece
            piece = []
    if piece:
        yield piece


def _thinned(points: list[Point]) -> list[Point]:
    """Return the points that decide how a line looks: the lowest and the highest of each stretch."""
    if len(points) <= MAX_POINTS:
        return points
    length = 2 * len(points) / MAX_POINTS
    chosen = [points[0]]
    for number in range(MAX_POINTS // 2):
        stretch = points[int(number * length) : int((number + 1) * length)]
        chosen += sorted({min(stretch, key=lambda point: point[1]), max(stretch, key=lambda point: point[1])})
    return [*chosen, points[-1]]
