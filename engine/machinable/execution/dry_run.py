"""What would become of each trial, and why, without running any."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

from machinable.errors import Damaged
from machinable.execution.reuse import Exclusion, Pointers, ReusePolicy, decide_reuse
from machinable.plan.plan import Plan
from machinable.plan.spec import TrialSpec
from machinable.plan.table import text_table

__all__ = ["Action", "PlannedOutcome", "intentions", "intentions_text"]

LISTED = "it is listed in the task"

Action: TypeAlias = Literal["pending", "run", "reuse", "stale", "busy", "keep"]


class PlannedOutcome(NamedTuple):
    """What would become of a trial.

    Attributes:
        action: "run"; "reuse" a result; "stale": run, for what it read has changed; "busy": somebody computes it;
            "keep": it has finished in the execution that goes on; "pending": nothing is known without a storage.
        why: in words. source: where the result lies, as `OY1p1o/9c2EapVGXnPH`.
    """

    uid: str
    action: Action
    why: str
    source: str | None = None


def intentions(
    plan: Plan,
    pointers: Pointers | None,
    rule: ReusePolicy,
    exclusion: Exclusion | None = None,
    keeps: Collection[str] = (),
    *,
    has_storage: bool = True,
) -> list[PlannedOutcome]:
    """What would become of the trials of a plan, in its order.

    Args:
        pointers: those of the storage; None where nothing is shared. exclusion: tells who computes something.
        keeps: uids of trials that have finished in the execution that goes on.
    """
    if not has_storage:
        return [PlannedOutcome(row.uid, "pending", "nothing is kept without a storage") for row in plan.rows]
    found: list[PlannedOutcome] = []
    artifacts: dict[str, Mapping[str, str]] = {}  # of requirements whose results are there
    running: dict[str, TrialSpec] = {}  # requirements that would run
    for spec in plan:
        intention = _intention(spec, pointers, rule, exclusion, keeps, artifacts, running)
        if spec.is_requirement and intention.action in ("run", "stale", "busy"):
            running[spec.uid] = spec
        found.append(intention)
    return found


def _intention(
    spec: TrialSpec,
    pointers: Pointers | None,
    rule: ReusePolicy,
    exclusion: Exclusion | None,
    keeps: Collection[str],
    artifacts: dict[str, Mapping[str, str]],
    running: Mapping[str, TrialSpec],
) -> PlannedOutcome:
    if spec.uid in keeps:
        return PlannedOutcome(spec.uid, "keep", "it has finished")
    if pointers is None or not rule.shares(spec):
        return PlannedOutcome(spec.uid, "run", "it is not there yet" if spec.is_requirement else LISTED)
    try:
        pointer = pointers.find(spec.identity)
    except Damaged as error:
        return PlannedOutcome(spec.uid, "run", error.message)
    read = {name: artifacts[needed.uid] for name, needed in spec.requires.items() if needed.uid in artifacts}
    verdict = decide_reuse(spec, rule, pointer, read, pointers.source(spec))
    if verdict.pointer is None:
        holder = exclusion.holder(spec) if exclusion is not None else None
        if holder is not None:
            return PlannedOutcome(spec.uid, "busy", f"{holder} computes it")
        return PlannedOutcome(spec.uid, verdict.action, verdict.why, pointer.trial if pointer is not None else None)
    artifacts[spec.uid] = verdict.pointer.artifacts
    why = verdict.why
    unsure = [running[needed.uid].component for needed in spec.requires.values() if needed.uid in running]
    if unsure and rule.cascade:
        why = f"unless {unsure[0]} gives something else than before"
    if verdict.other_source is not None:
        why += "; it was made by other source"
    return PlannedOutcome(spec.uid, "reuse", why, verdict.pointer.trial)


def intentions_text(plan: Plan, found: Sequence[PlannedOutcome]) -> str:
    """The plan as text, with what would become of each trial; without that where all just run, or nobody knows."""
    if all(one.action == "pending" or one.why == LISTED for one in found):
        return str(plan)
    headings, rows = plan.rows_for_people()
    rows = [
        [*row, one.action, f"{one.source}: {one.why}" if one.source else one.why]
        for row, one in zip(rows, found, strict=True)
    ]
    counts = ", ".join(f"{count} {action}" for action, count in Counter(one.action for one in found).items())
    return "\n".join(
        [
            f"{plan.name or 'Plan'} {plan.id}: {len(plan)} trial{'' if len(plan) == 1 else 's'} ({counts})",
            *text_table([*headings, "action", "why"], rows),
        ]
    )
