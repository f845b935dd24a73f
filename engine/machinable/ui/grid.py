"""The table of trials, one page at a time, and the summary of groups."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from machinable.display.summary import interval_texts, short_names
from machinable.display.tables import cell
from machinable.errors import InvalidValue, StorageError
from machinable.results.query import MISSING, Field, default_fields, find_field, is_number, known_fields
from machinable.results.trial import Trial
from machinable.results.trials import Trials
from machinable.ui.selection import Selection, address
from machinable.units import format_time

__all__ = ["PAGE", "Column", "Grid", "Groups", "field_choices", "grid", "group_tables"]

PAGE = 50  # trials on one page
UNREADABLE = "unreadable"
MAX_GROUPED = 10_000  # trials that are summarised, which takes seconds for so many
SAMPLE = 400  # trials that are looked at for the names of fields; others rarely have more
_TIMES = ("started", "ended")


class Column(NamedTuple):
    """A column: the field, a short name for it, and whether it has numbers."""

    field: str
    heading: str
    is_numeric: bool


class Grid(NamedTuple):
    """One page of a table of trials.

    Attributes:
        columns: The columns.
        rows: For each trial the texts of its cells, `href` and `status`.
        total: The number of all trials that are selected.
        page: The page, from 1.
        pages: The number of pages, at least 1.
    """

    columns: list[Column]
    rows: list[dict[str, Any]]
    total: int
    page: int
    pages: int


def sample(trials: Trials) -> Trials:
    """Return trials from everywhere among them."""
    step = max(1, len(trials) // SAMPLE)
    return trials[::step]


def field_choices(trials: Trials) -> list[str]:
    """Return the fields that can be columns."""
    return known_fields(sample(trials))


def grid(trials: Trials, selection: Selection) -> Grid:
    """Return the page of the trials that is selected.

    Raises:
        MachinableError: A condition does not parse, or no trial has a field.
    """
    chosen = selection.of(trials)
    fields = selection.fields
    if not fields:
        fields = default_fields(sample(chosen))
        if selection.execution:
            fields.remove("execution")
    pages = max(1, -(-len(chosen) // PAGE))
    page = min(selection.page, pages)
    shown = chosen[(page - 1) * PAGE : page * PAGE]
    values = _values(shown, chosen, fields)
    names = short_names(fields)
    columns = [Column(field, names[field], _is_numeric([row[field] for row in values])) for field in fields]
    rows = [
        {field: _text(field, row[field]) for field in fields}
        | {"href": address("trial", str(trial.execution), trial.uid), "key": f"{trial.execution}/{trial.uid}"}
        | {"state": _alone("status", trial)}
        for trial, row in zip(shown, values, strict=True)
    ]
    return Grid(columns, rows, len(chosen), page, pages)


def _is_numeric(values: Sequence[Any]) -> bool:
    given = [value for value in values if value is not None]
    return bool(given) and all(map(is_number, given))


def _values(trials: Trials, chosen: Trials, fields: Sequence[str]) -> list[dict[str, Any]]:
    """Return the values of fields of the shown trials; an unknown field is an error."""
    chosen.columns(*fields)  # whether there can be such fields
    columns = {}
    for name in fields:
        try:
            found = _field(name).values(trials)
        except StorageError:
            found = [_alone(name, trial) for trial in trials]
        values = [None if value is MISSING else value for value in found]
        if trials and all(value is None for value in values):
            chosen.sort(name)  # whether any trial has it
        columns[name] = values
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _alone(name: str, trial: Trial) -> Any:
    """Return the value of a field of one trial; the page of a trial says why its files cannot be read."""
    try:
        return _field(name).of(trial)
    except StorageError:
        return UNREADABLE


def _field(name: str) -> Field:
    field = find_field(name)
    assert field is not None
    return field


def _text(field: str, value: Any) -> str:
    if field in _TIMES and isinstance(value, str):
        return format_time(value)
    return "" if value is None else cell(value)


class Groups(NamedTuple):
    """The summary of one column of numbers: headings, and the texts of the rows."""

    metric: str
    headings: list[str]
    rows: list[list[str]]


def group_tables(trials: Trials, selection: Selection) -> list[Groups]:
    """Return a summary by the fields that make groups, for each column of numbers.

    Raises:
        MachinableError: A condition does not parse, or no trial has a field.
    """
    chosen = selection.of(trials)
    if len(chosen) > MAX_GROUPED:
        raise InvalidValue(
            f"these are {len(chosen):,} trials, and groups of at most {MAX_GROUPED:,} are summarised here",
            given=len(chosen),
            todo="Add a condition, such as config.rate<0.3, or use: machinable trials --by FIELD",
        )
    metrics = [field for field in selection.fields if field.startswith("records.")] or sample(chosen).metrics()
    found = []
    for metric in metrics:
        summary = chosen.summary(metric, selection.groups)
        settings = list(short_names(summary.settings).values())
        headings = [*settings, "n", "failed", "mean ± sd", "95 % interval", "median", "min", "max"]
        rows = [_group(row, summary.settings) for row in summary.rows()]
        found.append(Groups(metric, headings, rows))
    return found


def _group(row: Mapping[str, Any], settings: Iterable[str]) -> list[str]:
    return [
        *(_text(name, row[name]) for name in settings),
        str(row["n"]),
        str(row["failed"]),
        *interval_texts(row),
        *(_text("", row[figure]) for figure in ("median", "min", "max")),
    ]
