"""Curves in coordinates of a page."""

from __future__ import annotations

import math

import pytest

from machinable.display.svg_chart import Drawing, Line, lay_out, stroke, ticks
from machinable.results.chart import Chart, Point, Series


def curves(*several: list[tuple[float, ...]]) -> Chart:
    """Curves of points: x and y, and perhaps the ends of the interval."""
    series = [Series(f"s{number}", (), [Point(*point) for point in one], []) for number, one in enumerate(several)]
    return Chart("curves", "records.loss", "row", [], None, series, "95%", 0.0, "", [])


def points(found: Drawing) -> list[list[tuple[float, float]]]:
    return [line.points for line in found.lines]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0, 1.0, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (0.0, 10.0, [0, 2, 4, 6, 8, 10]),
        (-3.0, 4.0, [-2, 0, 2, 4]),
        (95.0, 1234.0, [500, 1000]),
        (1.0, 1.0, [1.0]),
        (-1e308, 1e308, [-1e308, 1e308]),
        (0.0, 5e-324, [0.0, 5e-324]),
    ],
)
def test_ticks_are_round_numbers_within_the_range(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(expected)


def test_a_curve_goes_from_corner_to_corner() -> None:
    assert lay_out(curves([(0.0, 0.0), (1.0, 5.0), (2.0, 10.0)]), "loss", lambda _: 3) == Drawing(
        title="loss",
        horizontal="row",
        lines=[Line([(64.0, 260.0), (306.0, 138.0), (548.0, 16.0)], [], 3, "s0")],
        horizontal_ticks=[(64.0, "0"), (306.0, "1"), (548.0, "2")],
        vertical_ticks=[
            (260.0, "0"),
            (211.2, "2"),
            (162.4, "4"),
            (113.6, "6"),
            (64.8, "8"),
            (16.0, "10"),
        ],
    )


def test_a_band_is_an_outline_and_ends_where_a_point_has_no_interval() -> None:
    (line,) = lay_out(curves([(0.0, 4.0, 2.0, 6.0), (1.0, 8.0, 7.0, 9.0), (2.0, 8.0)]), "loss").lines

    assert [[x for x, _ in band] for band in line.bands] == [[64.0, 306.0, 306.0, 64.0]]
    (left_high, right_high, right_low, left_low) = (y for _, y in line.bands[0][:4])
    assert left_high < left_low == 260.0 and right_high == 16.0 < right_low


def test_a_very_wide_band_leaves_room_for_the_curve() -> None:
    found = lay_out(curves([(0.0, 4.0, -500.0, 500.0), (1.0, 8.0, 7.0, 9.0)]), "loss")

    assert found.lines[0].bands[0][0] == (64.0, 16.0)  # it ends at the edge
    assert found.lines[0].points[0][1] - found.lines[0].points[1][1] >= 244 / 3


def test_series_have_different_strokes() -> None:
    assert len({stroke(number) for number in range(28)}) == 28


def test_points_that_are_not_finite_are_gaps() -> None:
    curve = [(0.0, 1.0), (1.0, 2.0), (2.0, math.nan), (3.0, 1.0), (4.0, math.inf), (5.0, 2.0), (6.0, 1.0)]

    assert [len(line) for line in points(lay_out(curves(curve), "loss"))] == [2, 1, 2]


def test_a_chart_without_finite_points_has_no_lines() -> None:
    assert lay_out(curves([(0.0, math.nan)]), "loss") == Drawing("loss", "row", [], [], [])


def test_constants_and_the_largest_numbers_can_be_drawn() -> None:
    assert points(lay_out(curves([(0.0, 3.0), (1.0, 3.0)]), "c")) == [[(64.0, 138.0), (548.0, 138.0)]]
    assert points(lay_out(curves([(0.0, -1.7e308), (1.0, 1.7e308)]), "c")) == [[(64.0, 260.0), (548.0, 16.0)]]


def test_the_extremes_of_many_points_are_drawn() -> None:
    curve = [(float(i), 100.0 if i == 5003 else -100.0 if i == 7001 else math.sin(i)) for i in range(10_000)]

    (line,) = points(lay_out(curves(curve), "c"))

    assert len(line) <= 402
    assert {y for _, y in line} >= {16.0, 260.0}
    assert [x for x, _ in line] == sorted(x for x, _ in line)
