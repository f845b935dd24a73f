"""The list of executions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from machinable.errors import StorageError
from machinable.results.execution import Execution
from machinable.results.query import find_field, states
from machinable.results.trials import STATES
from machinable.ui.selection import address
from machinable.units import format_time

__all__ = ["PAGE", "Counts", "Listed", "counts", "list_executions"]

PAGE = 50  # executions on one page


class Counts(NamedTuple):
    """How many trials are in each state, in the order of states; and how many have ended with a result."""

    total: int
    by_state: dict[str, int]

    def __str__(self) -> str:
        return ", ".join(f"{number:,} {state}" for state, number in self.by_state.items()) or "no trials"


class Listed(NamedTuple):
    """An execution in the list; all values are texts for people."""

    name: str
    href: str
    task: str
    status: str
    started: str
    components: str
    counts: Counts
    notes: str


def counts(execution: Execution) -> Counts:
    """Count the trials of an execution by state."""
    found = Counter(states(list(execution)))
    return Counts(sum(found.values()), {state: found[state] for state in STATES if found[state]})


def list_executions(executions: Sequence[Execution], page: int = 1) -> list[Listed]:
    """Return one page of the list; an execution that has become unreadable is left out."""
    found = []
    for execution in executions[(page - 1) * PAGE : page * PAGE]:
        try:
            found.append(_listed(execution))
        except StorageError:
            continue  # the next look at the storage says why
    return found


def _listed(execution: Execution) -> Listed:
    field = find_field("component")
    components = dict.fromkeys(field.values(list(execution))) if field else ()
    return Listed(
        str(execution),
        address("execution", str(execution)),
        execution.name or "",
        execution.status,
        format_time(execution.started),
        ", ".join(components),
        counts(execution),
        "; ".join(line["note"] for line in execution.notes),
    )
