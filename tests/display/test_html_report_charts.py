"""Charts of curves."""

from __future__ import annotations

import math

import pytest

from machinable.display.html_report import Chart, Curve, chart, stroke, ticks


def points(found: Chart) -> list[list[tuple[float, float]]]:
    return [list(line.points) for line in found.lines]


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
    assert chart("loss", "row", [Curve([(0, 0), (1, 5), (2, 10)], 0, "a")]) == Chart(
        title="loss",
        horizontal="row",
        lines=[Curve([(64.0, 260.0), (306.0, 138.0), (548.0, 16.0)], 0, "a")],
        horizontal_ticks=[(64.0, "0"), (185.0, "0.5"), (306.0, "1"), (427.0, "1.5"), (548.0, "2")],
        vertical_ticks=[
            (260.0, "0"),
            (211.2, "2"),
            (162.4, "4"),
            (113.6, "6"),
            (64.8, "8"),
            (16.0, "10"),
        ],
    )


def test_groups_have_different_strokes() -> None:
    assert len({stroke(group) for group in range(28)}) == 28


def test_points_that_are_not_finite_are_gaps() -> None:
    curve = [(0.0, 1.0), (1.0, 2.0), (2.0, math.nan), (3.0, 1.0), (4.0, math.inf), (5.0, 2.0), (6.0, 1.0)]

    found = chart("loss", "row", [Curve(curve, 0, "a")])

    assert [len(line) for line in points(found)] == [2, 1, 2]


def test_a_chart_without_finite_points_has_no_lines() -> None:
    assert chart("loss", "row", [Curve([(0, math.nan)], 0, "a")]) == Chart("loss", "row", [], [], [])


def test_constants_and_the_largest_numbers_can_be_drawn() -> None:
    assert points(chart("c", "row", [Curve([(0, 3), (1, 3)], 0, "a")])) == [[(64.0, 138.0), (548.0, 138.0)]]
    assert points(chart("c", "row", [Curve([(0, -1.7e308), (1, 1.7e308)], 0, "a")])) == [[(64.0, 260.0), (548.0, 16.0)]]


def test_the_extremes_of_many_points_are_drawn() -> None:
    curve = [(float(i), 100.0 if i == 5003 else -100.0 if i == 7001 else math.sin(i)) for i in range(10_000)]

    (line,) = points(chart("c", "row", [Curve(curve, 0, "a")]))

    assert len(line) <= 402
    assert {y for _, y in line} >= {16.0, 260.0}
    assert [x for x, _ in line] == sorted(x for x, _ in line)
