"""The order of what needs each other."""

from __future__ import annotations

from collections.abc import Sequence

from machinable.plan.planner import Order

GRAPH = {"a": "bc", "b": "d", "c": "d", "d": "", "e": "ad"}


def test_everything_comes_once_after_what_it_needs() -> None:
    order = Order(lambda node: GRAPH[node])
    assert [list(order.visit(node)) for node in "aeb"] == [["d", "b", "c", "a"], ["e"], []]


def test_a_circle_is_told_and_cut() -> None:
    circles: list[list[str]] = []

    def told(nodes: Sequence[str]) -> None:
        circles.append(list(nodes))

    graph = {"x": "a", "a": "b", "b": "cd", "c": "a", "d": "d"}
    order = Order(lambda node: graph[node], told)
    assert (list(order.visit("x")), circles) == (["c", "d", "b", "a", "x"], [["a", "b", "c"], ["d"]])


def test_a_long_chain_needs_no_recursion() -> None:
    order = Order(lambda number: [number + 1] if number < 50_000 else [])
    assert list(order.visit(0)) == list(range(50_000, -1, -1))
