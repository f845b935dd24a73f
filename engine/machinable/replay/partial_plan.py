"""Plans of which only some trials run again: those that are asked for, and what they require."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

from machinable.errors import NotStored
from machinable.plan.plan import Plan
from machinable.plan.spec import TrialSpec

__all__ = ["Part", "part"]


@dataclass(frozen=True, eq=False, repr=False)
class Part(Plan):
    """A plan with some of its trials: these are walked through, by number there are all."""

    kept: Collection[str] = ()

    def __len__(self) -> int:
        return len(self.kept)

    def __iter__(self) -> Iterator[TrialSpec]:
        for index in range(len(self.rows)):
            if self.rows[index].uid in self.kept:
                yield self._spec(index)

    def __getitem__(self, index: Any) -> Any:
        return super().__getitem__(index) if isinstance(index, slice) else self._spec(index)


def part(plan: Plan, uids: Sequence[str]) -> Part:
    """The plan, of which only these trials and what they require are walked through.

    Raises:
        NotStored: one of them is not in it.
    """
    specs = {spec.uid: spec for spec in plan}
    kept: set[str] = set()
    waiting = list(uids)
    while waiting:
        uid = waiting.pop()
        if uid not in specs:
            raise _another_plan(uid)
        if uid not in kept:
            kept.add(uid)
            waiting += [needed.uid for needed in specs[uid].requires.values()]
    facts = {field.name: getattr(plan, field.name) for field in fields(plan)}
    return Part(**facts, kept=frozenset(kept))


def _another_plan(uid: str) -> NotStored:
    return NotStored(
        f"the trial {uid} is not in the plan that the restored code makes of the task",
        given=uid,
        todo="The code, or the version of machinable, makes another plan than it made then.",
    )
