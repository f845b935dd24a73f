"""Executions and trials side by side: a group of equal settings of each is one line."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from machinable.display.outcomes import Group, Row, group_table, groups, settings_of
from machinable.display.tables import Table
from machinable.plain import Plain, canonical
from machinable.results.fields import default_fields
from machinable.results.trial import Trial
from machinable.results.trials import Trials

__all__ = ["Line", "Side", "side_by_side", "side_table"]


class Side(NamedTuple):
    """What is compared: trials of one execution, or one of them, whose uid it then has."""

    execution: str
    trial: str | None
    trials: Sequence[Trial]


class Line(NamedTuple):
    """A group of one side, with the rows of its trials."""

    side: Side
    group: Group
    rows: list[Row]

    def as_data(self) -> dict[str, Plain]:
        """The line for programs."""
        uids = [row["uid"] for row in self.rows]
        return {"execution": self.side.execution, "trial": self.side.trial} | self.group.as_data() | {"uids": uids}


def side_by_side(sides: Sequence[Side], fields: Iterable[str] = ()) -> list[Line]:
    """The groups of each side; settings that are the same in all of them are left out.

    Args:
        fields: what is compared, such as `records.loss.min`; by default what the last rows hold.

    Raises:
        UnknownName: a field that not one of the trials has.
    """
    trials = Trials({(side.execution, trial.uid): trial for side in sides for trial in side.trials}.values())
    if not len(trials):
        return []
    names = default_fields(trials)
    if chosen := list(dict.fromkeys(fields)):
        trials.rows(*chosen)  # a field that no trial has is told
        names = [name for name in names if not name.startswith("records.") and name not in chosen] + chosen
    rows = {(row["execution"], row["uid"]): row for row in trials.rows(*names)}
    found = []
    for side in sides:
        own: list[Row] = [rows[side.execution, trial.uid] for trial in side.trials]
        settings: dict[str, list[Row]] = {}
        for row in own:
            settings.setdefault(canonical([row["component"], settings_of(row)]), []).append(row)
        found += [Line(side, group, members) for group, members in zip(groups(own), settings.values(), strict=True)]
    return found


def side_table(lines: Sequence[Line]) -> Table:
    """The lines as a table, each with its execution, and with the trial where one was chosen."""
    table = group_table([line.group for line in lines])
    has_trials = any(line.side.trial for line in lines)
    rows = [
        [line.side.execution, *([line.side.trial or ""] if has_trials else []), *row]
        for line, row in zip(lines, table.rows, strict=True)
    ]
    return Table(["execution", *(["trial"] if has_trials else []), *table.headings], rows)
