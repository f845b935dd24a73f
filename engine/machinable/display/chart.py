"""Curves as SVG: lines with axes, ticks and colours, in a text that any browser shows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from typing import NamedTuple

__all__ = ["Curve", "chart", "colour", "ticks"]

WIDTH, HEIGHT = 560, 300
LEFT, RIGHT, TOP, BOTTOM = 64, 12, 28, 40
POINTS = 400  # of one line that are drawn; more cannot be seen

# Colours that people with colour blindness can tell apart too (Okabe and Ito, 2008), then the same again in dashes.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f")
_DASHES = ("", "6 3", "2 2", "8 3 2 3")


class Curve(NamedTuple):
    """A line: its points, the number of its group, which decides its colour, and what it is called."""

    points: Sequence[tuple[float, float]]
    group: int
    name: str


def colour(group: int) -> tuple[str, str]:
    """Colour and dashes of a group."""
    return _COLOURS[group % len(_COLOURS)], _DASHES[group // len(_COLOURS) % len(_DASHES)]


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers from low to high, about that many."""
    if not high > low:
        return [low]
    rough = (high - low) / about
    if rough <= 0 or math.isinf(high - low):  # too near for numbers between them, or too far
        return [low, high]
    power = 10.0 ** math.floor(math.log10(rough))
    if power == 0.0:
        return [low, high]
    step = next((factor * power for factor in (1, 2, 5) if factor * power >= rough), 10 * power)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def chart(title: str, horizontal: str, curves: Sequence[Curve]) -> str:
    """A chart of curves; points that are no finite numbers are gaps.

    Args:
        title: above it. horizontal: what the first numbers of the points are.
    """
    finite = [point for curve in curves for point in curve.points if all(map(math.isfinite, point))]
    if not finite:
        return f'<figure><figcaption>{escape(title)}</figcaption><p class="empty">no finite numbers</p></figure>'
    across = _Scale([x for x, _ in finite], LEFT, WIDTH - RIGHT)
    up = _Scale([y for _, y in finite], HEIGHT - BOTTOM, TOP)
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">',
        f'<text x="{LEFT}" y="16" class="title">{escape(title)}</text>',
        *_axes(across, up, horizontal),
        *(line for curve in curves for line in _line(curve, across, up)),
        "</svg>",
    ]
    return "<figure>" + "\n".join(parts) + "</figure>"


class _Scale:
    """From numbers to places on the page."""

    def __init__(self, values: Sequence[float], start: float, end: float) -> None:
        self.low, self.high = min(values), max(values)
        if self.low == self.high:
            pad = abs(self.low) * 0.05 or 0.5
            self.low, self.high = self.low - pad, self.high + pad
        self._start, self._length = start, end - start

    def place(self, value: float) -> float:
        share = (value / 2 - self.low / 2) / (
            self.high / 2 - self.low / 2
        )  # halves: the range may be beyond all floats
        return self._start + share * self._length


def _axes(across: _Scale, up: _Scale, horizontal: str) -> Iterator[str]:
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    for value in ticks(up.low, up.high):
        y = up.place(value)
        yield f'<line x1="{LEFT}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}" class="grid"/>'
        yield f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{_number(value)}</text>'
    for value in ticks(across.low, across.high, 6):
        x = across.place(value)
        yield f'<line x1="{x:.1f}" y1="{bottom}" x2="{x:.1f}" y2="{bottom + 4}" class="axis"/>'
        yield f'<text x="{x:.1f}" y="{bottom + 17}" text-anchor="middle">{_number(value)}</text>'
    yield f'<path d="M{LEFT} {TOP}V{bottom}H{right}" class="axis"/>'
    yield f'<text x="{(LEFT + right) / 2:.1f}" y="{HEIGHT - 6}" text-anchor="middle">{escape(horizontal)}</text>'


def _number(value: float) -> str:
    return f"{value:.4g}"


def _line(curve: Curve, across: _Scale, up: _Scale) -> Iterator[str]:
    stroke, dashes = colour(curve.group)
    style = f'stroke="{stroke}"' + (f' stroke-dasharray="{dashes}"' if dashes else "")
    title = f"<title>{escape(curve.name)}</title>"
    for piece in _pieces(curve.points):
        places = [(across.place(x), up.place(y)) for x, y in _thinned(piece)]
        if len(places) == 1:
            yield f'<circle cx="{places[0][0]:.1f}" cy="{places[0][1]:.1f}" r="3" fill="{stroke}">{title}</circle>'
        else:
            shown = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
            yield f'<polyline points="{shown}" class="curve" {style}>{title}</polyline>'


def _pieces(points: Iterable[tuple[float, float]]) -> Iterator[list[tuple[float, float]]]:
    """Runs of points that are finite numbers."""
    piece: list[tuple[float, float]] = []
    for point in points:
        if all(map(math.isfinite, point)):
            piece.append(point)
        elif piece:
            yield piece
            piece = []
    if piece:
        yield piece


def _thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Of many points those that decide what a line looks like: the lowest and the highest of each stretch."""
    if len(points) <= POINTS:
        return points
    length = 2 * len(points) / POINTS
    kept = [points[0]]
    for number in range(POINTS // 2):
        stretch = points[int(number * length) : int((number + 1) * length)]
        ends = {min(stretch, key=lambda point: point[1]), max(stretch, key=lambda point: point[1])}
        kept += sorted(ends)
    return [*kept, points[-1]]
