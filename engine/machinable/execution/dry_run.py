"""Determine what an execution would do, without running or writing anything."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import closing, suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from msgspec import Struct

from machinable.errors import Damaged, StorageError, StorageUnavailable, listed
from machinable.execution.options import read_options
from machinable.execution.preflight import Checked, prepare
from machinable.execution.reuse import GIVEN, ReusePolicy, SharedResults
from machinable.execution.unneeded import find_unneeded
from machinable.plan.declared import task_of
from machinable.plan.identity import identity
from machinable.plan.plan import Plan
from machinable.plan.spec import TrialSpec
from machinable.plan.table import text_table
from machinable.project import Project
from machinable.results.pointers import Available
from machinable.results.storage import Storage
from machinable.serialization import decode, dumps
from machinable.storage.files import Files
from machinable.storage.locks import open_locks
from machinable.storage.open import open_files

if TYPE_CHECKING:
    from machinable.execution.resume import Changes

__all__ = ["Action", "PlannedOutcome", "changes", "dry_run", "outcomes_of", "outcomes_text"]

LISTED = "it is listed in the task"
MAX_SEARCHED = 50  # executions in which a result with another seed is searched

Action: TypeAlias = Literal["pending", "run", "reuse", "stale", "busy", "keep", "unneeded"]


class PlannedOutcome(Struct, frozen=True):
    """What would happen to a trial."""

    uid: str
    # "run"; "reuse" a result; "stale": run, because an input has changed; "busy": another execution is computing it;
    # "keep": it finished in the execution that is resumed; "unneeded": it has no result, and nothing that runs requires
    # it; "pending": unknown without a storage
    action: Action
    why: str
    source: str | None = None  # where its result is, as `OY1p1o/9c2EapVGXnPH`


def dry_run(
    task: Any, storage: Any = None, seed: Any = None, project: Any = None, **options: Any
) -> tuple[Plan, list[PlannedOutcome]]:
    """Return the plan that `execute` would run with these arguments, and what would happen to each trial.

    Raises:
        ConfigurationError, UsageError, StorageError, Refused: As `execute`, before anything is started.
    """
    checked = _prepared(task, storage, seed, project, options)
    return checked.plan, outcomes_of(checked)


def changes(resume: str, task: Any = None, storage: Any = None, *, project: Any = None) -> Changes:
    """Return what `execute(task, storage, resume=…)` would add to, remove from and keep of a stored execution.

    Raises:
        ConfigurationError, UsageError, StorageError, Refused: As `execute`, before anything is started.
    """
    checked = _prepared(task, storage, None, project, {"resume": resume})
    assert checked.stored is not None
    return checked.stored


def _prepared(task: Any, storage: Any, seed: Any, project: Any, options: dict[str, Any]) -> Checked:
    project = project if isinstance(project, Project) else Project(project)
    task = None if task is None else task_of(task, project)
    return prepare(task, read_options(task, storage, seed, "dry", project, options))


def outcomes_of(checked: Checked) -> list[PlannedOutcome]:
    """Return what would happen to each trial, in the order of the plan."""
    plan, reuse, options, stored = checked.plan, checked.reuse, checked.options, checked.stored
    if options.storage.url is None:
        return [PlannedOutcome(row.uid, "pending", "nothing is stored without a storage") for row in plan.rows]
    files = _existing_storage(options.url) if stored is None else stored.stored.files
    if files is None:  # it would be created
        return _outcomes(plan, reuse, None, (), options.url)
    with closing(open_locks(files, *options.locks)) as locks:
        finished = frozenset() if stored is None else stored.unchanged
        return _outcomes(plan, reuse, checked.shared_results(files, locks), finished, options.url)


def _existing_storage(url: str) -> Files | None:
    try:
        return open_files(url, create=False)
    except StorageUnavailable:
        if "://" in url or os.path.lexists(url):
            raise
        return None


def _outcomes(
    plan: Plan,
    policy: ReusePolicy,
    shared: SharedResults | None,
    finished: Collection[str],
    url: str,
) -> list[PlannedOutcome]:
    outcomes: list[PlannedOutcome] = []
    results: dict[str, Available] = {}  # by identity
    running: dict[str, str] = {}  # the components of requirements that would run
    others = _OtherSeeds(url)
    unneeded = {} if shared is None else find_unneeded(plan, policy, shared, finished)
    for spec in plan:
        if spec.uid in finished:
            outcome = PlannedOutcome(spec.uid, "keep", "it has finished")
        elif spec.definition.is_requirement and spec.identity in unneeded:
            outcome = PlannedOutcome(spec.uid, "unneeded", unneeded[spec.identity])
        elif spec.definition.stored_at:
            outcome = PlannedOutcome(spec.uid, "reuse", GIVEN, spec.definition.stored_at)
        elif shared is None or not policy.shares(spec.definition):
            outcome = PlannedOutcome(
                spec.uid, "run", "there is no result yet" if spec.definition.is_requirement else LISTED
            )
        else:
            outcome = _outcome(spec, policy, shared, results, running, others)
        if spec.definition.is_requirement and outcome.action in ("run", "stale", "busy"):
            running[spec.identity] = spec.component
        outcomes.append(outcome)
    return outcomes


class _OtherSeeds:
    """Find results of the same content in a storage that no identity leads to, because they have another seed.

    They are searched in the newest executions, which are read when the first is asked for.
    """

    def __init__(self, url: str) -> None:
        self._url = url

    @cached_property
    def _finished(self) -> dict[tuple[str, str], list[tuple[str, int, str]]]:
        found: dict[tuple[str, str], list[tuple[str, int, str]]] = {}
        with Storage(self._url) as storage:
            for execution in storage.newest(MAX_SEARCHED)[0]:
                with suppress(StorageError):  # a damaged one has no results that could be named
                    for trial in execution.trials:
                        if trial.status == "finished":
                            key = trial.component, dumps(decode(trial.planned("config")))
                            facts = trial.identity, trial.seed, f"{execution}/{trial.uid}"
                            found.setdefault(key, []).append(facts)
        return found

    def find(self, spec: TrialSpec) -> str | None:
        """Return the place of such a result, as `OY1p1o/9c2EapVGXnPH`; None if there is none."""
        content = spec.definition.content
        for found, seed, place in self._finished.get((spec.component, dumps(spec.stored)), ()):
            if found != spec.identity and found in (identity(content, seed), identity(content, None)):
                return place
        return None


def _outcome(
    spec: TrialSpec,
    policy: ReusePolicy,
    shared: SharedResults,
    results: dict[str, Available],
    running: Mapping[str, str],
    others: _OtherSeeds,
) -> PlannedOutcome:
    try:
        decision = shared.decide(spec, results.get)
    except Damaged as error:
        return PlannedOutcome(spec.uid, "run", error.message)
    source = None if decision.pointer is None else decision.pointer.trial
    if decision.pointer is None or decision.action != "reuse":
        holder = shared.holder(spec)
        if holder is not None:
            return PlannedOutcome(spec.uid, "busy", f"{holder} is computing it")
        if decision.pointer is None and decision.action == "run" and (other := others.find(spec)) is not None:
            return PlannedOutcome(spec.uid, "run", f"there is a result with another seed: {other}")
        return PlannedOutcome(spec.uid, decision.action, decision.why, source)
    results[spec.identity] = Available(decision.pointer.trial, decision.pointer.artifacts)
    why = decision.why
    unsure = [running[read.identity] for read in decision.pointer.inputs.values() if read.identity in running]
    if unsure and policy.cascade:
        why = f"unless the result of {unsure[0]} changes"
    if decision.changed:
        why += f"; its code has changed since: {listed(decision.changed)}"
    return PlannedOutcome(spec.uid, "reuse", why, source)


def outcomes_text(plan: Plan, outcomes: Sequence[PlannedOutcome]) -> str:
    """Return the plan as text with what would happen to each trial, or only the plan if everything would run."""
    if all(one.action == "pending" or one.why == LISTED for one in outcomes):
        return str(plan)
    headings, rows = plan.table()
    rows = [
        [*row, one.action, f"{one.source}: {one.why}" if one.source else one.why]
        for row, one in zip(rows, outcomes, strict=True)
    ]
    counts = ", ".join(f"{count} {action}" for action, count in Counter(one.action for one in outcomes).items())
    title = f"{plan.name or 'Plan'} {plan.id}: {len(plan)} trial{'' if len(plan) == 1 else 's'} ({counts})"
    return "\n".join([title, *text_table([*headings, "action", "why"], rows)])
