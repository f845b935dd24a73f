"""How two configurations differ, key by key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from machinable.plan.table import flatten
from machinable.serialization import Plain, canonical

__all__ = ["MISSING", "Change", "differences"]

MISSING: Any = object()


class Change(NamedTuple):
    """A key, by its dotted path, and its two values; `MISSING` where one side does not have it."""

    key: str
    before: Plain
    after: Plain

    @property
    def sides(self) -> list[tuple[Plain, bool]]:
        """Both values, and whether they are there."""
        return [(None if value is MISSING else value, value is not MISSING) for value in (self.before, self.after)]

    def as_data(self) -> dict[str, Plain]:
        """The change for programs; a side that does not have the key has no entry."""
        values = {"before": self.before, "after": self.after}
        return {"key": self.key} | {side: value for side, value in values.items() if value is not MISSING}


def differences(before: Mapping[str, Plain], after: Mapping[str, Plain]) -> list[Change]:
    """The leaves that differ, in the order of the first, then of the second."""
    one, other = flatten(before), flatten(after)
    changes = [Change(key, one.get(key, MISSING), other.get(key, MISSING)) for key in {**one, **other}]
    return [
        change
        for change in changes
        if change.before is MISSING or change.after is MISSING or canonical(change.before) != canonical(change.after)
    ]
