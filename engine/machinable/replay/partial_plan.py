"""Run only some trials of a plan, and what they require."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

from machinable.errors import NotStored
from machinable.plan.plan import Plan
from machinable.plan.spec import TrialSpec
from machinable.plan.task import Task

__all__ = ["PlanSubset", "TaskSubset", "subset"]


@dataclass(frozen=True, eq=False, repr=False)
class PlanSubset(Plan):
    """A plan that iterates over some of its trials; an index counts all of them."""

    uids: Collection[str] = ()

    def __len__(self) -> int:
        return len(self.uids)

    def __iter__(self) -> Iterator[TrialSpec]:
        return (self._spec(index) for index, row in enumerate(self.rows) if row.uid in self.uids)

    def __getitem__(self, index: Any) -> Any:
        return super().__getitem__(index) if isinstance(index, slice) else self._spec(index)


def subset(plan: Plan, uids: Sequence[str]) -> PlanSubset:
    """Return the plan with only these trials and what they require.

    Raises:
        NotStored: The plan lacks one of them.
    """
    specs = {spec.uid: spec for spec in plan}
    chosen: set[str] = set()
    waiting = list(uids)
    while waiting:
        uid = waiting.pop()
        if uid not in specs:
            raise NotStored(
                f"the trial {uid} is not in the plan that the restored code makes of the task",
                given=uid,
                todo="The code, or the version of machinable, makes another plan than the stored one.",
            )
        if uid not in chosen:
            chosen.add(uid)
            waiting += [required.uid for required in specs[uid].requires.values()]
    facts = {field.name: getattr(plan, field.name) for field in fields(plan)}
    return PlanSubset(**facts, uids=frozenset(chosen))


class TaskSubset(Task):
    """A task of which only some trials run; their flags are those of the whole plan."""

    def __init__(self, task: Task, uids: Sequence[str]) -> None:
        super().__init__(task)
        self._uids = uids

    def plan(self, project: Any = None, seed: object = None) -> Plan:
        """Plan the whole task, and return the subset."""
        return subset(super().plan(project, seed), self._uids)
