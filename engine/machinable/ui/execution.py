"""One execution: its facts, its environment, and its failures by kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from machinable.display.failures import Failed, kinds_of
from machinable.display.search import is_search, samples_table
from machinable.display.summary import execution_facts, rows_of
from machinable.display.tables import MAX_TRACEBACK, Table, exact
from machinable.display.terminal import escaped
from machinable.results.execution import Execution
from machinable.results.trial import Trial
from machinable.results.trials import Trials
from machinable.ui.executions import Counts, counts
from machinable.ui.selection import address
from machinable.ui.trial import Link, notes_of
from machinable.units import shortened

__all__ = ["ExecutionView", "FailureKind", "RerunCommand", "execution_view", "failure_kinds"]

MAX_TRIALS = 12  # of one kind of failure that are named
MAX_COMPARED = 3000  # trials of an execution that are compared with its failures

RerunCommand = Callable[[Execution, Trial], "str | None"]  # returns the command that runs a trial again


class ExecutionView(NamedTuple):
    """What the page of an execution shows, as texts for people."""

    title: str
    status: str
    counts: Counts
    facts: dict[str, str]
    notes: list[str]
    failures: int
    packages: dict[str, str]
    diff: str
    samples: Table | None  # of a search, the best first


def execution_view(execution: Execution) -> ExecutionView:
    """Return what the page of an execution shows."""
    facts = {name: value for name, value in execution_facts(execution).items() if name != "status"}
    states = counts(execution)
    return ExecutionView(
        " ".join(filter(None, (str(execution), execution.name))),
        execution.status,
        states,
        {name: exact(value) for name, value in facts.items() if value not in (None, "")},
        notes_of(execution.notes),
        states.by_state.get("failed", 0),
        {name: exact(version) for name, version in (execution.data.get("packages") or {}).items()},
        escaped(shortened((execution.code_diff or b"").decode("utf-8", "replace"), 200_000)),
        samples_table(execution.search) if is_search(execution) else None,
    )


class FailureKind(NamedTuple):
    """Failures whose errors differ only in numbers."""

    number: int
    text: str
    conditions: list[str]
    trials: list[Link]
    command: str | None
    traceback: str


def failure_kinds(execution: Execution, rerun: RerunCommand) -> list[FailureKind]:
    """Return the failures of an execution by kind, most frequent first, with the command that runs them again."""
    failed = list(execution.failures)
    if not failed:
        return []
    keys = {trial.uid for trial in failed}
    others = [trial for trial in execution if trial.uid not in keys]
    step = max(1, len(others) // MAX_COMPARED)
    rows: list[Mapping[str, Any]] = list(rows_of(Trials([*failed, *others[::step]])))
    by_uid = {row["uid"]: row for row in rows}
    kinds = kinds_of([Failed(by_uid[trial.uid], trial.error or {"type": "unknown"}) for trial in failed], rows)
    found = []
    for kind in kinds:
        first = kind.failed[0]
        trials = [
            Link(f"{one.row['component']} {one.row['uid']}", address("trial", str(execution), one.row["uid"]))
            for one in kind.failed[:MAX_TRIALS]
        ]
        text = first.error.get("traceback") or first.error.get("message") or ""
        command = rerun(execution, execution[first.row["uid"]])
        traceback = escaped(shortened(text.rstrip(), MAX_TRACEBACK))
        found.append(FailureKind(len(kind.failed), kind.text, kind.conditions, trials, command, traceback))
    return found
