"""Which trial comes next: the plan in order, each after what it requires, and those that have to wait for something.

Nothing here reads, writes or waits. A plan is walked through once and never held: of a trial that waits for what it
requires its number is kept.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from msgspec.structs import replace

from machinable.plan.spec import TrialSpec

__all__ = ["Available", "Blocked", "Order"]

MOST_WAITING = 100  # trials that want more than is free; smaller ones overtake, but the plan is not searched to its end

Fits = Callable[[Mapping[str, float]], bool]


@dataclass(frozen=True)
class Available:
    """Where the result of a requirement lies (`OY1p1o/9c2EapVGXnPH`), and the digests of its artifacts by name."""

    place: str
    artifacts: Mapping[str, str] = field(default_factory=dict)


class Blocked(NamedTuple):
    """Why a requirement will have no result: it is "blocked" or "skipped" what needs it, because of something."""

    state: str
    because: str


class Order:
    """Hands out the trials of a plan.

    Args:
        plan: all trials; what a trial requires stands before it.
        done: uids that are not to be run. results: of requirements that are there already, by uid.
    """

    def __init__(
        self, plan: Sequence[TrialSpec], done: Collection[str] = (), results: Mapping[str, Available] | None = None
    ) -> None:
        self._plan = plan
        self._planned: Iterator[TrialSpec] = iter(plan)
        self._done = done
        self._settled: dict[str, Available | Blocked] = dict(results or {})
        self._ready: list[int] = []  # a heap of places in the plan
        self._missing: dict[int, int] = {}  # how many requirements a trial still waits for
        self._needed_by: dict[str, list[int]] = {}
        self._again: list[tuple[float, int, TrialSpec]] = []  # a heap: when, place in the plan, what
        self._busy: list[tuple[float, int]] = []  # a heap: when to look again, place in the plan
        self._waiting: deque[TrialSpec] = deque()

    @property
    def is_waiting(self) -> bool:
        """Whether there are trials that wait for free capacity."""
        return bool(self._waiting)

    @property
    def next_look(self) -> float | None:
        """When something that waits for its time is due next; None if nothing does."""
        return min((heap[0][0] for heap in (self._again, self._busy) if heap), default=None)

    # what comes next

    def decided(self, fits: Fits, now: float) -> TrialSpec | None:
        """A trial that is known to be run: tried again, or one that waited for capacity which is free now."""
        if self._again and self._again[0][0] <= now and fits(self._again[0][2].resources):
            return heapq.heappop(self._again)[2]
        for index, held in enumerate(self._waiting):
            if fits(held.resources):
                del self._waiting[index]
                return held
        return None

    def next(self, now: float) -> TrialSpec | None:
        """A trial for which all that it requires is settled; None if there is none at the moment."""
        if len(self._waiting) >= MOST_WAITING:
            return None
        if self._ready:
            return self._plan[heapq.heappop(self._ready)]
        for spec in self._planned:
            if spec.uid in self._done or (spec.requires and self._hold(spec)):
                continue
            return spec
        if self._busy and self._busy[0][0] <= now:
            return self._plan[heapq.heappop(self._busy)[1]]
        return None

    def _hold(self, spec: TrialSpec) -> bool:
        """Keep a trial until all that it requires is settled. False if it is."""
        wanted = {needed.uid for needed in spec.requires.values() if needed.uid not in self._settled}
        if not wanted or self.obstacle(spec) is not None:
            return False
        self._missing[spec.index] = len(wanted)
        for uid in wanted:
            self._needed_by.setdefault(uid, []).append(spec.index)
        return True

    # what becomes of them

    def wait(self, spec: TrialSpec) -> None:
        """It wants more than is free."""
        self._waiting.append(spec)

    def try_again(self, spec: TrialSpec, due: float) -> None:
        """Its next attempt is at that time or later."""
        heapq.heappush(self._again, (due, spec.index, spec))

    def look_again(self, spec: TrialSpec, due: float) -> None:
        """Somebody else computes it; it is to be looked at again at that time."""
        heapq.heappush(self._busy, (due, spec.index))

    def settle(self, spec: TrialSpec, result: Available | Blocked) -> None:
        """A requirement has its result, or will not have one: what waited for that comes next."""
        if not spec.is_requirement:
            return
        self._settled[spec.uid] = result
        for index in self._needed_by.pop(spec.uid, ()):
            missing = self._missing.get(index)
            if missing is None:
                continue  # another obstacle has let it go
            if missing == 1 or isinstance(result, Blocked):
                del self._missing[index]
                heapq.heappush(self._ready, index)
            else:
                self._missing[index] = missing - 1

    def obstacle(self, spec: TrialSpec) -> Blocked | None:
        """Why a trial cannot run; a failure counts more than what was left out."""
        found = [self._settled.get(needed.uid) for needed in spec.requires.values()]
        obstacles = [one for one in found if isinstance(one, Blocked)]
        return min(obstacles, default=None)  # "blocked" < "skipped"

    def results(self, spec: TrialSpec) -> dict[str, Available]:
        """The results of what a trial requires, by the names that it uses."""
        found = {name: self._settled[needed.uid] for name, needed in spec.requires.items()}
        return {name: one for name, one in found.items() if isinstance(one, Available)}

    def placed(self, spec: TrialSpec) -> TrialSpec:
        """The trial, told where the results of what it requires lie."""
        if not spec.requires:
            return spec
        results = self.results(spec)
        return replace(
            spec, requires={name: replace(needed, place=results[name].place) for name, needed in spec.requires.items()}
        )
