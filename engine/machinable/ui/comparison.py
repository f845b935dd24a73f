"""Two trials, or two executions, side by side: configuration, environment, code and results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from machinable.display.summary import Side, side_by_side, side_table
from machinable.display.tables import Table, cell, exact, printable
from machinable.errors import InvalidValue
from machinable.results.diff import (
    FileChange,
    code_changes,
    code_facts_changes,
    compare,
    environment_changes,
    package_changes,
)
from machinable.results.trial import Trial
from machinable.ui.catalog import Catalog
from machinable.ui.trial import settings

__all__ = ["Comparison", "Part", "Row", "compare_sides", "side"]

MAX_LINES = 400  # of the diff of one file
MAX_FILES = 50
MAX_VALUES = 10  # of one setting of an execution


class Row(NamedTuple):
    """A name and its two values as text."""

    name: str
    one: str
    other: str
    differs: bool


class Part(NamedTuple):
    """A heading, and rows below it."""

    heading: str
    rows: list[Row]


class Comparison(NamedTuple):
    """Everything that is shown.

    Attributes:
        table: The repetitions of two executions, with the settings in which they differ.
        parts: What both sides have, or differs.
        files: Files of the code that differ.
        results: Lines about results that differ.
    """

    table: Table | None
    parts: list[Part]
    files: list[FileChange]
    results: list[str]


def side(catalog: Catalog, text: str) -> Side:
    """Return the execution or the trial that a text names: `ID`, or `ID/UID`.

    Raises:
        NotStored: There is none.
        InvalidValue: The text is empty, or the beginning of several names.
    """
    name, slash, uid = text.strip().partition("/")
    if not name:
        raise InvalidValue("a comparison needs two", given=text, todo="Name two executions ID, or trials ID/UID.")
    execution = catalog.execution(str(catalog.storage.find(name)))
    if not slash:
        return Side(execution)
    found = [trial for trial in execution.trials if uid and trial.uid.startswith(uid)]
    return Side(execution, found[0] if len(found) == 1 else execution[uid])


def compare_sides(one: Side, other: Side) -> Comparison:
    """Compare two sides."""
    data = one.execution.data, other.execution.data
    parts = []
    results: list[str] = []
    table = None
    if one.trial is not None and other.trial is not None:
        parts.append(_part("Trial", _facts(one.trial), _facts(other.trial)))
        parts.append(_part("Configuration", settings(one.trial), settings(other.trial)))
        parts.append(_part("Last row", _last(one.trial), _last(other.trial)))
        results = [printable(str(difference)) for difference in compare(one.trial, other.trial)]
    else:
        table = side_table(side_by_side([one, other]))
        is_single = len({trial.component for trial in (*one.trials, *other.trials)}) == 1
        values = (_all_settings(each.trials, is_single) for each in (one, other))
        configured = _part("Configuration", *values)
        parts.append(Part(configured.heading, [row for row in configured.rows if row.differs]))
    changes = [*environment_changes(*data), *code_facts_changes(*data)]
    for heading, found in (("Environment and code", changes), ("Packages", package_changes(*data))):
        if found:
            rows = [Row(change.name, _text(change.before), _text(change.after), True) for change in found]
            parts.append(Part(heading, rows))
    before, after = one.execution.code, other.execution.code
    files = [] if before is None or after is None else code_changes(before, after)[:MAX_FILES]
    return Comparison(table, [part for part in parts if part.rows], list(map(_shortened, files)), results)


def _shortened(change: FileChange) -> FileChange:
    lines = [printable(line.expandtabs()) for line in (change.lines or ())[2:]]  # the first two repeat the name
    return FileChange(change.name, change.how, lines[:MAX_LINES])


def _text(value: Any) -> str:
    return "" if value is None else exact(value)


def _facts(trial: Trial) -> dict[str, str]:
    return {
        "component": trial.component,
        "status": trial.status,
        "seed": str(trial.seed),
        "identity": trial.identity,
        "seconds": cell(trial.seconds),
        "host": str((trial.host or {}).get("name") or ""),
    }


def _all_settings(trials: Sequence[Trial], is_single: bool) -> dict[str, str]:
    """Return the values that trials have of each setting, behind the component unless there is only a single one."""
    found: dict[str, dict[str, None]] = {}
    for trial in trials:
        for name, text in settings(trial).items():
            found.setdefault(name if is_single else f"{trial.component}.{name}", {})[text] = None
    return {name: _few(list(texts)) for name, texts in found.items()}


def _few(texts: list[str]) -> str:
    """Return the first texts, and how many there are more."""
    more = len(texts) - MAX_VALUES
    return ", ".join(texts[:MAX_VALUES]) + (f", … and {more:,} more" if more > 0 else "")


def _last(trial: Trial) -> dict[str, str]:
    return {name: cell(value) for name, value in (trial.last_row or {}).items() if not name.startswith("_")}


def _part(heading: str, one: Mapping[str, str], other: Mapping[str, str]) -> Part:
    rows = [Row(key, one.get(key, ""), other.get(key, ""), one.get(key) != other.get(key)) for key in {**one, **other}]
    return Part(heading, sorted(rows, key=lambda row: not row.differs))
