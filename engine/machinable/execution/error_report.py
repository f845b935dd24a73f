"""Tells what failed: the component's own error first, then which trials, with which settings, and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from machinable.display.progress import is_memory
from machinable.display.tables import MAX_TRACEBACK, shortened
from machinable.errors import TrialsFailed
from machinable.execution.environment import command_line
from machinable.plan.table import flatten
from machinable.serialization import dumps

if TYPE_CHECKING:
    from machinable.execution.ledger import Journal
    from machinable.results.execution import Execution

__all__ = ["ComponentError", "trials_failed"]

SHOWN = 5  # kinds of errors
COMPARED = 10_000  # trials of a plan in which what failed is compared with what did not


class ComponentError(Exception):
    """The traceback of a component, as it was where the component ran."""

    def __init__(self, traceback: str) -> None:
        super().__init__(traceback)
        self.traceback = traceback

    def __str__(self) -> str:
        return "\n" + shortened(self.traceback.rstrip(), MAX_TRACEBACK)


def trials_failed(journal: Journal, execution: Execution) -> TrialsFailed:
    """The error for an execution with failures; its cause is the first component's own."""
    from machinable.display.failures import Failed, kind_lines, kinds_of  # few executions need them
    from machinable.display.summary import rows_of

    total, failed, blocked = journal.planned, journal.counts["failed"], journal.counts["blocked"]
    rows = rows_of(execution.trials) if total <= COMPARED else []
    by_uid = {row["uid"]: row for row in rows}
    specs = {spec.uid: spec for spec, _ in journal.failures}
    kinds = kinds_of(
        [Failed(by_uid.get(uid, {"uid": uid}), error) for uid, (_, error) in zip(specs, journal.failures, strict=True)],
        rows,
    )
    details = []
    for kind in kinds[:SHOWN]:
        spec = specs[kind.failed[0].row["uid"]]
        text, *shared = kind_lines(kind)
        details += [f"{len(kind.failed)} trials: {text}" if len(kind.failed) > 1 else text, *shared]
        details.append(
            f"  trial {spec.uid} ({spec.index + 1} of {total}), {spec.component} {_settings(spec.stored)}".rstrip()
        )
    if len(kinds) > SHOWN:
        details.append(f"and {len(kinds) - SHOWN} other errors")
    error = TrialsFailed(
        f"{failed} of {total} trial{'' if total == 1 else 's'} of {execution} failed"
        + (f" and blocked {blocked} other{'' if blocked == 1 else 's'}" if blocked else ""),
        details=details,
        execution=execution,
        todo=_again(execution),
    )
    error.__cause__ = ComponentError(journal.failures[0][1].get("traceback") or journal.failures[0][1]["message"])
    return error


def _again(execution: Execution) -> str | None:
    """How to run again what failed; in memory there is nothing to go on with."""
    if is_memory(execution.storage):
        return None
    command = command_line(["machinable", "resume", str(execution), "--storage", execution.storage])
    return f"To run again only what has not finished: execute(task, storage, resume={str(execution)!r}), or {command}"


def _settings(config: Any, limit: int = 100) -> str:
    shown = ", ".join(
        f"{key}={value if isinstance(value, str) else dumps(value)}" for key, value in flatten(config).items()
    )
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"
