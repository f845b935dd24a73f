"""What came out of trials: groups of equal configuration with mean and deviation, and what failed and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from machinable.display.tables import Table, exact, settings_text
from machinable.plain import Plain, canonical
from machinable.results.fields import mean, spread

__all__ = ["Failed", "Group", "failure_text", "group_table", "groups", "in_common", "settings_of", "short_names"]

SHOWN = 10  # different errors

Row = Mapping[str, Any]  # of a trial: `component`, `status`, `config.…`, `flags.…`, `records.…`


class Group(NamedTuple):
    """Trials of one component and configuration.

    Attributes:
        settings: what differs between the groups. n: how many have finished. ended: of the others, how many ended how.
        figures: of each column of numbers mean and standard deviation, which one number does not have.
    """

    component: str
    settings: dict[str, Plain]
    n: int
    ended: dict[str, int]
    figures: dict[str, tuple[float, float | None]]

    def as_data(self) -> dict[str, Plain]:
        """The group for programs."""
        figures = {column: {"mean": middle, "std": deviation} for column, (middle, deviation) in self.figures.items()}
        return {
            "component": self.component, "config": self.settings, "n": self.n, "others": self.ended, "records": figures,
        }  # fmt: skip


def settings_of(row: Row, part: str = "config") -> dict[str, Any]:
    """The values of a row that belong to a part (`config`, `flags`, `records`), without its name."""
    return {key[len(part) + 1 :]: value for key, value in row.items() if key.startswith(f"{part}.")}


def groups(rows: Sequence[Row]) -> list[Group]:
    """The groups in the order of their first trials."""
    members: dict[str, list[Row]] = {}
    for row in rows:
        members.setdefault(canonical([row["component"], settings_of(row)]), []).append(row)
    columns = [key for key in (rows[0] if rows else ()) if key.startswith("records.")]
    columns = [key for key in columns if all(row[key] is None or _is_number(row[key]) for row in rows)]
    result = []
    for group in members.values():
        finished = [row for row in group if row["status"] == "finished"]
        ended: dict[str, int] = {}
        for row in group:
            if row["status"] != "finished":
                ended[row["status"]] = ended.get(row["status"], 0) + 1
        figures = {}
        for key in columns:
            numbers = [row[key] for row in finished if row[key] is not None]
            if numbers:
                figures[key[len("records.") :]] = mean(numbers), spread(numbers) if len(numbers) > 1 else None
        result.append(Group(group[0]["component"], settings_of(group[0]), len(finished), ended, figures))
    return result


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def group_table(found: Sequence[Group]) -> Table:
    """The groups as a table: component, what differs, n, other ends, and the figures."""
    settings = list(dict.fromkeys(key for group in found for key in group.settings))
    ended = list(dict.fromkeys(how for group in found for how in group.ended))
    columns = list(dict.fromkeys(column for group in found for column in group.figures))
    rows = [
        [
            group.component,
            *("" if group.settings.get(key) is None else exact(group.settings[key]) for key in settings),
            str(group.n),
            *(str(group.ended.get(how, 0)) for how in ended),
            *(_figure(*group.figures[column]) if column in group.figures else "" for column in columns),
        ]
        for group in found
    ]
    return Table(["component", *settings, "n", *ended, *columns], rows)


def _figure(middle: float, deviation: float | None) -> str:
    return f"{middle:.6g}" if deviation is None else f"{middle:.6g} ± {deviation:.2g}"


def short_names(fields: Iterable[str]) -> dict[str, str]:
    """For each field such as `config.rate` the shortest of its names that no other field has."""
    fields = list(fields)
    short = {field: field.partition(".")[2] or field for field in fields}
    taken = list(short.values())
    return {field: name if taken.count(name) == 1 else field for field, name in short.items()}


class Failed(NamedTuple):
    """A failed trial: a row with `uid`, `index` and `component`, and its error: `type`, `message`, `traceback`."""

    row: Row
    error: Mapping[str, str]


def failure_text(failed: Sequence[Failed], rows: Sequence[Row], command: str | None = None) -> str:
    """What failed: the first traceback as the component left it, then the errors, how often, and what they share.

    Args:
        failed: in the order of the plan, at least one. rows: all trials. command: runs the first of them again.
    """
    first = failed[0].error
    lines = [(first.get("traceback") or _headline(first)).rstrip(), ""]
    lines.append(f"{len(failed)} of {len(rows)} trial{'' if len(rows) == 1 else 's'} failed")
    kinds: dict[str, list[Failed]] = {}
    for one in failed:
        kinds.setdefault(_headline(one.error), []).append(one)
    ordered = sorted(kinds.items(), key=lambda kind: -len(kind[1]))
    for text, members in ordered[:SHOWN]:
        row = members[0].row
        lines.append(f"  {len(members)} trial{'' if len(members) == 1 else 's'}: {text}")
        shared = in_common([one.row for one in members], rows)
        if shared:
            lines.append(f"    in common: {settings_text(shared)}")
        lines.append(f"    {'first: ' if len(members) > 1 else ''}{row['component']} {row['uid']}")
    if len(ordered) > SHOWN:
        lines.append(f"  and {len(ordered) - SHOWN} other errors")
    if command:
        lines.append(f"again: {command}")
    return "\n".join(lines)


def _headline(error: Mapping[str, str]) -> str:
    message = (error.get("message") or "").strip().partition("\n")[0]
    return f"{error['type']}: {message}" if message else error["type"]


def in_common(members: Sequence[Row], rows: Sequence[Row]) -> dict[str, Any]:
    """What the members share and not all rows do: component, configuration and numbers of repetitions."""
    fields = [key for key in members[0] if key == "component" or key.startswith(("config.", "flags."))]
    shared = {}
    for field in fields:
        values = {canonical(row[field]) for row in members}
        if len(values) == 1 and len({canonical(row[field]) for row in rows}) > 1:
            shared[field] = members[0][field]
    names = short_names(fields)
    return {names[field]: value for field, value in shared.items()}
