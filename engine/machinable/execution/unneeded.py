"""Find the requirements without a result that need not run, because the results of everything that reads them exist."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType

from machinable.errors import Damaged
from machinable.execution.reuse import ReusePolicy, SharedResults
from machinable.plan.plan import Plan
from machinable.plan.spec import TrialSpec
from machinable.results.pointers import Available

__all__ = ["find_unneeded"]


def find_unneeded(
    plan: Plan,
    policy: ReusePolicy,
    shared: SharedResults,
    finished: Collection[str] = (),
    results: Mapping[str, Available | None] = MappingProxyType({}),
) -> dict[str, str]:
    """Return the identities of requirements without a result that no trial requires which may run, each with a reason.

    A trial may run if it is not reused, or if one of its requirements may run and so may change. A requirement without
    a result runs if a trial that may run requires it. Results that are found are not looked up again by `SharedResults`
    until they have been decided on.

    Args:
        plan: The plan.
        policy: What is reused.
        shared: The results that can be reused.
        finished: The uids of trials that stay, in an execution that is resumed.
        results: The results of those among them that are requirements, by identity.
    """
    uses = plan.uses
    if policy.mode is False or not any(use.identity and use.requires for use in uses):
        return {}
    waiting = {row.use for row in plan.rows if row.uid not in finished}
    may_run = {use for use in waiting if not policy.shares(uses[use].definition) or policy.reruns(uses[use].definition)}
    direct = {needed.use for use in may_run for needed in uses[use].requires.values()}
    if all(use in direct or not uses[use].identity for use in waiting):
        return {}  # without reading the storage

    found = dict(results)
    missing: dict[int, str] = {}
    read: dict[int, set[str]] = {}  # the identities that a trial read when it ran last

    def look_up(spec: TrialSpec, use: int) -> None:
        try:
            decision = shared.look_ahead(spec, found.get)
        except Damaged as error:
            missing[use] = error.message
            return
        if decision.pointer is None:
            missing[use] = "it has no result"
            return
        read.setdefault(use, set()).update(one.identity for one in decision.pointer.inputs.values())
        if decision.action == "reuse":
            found[spec.identity] = Available(decision.pointer.trial, decision.pointer.artifacts)
        else:
            may_run.add(use)

    for index, row in enumerate(plan.rows):
        if uses[row.use].identity and row.uid not in finished and policy.shares(uses[row.use].definition):
            look_up(plan[index], row.use)
    if not missing:
        return {}
    for index, row in enumerate(plan.rows):
        if not uses[row.use].identity and row.uid not in finished and not (row.use in may_run or row.use in missing):
            look_up(plan[index], row.use)
    may_run.update(use for use in missing if not uses[use].identity)
    needed = _closure(plan, policy, may_run, missing, read)
    return {
        uses[use].identity: f"{why}, but no trial that runs requires it"
        for use, why in missing.items()
        if use not in needed
    }


def _closure(
    plan: Plan, policy: ReusePolicy, may_run: set[int], missing: Collection[int], read: Mapping[int, set[str]]
) -> set[int]:
    """Return the uses that may run: with each its missing requirements and, with a cascade, those that require it."""
    uses = plan.uses
    numbers = {uses[use].identity: use for use in missing}
    readers: dict[int, list[int]] = {}
    for number, use in enumerate(uses):
        for needed in use.requires.values():
            readers.setdefault(needed.use, []).append(number)
    found = set(may_run)
    waiting = list(found)
    while waiting:
        number = waiting.pop()
        more = {needed.use for needed in uses[number].requires.values() if needed.use in missing}
        more |= {numbers[identity] for identity in read.get(number, ()) if identity in numbers}
        if policy.cascade:
            more.update(readers.get(number, ()))
        waiting += more - found
        found |= more
    return found
