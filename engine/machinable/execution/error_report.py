"""Report failures: the component's own error first, then the trials, their settings, and what to do next."""

from __future__ import annotations

from typing import Any

from machinable.display.failures import Failed, kinds_of
from machinable.display.progress import is_memory
from machinable.display.summary import rows_of
from machinable.display.tables import MAX_TRACEBACK
from machinable.errors import TrialsFailed
from machinable.execution.environment import command_line
from machinable.execution.ledger import Ledger
from machinable.plan.table import flatten
from machinable.results.execution import Execution
from machinable.serialization import dumps
from machinable.units import shortened

__all__ = ["ComponentError", "trials_failed"]

MAX_KINDS = 5  # of errors that are listed
MAX_COMPARED = 10_000  # trials of a plan whose failures are compared with the other trials


class ComponentError(Exception):
    """The error of a component as text, because it may come from another process.

    Attributes:
        type: The name of its class.
        message: Its message.
        traceback: Its traceback from the process that ran the component.
    """

    def __init__(self, type: str, message: str, traceback: str) -> None:
        super().__init__(type, message, traceback)
        self.type = type
        self.message = message
        self.traceback = traceback

    def __str__(self) -> str:
        return "\n" + shortened(self.traceback.rstrip(), MAX_TRACEBACK)


def trials_failed(ledger: Ledger, execution: Execution) -> TrialsFailed:
    """Return the error for an execution with failures; its cause is the first component's error."""
    total, failed, blocked = ledger.planned, ledger.counts["failed"], ledger.counts["blocked"]
    rows = rows_of(execution.trials) if total <= MAX_COMPARED else []
    by_uid = {row["uid"]: row for row in rows}
    specs = {spec.uid: spec for spec, _ in ledger.failures}
    kinds = kinds_of(
        [Failed(by_uid.get(uid, {"uid": uid}), error) for uid, (_, error) in zip(specs, ledger.failures, strict=True)],
        rows,
    )
    todo = None
    if not is_memory(execution.storage):  # an execution in memory cannot be resumed
        todo = f"To run only what has not finished: execute(task, storage, resume={str(execution)!r})"
        asked = dumps(execution.data["task"])
        if not any(mark in asked for mark in ("__main__:", ".<locals>.", ":<lambda>")):  # no command can import these
            todo += f", or {command_line(['machinable', 'resume', str(execution), '--storage', execution.storage])}"
    details = []
    for kind in kinds[:MAX_KINDS]:
        spec = specs[kind.failed[0].row["uid"]]
        details.append(f"{len(kind.failed)} trials: {kind}" if len(kind.failed) > 1 else str(kind))
        details.append(
            f"  trial {spec.uid} ({spec.index + 1} of {total}), {spec.component} {_settings(spec.stored)}".rstrip()
        )
    if len(kinds) > MAX_KINDS:
        details.append(f"and {len(kinds) - MAX_KINDS} other errors")
    error = TrialsFailed(
        f"{failed} of {total} trial{'' if total == 1 else 's'} of {execution} failed"
        + (f" and blocked {blocked} other{'' if blocked == 1 else 's'}" if blocked else ""),
        details=details,
        execution=execution,
        todo=todo,
    )
    facts = ledger.failures[0][1]
    error.__cause__ = ComponentError(facts["type"], facts["message"], facts.get("traceback") or facts["message"])
    return error


def _settings(config: Any, limit: int = 100) -> str:
    shown = ", ".join(
        f"{key}={value if isinstance(value, str) else dumps(value)}" for key, value in flatten(config).items()
    )
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"
