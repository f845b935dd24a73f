"""Decide which trial is next: trials in the order of the plan, each after its requirements.

Nothing here reads, writes or sleeps. The plan is iterated once and not held in memory: of a trial that waits for
requirements only the index is stored.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial

from msgspec import Struct
from msgspec.structs import replace

from machinable.plan.spec import Places, Requirement, TrialSpec
from machinable.results.pointers import Available

__all__ = ["Blocked", "TrialQueue"]

MAX_DIGESTS = 1000  # artifacts of a requirement whose digests are sent with a trial
MAX_HELD = 100  # trials held back for resources; smaller ones overtake, but the plan is not searched to its end

Fits = Callable[[Mapping[str, float]], bool]


class Blocked(Struct, frozen=True, order=True):
    """The reason why a requirement has no result: trials that need it are "blocked" or "skipped" because of it."""

    state: str
    because: str


class TrialQueue:
    """Hand out the trials of a plan except finished ones, requirements before the trials that need them."""

    def __init__(
        self,
        plan: Sequence[TrialSpec],
        done: Collection[str] = (),
        results: Mapping[str, Available | None] | None = None,
    ) -> None:
        self._plan = plan
        self._planned: Iterator[TrialSpec] = iter(plan)
        self._position = 0  # of the next planned trial
        self._done = done
        # The requirements, by identity; None for those that are not needed
        self._settled: dict[str, Available | Blocked | None] = dict(results or {})
        self._requires: dict[str, Mapping[str, Requirement]] = {}  # what requirements require, by their identity
        # What the trials of a listed component require, directly and indirectly, by the id of the mapping they share
        self._located: dict[int, tuple[object, dict[str, Requirement], Places]] = {}
        self._ready: list[int] = []  # a heap of plan indices
        self._missing: dict[int, int] = {}  # the number of requirements that a trial still waits for
        self._needed_by: dict[str, list[int]] = {}
        self._retries: list[tuple[float, int, TrialSpec]] = []  # a heap: due time, plan index, trial
        self._busy: list[tuple[float, int]] = []  # a heap: due time, plan index
        self._held: deque[TrialSpec] = deque()  # trials that wait for free resources

    @property
    def is_holding(self) -> bool:
        """Whether trials wait for free resources."""
        return bool(self._held)

    @property
    def next_due(self) -> float | None:
        """The time at which the next retry or check of a busy result is due; None if there is none."""
        return min((heap[0][0] for heap in (self._retries, self._busy) if heap), default=None)

    # what comes next

    def pop_decided(self, fits: Fits, now: float) -> TrialSpec | None:
        """Return a trial that is known to run: a retry that is due, or a held one whose resources are free now."""
        if self._retries and self._retries[0][0] <= now and fits(self._retries[0][2].resources):
            return heapq.heappop(self._retries)[2]
        for index, held in enumerate(self._held):
            if fits(held.resources):
                del self._held[index]
                return held
        return None

    def pop(self, now: float) -> TrialSpec | None:
        """Return a trial whose requirements are all settled; None if there currently is none."""
        if len(self._held) >= MAX_HELD:
            return None
        if self._ready:
            return self._plan[heapq.heappop(self._ready)]
        for spec in self._planned:
            self._position = spec.index + 1
            if spec.requires and spec.definition.is_requirement:
                self._requires[spec.identity] = spec.requires
            if spec.uid in self._done or (spec.requires and self._must_wait(spec)):
                continue
            return spec
        if self._busy and self._busy[0][0] <= now:
            return self._plan[heapq.heappop(self._busy)[1]]
        return None

    def next(self, count: int) -> list[TrialSpec]:
        """Return about this number of the next trials, without those that wait for requirements."""
        found = [self._plan[index] for index in self._ready[:count]]
        for index in range(self._position, min(len(self._plan), self._position + count - len(found))):
            spec = self._plan[index]
            if spec.uid not in self._done and all(one.identity in self._settled for one in spec.requires.values()):
                found.append(spec)
        return found

    def _must_wait(self, spec: TrialSpec) -> bool:
        missing = {needed.identity for needed in spec.requires.values() if needed.identity not in self._settled}
        if not missing or self.blocker(spec) is not None:
            return False
        self._missing[spec.index] = len(missing)
        for identity in missing:
            self._needed_by.setdefault(identity, []).append(spec.index)
        return True

    def extend(self) -> None:
        """Take note that the plan has got further trials."""
        self._planned = map(self._plan.__getitem__, range(self._position, len(self._plan)))

    # what becomes of a trial

    def hold(self, spec: TrialSpec) -> None:
        """Hold back a trial that needs more resources than are free."""
        self._held.append(spec)

    def retry(self, spec: TrialSpec, due: float) -> None:
        """Schedule the next attempt of a trial, at `due` or later."""
        heapq.heappush(self._retries, (due, spec.index, spec))

    def look_again(self, spec: TrialSpec, due: float) -> None:
        """Return a trial at `due` again, because another execution is computing it."""
        heapq.heappush(self._busy, (due, spec.index))

    def settle(self, spec: TrialSpec, result: Available | Blocked | None) -> None:
        """Release the trials that wait for a requirement that has a result or never will; None: it is not needed."""
        if not spec.definition.is_requirement:
            return
        self._settled[spec.identity] = result
        for index in self._needed_by.pop(spec.identity, ()):
            missing = self._missing.get(index)
            if missing is None:
                continue  # released already by a requirement that is blocked
            if missing == 1 or isinstance(result, Blocked):
                del self._missing[index]
                heapq.heappush(self._ready, index)
            else:
                self._missing[index] = missing - 1

    def blocker(self, spec: TrialSpec) -> Blocked | None:
        """Return why a trial cannot run, or None; failures come before skipped requirements."""
        settled = (self._settled.get(needed.identity) for needed in spec.requires.values())
        return min((one for one in settled if isinstance(one, Blocked)), default=None)  # "blocked" < "skipped"

    def result(self, identity: str) -> Available | None:
        """Return the result of a requirement, if there already is one."""
        settled = self._settled.get(identity)
        return settled if isinstance(settled, Available) else None

    def located(self, spec: TrialSpec) -> TrialSpec:
        """Return the trial with the places of its requirements' results filled in, direct and indirect ones."""
        if not spec.requires:
            return spec
        located = self._located.get(id(spec.requires))
        if located is None:
            results = {name: self.result(needed.identity) for name, needed in spec.requires.items()}
            requires = {
                name: replace(spec.requires[name], place=None)
                if found is None
                else replace(
                    spec.requires[name],
                    place=found.place,
                    digests=found.artifacts if len(found.artifacts) <= MAX_DIGESTS else {},
                )
                for name, found in results.items()
            }
            located = spec.requires, requires, Places(partial(self._places_behind, spec))
            if not spec.definition.is_requirement:
                self._located[id(spec.requires)] = located
        return replace(spec, requires=located[1], indirect=located[2])

    def _places_behind(self, spec: TrialSpec) -> dict[str, str]:
        """Return the places of the results that required components may read, by identity."""
        found: dict[str, str] = {}
        seen: set[str] = set()
        waiting = list(spec.requires.values())
        while waiting:
            needed = waiting.pop()
            if needed.artifact is None and needed.identity not in seen:  # of others only an artifact is read
                seen.add(needed.identity)
                for one in self._requires.get(needed.identity, {}).values():
                    result = self.result(one.identity)
                    if result is not None:
                        found[one.identity] = result.place
                    waiting.append(one)
        return found
