"""The order of what needs each other: everything after what it needs, without recursion, and circles found."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Generic, TypeVar

__all__ = ["Order"]

K = TypeVar("K", bound=Hashable)


class Order(Generic[K]):
    """Visits the nodes of a graph once.

    Args:
        needs: the nodes that a node needs, asked once for each.
        circle: is told the nodes of a circle in order, the first of them not repeated; the circle is then cut.
    """

    def __init__(self, needs: Callable[[K], Iterable[K]], circle: Callable[[Sequence[K]], None] | None = None) -> None:
        self._needs = needs
        self._circle = circle
        self._is_done: dict[K, bool] = {}  # False: on the way to it

    def visit(self, start: K) -> Iterator[K]:
        """A node and all that it needs, each after what it needs itself; what was visited before is left out."""
        if start in self._is_done:
            return
        self._is_done[start] = False
        way = [(start, iter(self._needs(start)))]
        while way:
            node, rest = way[-1]
            for other in rest:
                is_done = self._is_done.get(other)
                if is_done is None:
                    self._is_done[other] = False
                    way.append((other, iter(self._needs(other))))
                    break
                if not is_done and self._circle is not None:
                    nodes = [one for one, _ in way]
                    self._circle(nodes[nodes.index(other) :])
            else:
                way.pop()
                self._is_done[node] = True
                yield node
