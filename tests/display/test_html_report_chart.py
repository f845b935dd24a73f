"""Curves as SVG."""

from __future__ import annotations

import math
import re
from xml.dom.minidom import Element, parseString

import pytest

from machinable.display.html_report import Curve, chart, colour, ticks


def svg(text: str) -> Element:
    found = re.search(r"<svg.*</svg>", text, re.DOTALL)
    assert found is not None
    element = parseString(found[0]).documentElement
    assert element is not None
    return element


def lines(text: str) -> list[list[tuple[float, float]]]:
    """The places of all curves on the page."""
    curves = svg(text).getElementsByTagName("polyline")
    return [[tuple(map(float, place.split(","))) for place in c.getAttribute("points").split()] for c in curves]  # type: ignore[misc]


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
    assert lines(chart("loss", "row", [Curve([(0, 0), (1, 5), (2, 10)], 0, "a")])) == [
        [(64.0, 260.0), (306.0, 144.0), (548.0, 28.0)]
    ]


def test_curves_have_the_colour_of_their_group_and_say_their_name() -> None:
    curves = [Curve([(0, 0), (1, 1)], group, f"trial {group}") for group in (0, 1, 7)]

    found = svg(chart("loss", "row", curves)).getElementsByTagName("polyline")

    assert [(c.getAttribute("stroke"), c.getAttribute("stroke-dasharray")) for c in found] == [
        colour(0),
        colour(1),
        colour(7),
    ]
    assert len({colour(group) for group in range(28)}) == 28
    assert [c.getElementsByTagName("title")[0].firstChild.data for c in found] == ["trial 0", "trial 1", "trial 7"]  # type: ignore[union-attr]


def test_what_is_no_finite_number_is_a_gap() -> None:
    points = [(0.0, 1.0), (1.0, 2.0), (2.0, math.nan), (3.0, 1.0), (4.0, math.inf), (5.0, 2.0), (6.0, 1.0)]

    text = chart("loss", "row", [Curve(points, 0, "a")])

    assert [len(line) for line in lines(text)] == [2, 2]
    assert len(svg(text).getElementsByTagName("circle")) == 1  # a point between two gaps


def test_nothing_to_draw_is_said() -> None:
    assert "no finite numbers" in chart("loss", "row", [Curve([(0, math.nan)], 0, "a")])


def test_a_constant_and_the_largest_numbers_can_be_drawn() -> None:
    assert lines(chart("c", "row", [Curve([(0, 3), (1, 3)], 0, "a")])) == [[(64.0, 144.0), (548.0, 144.0)]]
    assert lines(chart("c", "row", [Curve([(0, -1.7e308), (1, 1.7e308)], 0, "a")])) == [[(64.0, 260.0), (548.0, 28.0)]]


def test_of_many_points_the_extremes_stay() -> None:
    points = [(float(i), 100.0 if i == 5003 else -100.0 if i == 7001 else math.sin(i)) for i in range(10_000)]

    (line,) = lines(chart("c", "row", [Curve(points, 0, "a")]))

    assert len(line) <= 402
    assert {y for _, y in line} >= {28.0, 260.0}
    assert [x for x, _ in line] == sorted(x for x, _ in line)


def test_names_cannot_leave_their_place() -> None:
    text = chart("<script>1</script>", '"><b>', [Curve([(0, 0), (1, 1)], 0, "</title><script>")])

    assert "<script>" not in text and "<b>" not in text
    svg(text)
