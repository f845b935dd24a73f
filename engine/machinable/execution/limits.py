"""Limits that executions share, such as licenses: each unit in use is a lease in the storage.

Only the holder of the turn of a limit takes units, and it keeps the turn while it waits, so an execution that needs
several units gets them. Who wants the turn first takes the place next to it: one that has just had its turn does not
overtake another that waits.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress

from msgspec import Struct, field

from machinable.errors import StorageUnavailable
from machinable.execution.reuse import holder_text
from machinable.plan.spec import TrialSpec
from machinable.storage import layout
from machinable.storage.locks import Lease, Locks

__all__ = ["SharedLimits"]

INTERVAL = 0.25  # seconds between two attempts to take units
REMOTE_INTERVAL = 1.0  # the same if each attempt takes requests
UNITS_PER_SECOND = 10  # at which a remote storage is asked; with more units, attempts are rarer
NEXT, TURN = "next", "turn"


class _Held(Struct):
    """What one trial holds: places in the line of limits while it waits, and units; by their paths."""

    line: dict[str, Lease] = field(default_factory=dict)
    units: dict[str, Lease] = field(default_factory=dict)

    def leave_line(self) -> None:
        while self.line:
            self.line.popitem()[1].release()

    def release(self) -> None:
        self.leave_line()
        while self.units:
            self.units.popitem()[1].release()


class SharedLimits:
    """The units of shared limits that the trials of one execution hold.

    Args:
        locks: The locks of the storage.
        folder: The folder of the execution, which others see as the holder.
        totals: The number of units of each limit.
        is_remote: Whether the storage is remote.
    """

    def __init__(self, locks: Locks, folder: str, totals: Mapping[str, int], *, is_remote: bool = False) -> None:
        self._locks = locks
        self._folder = folder
        self._totals = totals
        self._held: dict[str, _Held] = {}  # by the uid of a trial
        self._interval = max(REMOTE_INTERVAL, sum(totals.values()) / UNITS_PER_SECOND) if is_remote else INTERVAL
        self._blocked = ""  # the lease of another execution that the last attempt met
        self.waiting: TrialSpec | None = None  # the one trial that stays in line while it waits
        self.next_due: float | None = None  # when to try again, by `time.monotonic`; None for at once

    def may_fit(self, wanted: Mapping[str, float]) -> bool:
        """Return whether to try to take the units of a trial now."""
        is_due = self.next_due is None or self.next_due <= time.monotonic()
        return is_due or self._totals.keys().isdisjoint(wanted)

    def take(self, spec: TrialSpec) -> str | None:
        """Take the units that a trial needs; return None, or the limit that has too few free ones now."""
        # All executions take limits in the same order, so none waits for another that waits for it.
        wanted = [(name, int(amount)) for name, amount in sorted(spec.resources.items()) if name in self._totals]
        if not wanted:
            return None
        self._blocked = ""
        is_waiting = self.waiting is not None and self.waiting.uid == spec.uid
        if self.waiting is not None and not is_waiting:  # which comes first, and is due as before
            for name, _ in wanted:
                if name in self.waiting.resources:
                    return name
        held = self._held.setdefault(spec.uid, _Held())
        missing = next((name for name, count in wanted if not self._has(held, name, count, spec.uid)), None)
        if missing is None:
            held.leave_line()
            self.waiting = None if is_waiting else self.waiting
            self.next_due = None
        elif is_waiting or self.waiting is None:
            self.waiting = spec
            self.next_due = time.monotonic() + self._interval
        else:
            self._held.pop(spec.uid).release()
        return missing

    def _has(self, held: _Held, name: str, count: int, uid: str) -> bool:
        """Take units until a trial has as many as it needs, and return whether it has."""
        place, turn = layout.limit_lease(name, NEXT), layout.limit_lease(name, TURN)
        units = dict.fromkeys(layout.limit_lease(name, str(number)) for number in range(self._totals[name]))
        with suppress(StorageUnavailable, OSError):  # it waits until the storage answers
            if turn not in held.line:
                if not (place in held.line or self._take(place, held.line, uid)) or not self._take(
                    turn, held.line, uid
                ):
                    return False
                held.line.pop(place).release()
            for path in units:
                if len(held.units.keys() & units) == count:
                    break
                if path not in held.units:
                    self._take(path, held.units, uid)
        return len(held.units.keys() & units) == count

    def _take(self, path: str, into: dict[str, Lease], uid: str) -> bool:
        """Take a lease, and return whether it was free; no other trial of this execution has it."""
        if any(path in one.line or path in one.units for one in self._held.values()):
            return False
        lease = self._locks.take(path, {"execution": self._folder, "uid": uid})
        if lease is None:
            self._blocked = self._blocked or path
            return False
        into[path] = lease
        return True

    def other(self) -> str | None:
        """Return the other execution that the last attempt met, as text; None if it met none."""
        if self._blocked:
            with suppress(StorageUnavailable, OSError):
                facts = self._locks.holder(self._blocked)
                return None if facts is None else holder_text(facts)
        return None

    def give_back(self, spec: TrialSpec) -> None:
        """Release what a trial holds."""
        if (held := self._held.pop(spec.uid, None)) is not None:
            held.release()
            self.next_due = None

    def withdraw(self) -> None:
        """Let the trial that waits leave the line, because it cannot start now for other reasons."""
        if self.waiting is not None:
            waiting, self.waiting = self.waiting, None
            self.give_back(waiting)

    def close(self) -> None:
        """Release everything."""
        self.waiting = None
        while self._held:
            self._held.popitem()[1].release()
