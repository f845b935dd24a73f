"""Sees to it that of several executions that want the same result one computes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from machinable.plan.spec import TrialSpec
from machinable.storage import layout
from machinable.storage.locks import Lease, Locks

__all__ = ["Exclusion", "described"]


class Exclusion:
    """The leases that an execution holds while it computes what others may want, too.

    Args:
        locks: of the storage; None where there is nothing to share. folder: of the execution.
    """

    def __init__(self, locks: Locks | None, folder: str) -> None:
        self._locks = locks
        self._folder = folder
        self._held: dict[str, Lease] = {}

    def has(self, spec: TrialSpec) -> bool:
        """Whether we have the lease of a trial."""
        return self._locks is None or spec.uid in self._held

    def take(self, spec: TrialSpec) -> bool:
        """Take the lease of a trial. False while somebody else has it."""
        if self._locks is None:
            return True
        lease = self._locks.take(layout.lease(spec.identity), {"execution": self._folder, "uid": spec.uid})
        if lease is None:
            return False
        self._held[spec.uid] = lease
        return True

    def release(self, spec: TrialSpec) -> None:
        """Give the lease of a trial back, if we have it."""
        lease = self._held.pop(spec.uid, None)
        if lease is not None:
            lease.release()

    def holder(self, spec: TrialSpec) -> str | None:
        """Who computes a trial, in words; None if nobody."""
        facts = self._locks.holder(layout.lease(spec.identity)) if self._locks is not None else None
        return described(facts) if facts is not None else None

    def close(self) -> None:
        """Give back what is held."""
        for lease in self._held.values():
            lease.release()
        self._held.clear()


def described(facts: Mapping[str, Any]) -> str:
    """The holder of a lease in words: `OY1p1o on node7 (process 4711)`."""
    text = str(facts.get("execution") or "somebody")
    if facts.get("host"):
        text += f" on {facts['host']}"
    return f"{text} (process {facts['pid']})" if facts.get("pid") else text
