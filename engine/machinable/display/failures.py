"""Failures: errors grouped by kind, with the settings that their trials share and how to run them again."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from machinable.display.summary import SUCCESSFUL, short_names
from machinable.display.tables import MAX_TRACEBACK, counted, exact, headline
from machinable.results.query import is_number
from machinable.serialization import canonical
from machinable.units import shortened

__all__ = ["Failed", "Kind", "failure_text", "kinds_of"]

MAX_KINDS = 10  # kinds of errors that are shown
MAX_CONDITIONS = 4  # of a kind

Row = Mapping[str, Any]  # of a trial: `uid`, `component`, `status`, `config.…`, `flags.…`
RerunCommand = Callable[[Row], "str | None"]  # the command that runs a trial again

_NUMBER = re.compile(r"0x[0-9a-fA-F]+|[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")


class Failed(NamedTuple):
    """A failed trial: its row, and its error: `type`, `message`, `traceback`."""

    row: Row
    error: Mapping[str, str]


class Kind(NamedTuple):
    """Failures whose errors differ only in numbers."""

    text: str  # type and first line of the message, with `…` for numbers that differ
    failed: list[Failed]
    conditions: list[str]  # conditions of all of them and of no successful trial: `depth ≥ 12`, `rate=0.2`

    def __str__(self) -> str:
        more = len(self.conditions) - MAX_CONDITIONS
        listed = [*self.conditions[:MAX_CONDITIONS], *([f"{more} more"] if more > 0 else [])]
        return self.text + (f", {'all ' if len(self.failed) > 1 else ''}with {', '.join(listed)}" if listed else "")


def kinds_of(failed: Sequence[Failed], rows: Sequence[Row]) -> list[Kind]:
    """Return the failures by kind, most frequent first; `rows` are those of all trials."""
    found: dict[tuple[str, str], list[Failed]] = {}
    for one in failed:
        found.setdefault((one.error["type"], _NUMBER.sub("…", headline(one.error))), []).append(one)
    return [
        Kind(
            _merged([headline(one.error) for one in members]), members, _conditions([one.row for one in members], rows)
        )
        for members in sorted(found.values(), key=lambda members: -len(members))
    ]


def _merged(texts: Sequence[str]) -> str:
    """Return texts that differ only in numbers as one text."""
    first = texts[0]
    if all(text == first for text in texts):
        return first
    columns = zip(*map(_NUMBER.findall, texts), strict=True)
    numbers = iter([column[0] if len(set(column)) == 1 else "…" for column in columns])
    return _NUMBER.sub(lambda match: next(numbers), first)


def _conditions(members: Sequence[Row], rows: Sequence[Row]) -> list[str]:
    """Return the conditions that distinguish the members from successful trials, or else from other failures."""
    uids = {row["uid"] for row in members}
    others = [row for row in rows if row["uid"] not in uids]
    successful = [row for row in others if row["status"] in SUCCESSFUL]
    compared = successful or [row for row in others if row["status"] == "failed"]
    if not compared:
        return []
    one_component = len({row["component"] for row in rows}) == 1
    fields = [key for key in members[0] if key.startswith(("config.", "flags.", "requires."))]
    names = short_names(fields)
    if len(members) > 1:  # a single trial is named anyway
        fields.insert(0, "component")
        names["component"] = "component"
    conditions: list[str] = []
    for field in fields:
        values = {canonical(row[field]): row[field] for row in members}
        if len(values) > 1:
            conditions += _bound(names[field], list(values.values()), compared, field)
            continue
        ((text, value),) = values.items()
        if value is None and not one_component:
            continue  # a key that only other components have
        if not any(canonical(row[field]) == text for row in compared):
            conditions.append(f"{names[field]}={exact(value)}")
    return conditions


def _bound(name: str, values: Sequence[Any], others: Sequence[Row], field: str) -> list[str]:
    """Return the bound that separates all values from those of other trials; repetition numbers have no order."""
    theirs = [row[field] for row in others if row[field] is not None]
    if (
        field.startswith("flags.")
        or not theirs
        or not all(is_number(value) and value == value for value in [*values, *theirs])
    ):
        return []
    if min(values) > max(theirs):
        return [f"{name} ≥ {exact(min(values))}"]
    return [f"{name} ≤ {exact(max(values))}"] if max(values) < min(theirs) else []


def _lines(kind: Kind, rerun_command: RerunCommand | None) -> list[str]:
    number, row = len(kind.failed), kind.failed[0].row
    lines = [
        f"{counted(number, 'trial')}: {kind}",
        f"  {'first: ' if number > 1 else ''}{row['component']} {row['uid']}",
    ]
    command = rerun_command(row) if rerun_command else None
    return [*lines, f"  again: {command}"] if command else lines


def failure_text(failed: Sequence[Failed], rows: Sequence[Row], rerun_command: RerunCommand | None = None) -> str:
    """Return the first traceback of the component, then the kinds of errors, given the rows of all trials."""
    first = failed[0].error
    lines = [shortened((first.get("traceback") or headline(first)).rstrip(), MAX_TRACEBACK), ""]
    blocked = sum(row["status"] == "blocked" for row in rows)
    behind = f", {blocked} blocked" if blocked else ""
    lines.append(f"{len(failed)} of {counted(len(rows), 'trial')} failed{behind}")
    kinds = kinds_of(failed, rows)
    for kind in kinds[:MAX_KINDS]:
        lines += [f"  {line}" for line in _lines(kind, rerun_command)]
    if len(kinds) > MAX_KINDS:
        lines.append(f"  and {len(kinds) - MAX_KINDS} other errors")
    return "\n".join(lines)
