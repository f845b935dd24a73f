"""The order of a dependency graph: every node after what it needs, without recursion, with cycles found."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Generic, TypeVar

__all__ = ["DependencyOrder"]

K = TypeVar("K", bound=Hashable)


class DependencyOrder(Generic[K]):
    """Visits the nodes of a graph once.

    Args:
        needs: Returns the nodes that a node needs. Called once for each.
        on_cycle: Receives the nodes of a cycle in order, without repeating the first. The cycle is then cut.
    """

    def __init__(self, needs: Callable[[K], Iterable[K]], on_cycle: Callable[[Sequence[K]], None] | None = None):
        self._needs = needs
        self._on_cycle = on_cycle
        self._is_done: dict[K, bool] = {}  # False: on the path from the start

    def visit(self, start: K) -> Iterator[K]:
        """Yield a node and all that it needs, each after what it needs itself, without those visited before."""
        if start in self._is_done:
            return
        self._is_done[start] = False
        path = [(start, iter(self._needs(start)))]
        while path:
            node, rest = path[-1]
            for other in rest:
                is_done = self._is_done.get(other)
                if is_done is None:
                    self._is_done[other] = False
                    path.append((other, iter(self._needs(other))))
                    break
                if not is_done and self._on_cycle is not None:
                    nodes = [one for one, _ in path]
                    self._on_cycle(nodes[nodes.index(other) :])
            else:
                path.pop()
                self._is_done[node] = True
                yield node
