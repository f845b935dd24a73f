"""Tells what failed: the component's own error first, then which trials, with which settings, and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from machinable.errors import TrialsFailed
from machinable.plain import dumps
from machinable.plan.table import flatten

if TYPE_CHECKING:
    from machinable.execution.scheduler import Failure, Scheduler
    from machinable.results.execution import Execution

__all__ = ["ComponentError", "groups", "trials_failed"]

SHOWN = 5


class ComponentError(Exception):
    """The traceback of a component, as it was where the component ran."""

    def __init__(self, traceback: str) -> None:
        super().__init__(traceback)
        self.traceback = traceback

    def __str__(self) -> str:
        return "\n" + self.traceback.rstrip()


def groups(failures: list[Failure]) -> list[tuple[str, list[Failure]]]:
    """The failures by error, the most frequent first."""
    found: dict[str, list[Failure]] = {}
    for failure in failures:
        _, error = failure
        message = error["message"].splitlines()[0] if error["message"] else ""
        found.setdefault(f"{error['type']}: {message}" if message else error["type"], []).append(failure)
    return sorted(found.items(), key=lambda item: -len(item[1]))


def trials_failed(scheduler: Scheduler, execution: Execution) -> TrialsFailed:
    """The error for an execution with failures; its cause is the first component's own."""
    plan, failures = scheduler.plan, scheduler.failures
    total, failed = len(plan), scheduler.counts["failed"]
    details = []
    for text, members in groups(failures)[:SHOWN]:
        spec, _ = members[0]
        count = f"{len(members)} trials: " if len(members) > 1 else ""
        details.append(f"{count}{text}")
        details.append(f"  trial {spec.uid} ({spec.index + 1} of {total}), {spec.component} {_settings(spec.stored)}".rstrip())  # noqa: E501  # fmt: skip
    error = TrialsFailed(
        f"{failed} of {total} trial{'' if total == 1 else 's'} of {execution} failed",
        details=details, execution=execution,
    )  # fmt: skip
    error.__cause__ = ComponentError(failures[0][1].get("traceback") or failures[0][1]["message"])
    return error


def _settings(config: Any, limit: int = 100) -> str:
    shown = ", ".join(f"{key}={value if isinstance(value, str) else dumps(value)}" for key, value in flatten(config).items())  # noqa: E501  # fmt: skip
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"
