"""Say what would become of each trial, and why, without running any."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Literal, TypeAlias

from msgspec import Struct

from machinable.errors import Damaged
from machinable.execution.reuse import ReusePolicy, SharedResults
from machinable.plan.plan import Plan
from machinable.plan.spec import TrialSpec
from machinable.plan.table import text_table

__all__ = ["Action", "PlannedOutcome", "outcomes_text", "plan_outcomes"]

LISTED = "it is listed in the task"

Action: TypeAlias = Literal["pending", "run", "reuse", "stale", "busy", "keep"]


class PlannedOutcome(Struct, frozen=True):
    """What would become of a trial.

    Attributes:
        uid: The trial's uid.
        action: "run"; "reuse" a result; "stale": run, because an input has changed; "busy": another execution is
            computing it; "keep": it finished in the execution that is resumed; "pending": unknown without a storage.
        why: The reason, as text.
        source: Where its result is, as `OY1p1o/9c2EapVGXnPH`.
    """

    uid: str
    action: Action
    why: str
    source: str | None = None


def plan_outcomes(
    plan: Plan,
    policy: ReusePolicy,
    shared: SharedResults | None,
    finished: Collection[str] = (),
    *,
    has_storage: bool = True,
) -> list[PlannedOutcome]:
    """Return what would become of the trials of a plan, in its order.

    Args:
        plan: The trials.
        policy: Which results are reused.
        shared: The results of the storage; None if there are none.
        finished: The uids of trials that finished in the execution that is resumed.
        has_storage: Whether a storage was chosen.
    """
    if not has_storage:
        return [PlannedOutcome(row.uid, "pending", "nothing is stored without a storage") for row in plan.rows]
    outcomes: list[PlannedOutcome] = []
    artifacts: dict[str, Mapping[str, str]] = {}  # of requirements whose results exist
    running: dict[str, str] = {}  # the components of requirements that would run
    for spec in plan:
        outcome = _outcome(spec, policy, shared, finished, artifacts, running)
        if spec.is_requirement and outcome.action in ("run", "stale", "busy"):
            running[spec.uid] = spec.component
        outcomes.append(outcome)
    return outcomes


def _outcome(
    spec: TrialSpec,
    policy: ReusePolicy,
    shared: SharedResults | None,
    finished: Collection[str],
    artifacts: dict[str, Mapping[str, str]],
    running: Mapping[str, str],
) -> PlannedOutcome:
    if spec.uid in finished:
        return PlannedOutcome(spec.uid, "keep", "it has finished")
    if shared is None or not policy.shares(spec):
        return PlannedOutcome(spec.uid, "run", "there is no result yet" if spec.is_requirement else LISTED)
    inputs = {name: artifacts[needed.uid] for name, needed in spec.requires.items() if needed.uid in artifacts}
    try:
        decision = shared.decide(spec, inputs)
    except Damaged as error:
        return PlannedOutcome(spec.uid, "run", error.message)
    source = None if decision.pointer is None else decision.pointer.trial
    if decision.pointer is None or decision.action != "reuse":
        holder = shared.holder(spec)
        if holder is not None:
            return PlannedOutcome(spec.uid, "busy", f"{holder} is computing it")
        return PlannedOutcome(spec.uid, decision.action, decision.why, source)
    artifacts[spec.uid] = decision.pointer.artifacts
    why = decision.why
    unsure = [running[needed.uid] for needed in spec.requires.values() if needed.uid in running]
    if unsure and policy.cascade:
        why = f"unless the result of {unsure[0]} changes"
    if decision.other_source is not None:
        why += "; it was computed by other source code"
    return PlannedOutcome(spec.uid, "reuse", why, source)


def outcomes_text(plan: Plan, outcomes: Sequence[PlannedOutcome]) -> str:
    """Return the plan as text with what would become of each trial, or just the plan if that says nothing more."""
    if all(one.action == "pending" or one.why == LISTED for one in outcomes):
        return str(plan)
    headings, rows = plan.table()
    rows = [
        [*row, one.action, f"{one.source}: {one.why}" if one.source else one.why]
        for row, one in zip(rows, outcomes, strict=True)
    ]
    counts = ", ".join(f"{count} {action}" for action, count in Counter(one.action for one in outcomes).items())
    return "\n".join(
        [
            f"{plan.name or 'Plan'} {plan.id}: {len(plan)} trial{'' if len(plan) == 1 else 's'} ({counts})",
            *text_table([*headings, "action", "why"], rows),
        ]
    )
