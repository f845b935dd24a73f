"""The order of a dependency graph."""

from __future__ import annotations

from collections.abc import Sequence

from machinable.plan.graph import DependencyOrder

GRAPH = {"a": "bc", "b": "d", "c": "d", "d": "", "e": "ad"}


def test_everything_comes_once_after_what_it_needs() -> None:
    order = DependencyOrder(lambda node: GRAPH[node])
    assert [list(order.visit(node)) for node in "aeb"] == [["d", "b", "c", "a"], ["e"], []]


def test_a_cycle_is_reported_and_cut() -> None:
    cycles: list[list[str]] = []

    def on_cycle(nodes: Sequence[str]) -> None:
        cycles.append(list(nodes))

    graph = {"x": "a", "a": "b", "b": "cd", "c": "a", "d": "d"}
    order = DependencyOrder(lambda node: graph[node], on_cycle)
    assert (list(order.visit("x")), cycles) == (["c", "d", "b", "a", "x"], [["a", "b", "c"], ["d"]])


def test_a_long_chain_needs_no_recursion() -> None:
    order = DependencyOrder(lambda number: [number + 1] if number < 50_000 else [])
    assert list(order.visit(0)) == list(range(50_000, -1, -1))
