"""`machinable trials`: all trials of a storage as a table, or a summary of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from machinable.cli.output import message, write_json
from machinable.cli.targets import chosen_trials, field_names, open_storage
from machinable.display.summary import interval_texts, rows_of, trials_table
from machinable.display.tables import Table, cell, write_table
from machinable.display.terminal import echo
from machinable.errors import InvalidValue, UnknownName
from machinable.results.summary import FIGURES
from machinable.results.tables import Tabular, short_headings, sorted_rows

if TYPE_CHECKING:
    from machinable.results.storage import Storage
    from machinable.results.trials import Trials

__all__ = ["trials_command"]


class _Rows(Tabular):
    """Rows with the same keys."""

    def __init__(self, rows: Sequence[Mapping[str, Any]], names: Iterable[str]) -> None:
        self._columns = {name: [row[name] for row in rows] for name in names}

    def _by_column(self) -> dict[str, list[Any]]:
        return self._columns


def trials_command(
    identifiers: tuple[str, ...],
    storage: str | tuple[str, ...] | None,
    conditions: tuple[str, ...],
    sort: str | None,
    descending: bool,
    by: str | None,
    columns: str | None,
    figures: str | None,
    top: int | None,
    wide: bool,
    **forms: bool,
) -> None:
    """Show the trials that satisfy the conditions, or with `by` a summary; `forms` are other forms than a table."""
    given = [name.removeprefix("as_") for name, is_given in forms.items() if is_given]
    if len(given) > 1:
        words = " and ".join(f"--{name}" for name in given)
        raise InvalidValue(f"{words} exclude each other", given=words, todo="Keep one of them.")
    form = given[0] if given else None
    fields = field_names(columns, "--columns")
    chosen = field_names(figures, "--figures")
    for name in chosen:
        if name not in FIGURES:
            raise UnknownName("figure", name, FIGURES)
    if chosen and by is None:
        raise InvalidValue(
            "--figures needs --by", given=figures, todo="Name fields that make groups: --by config.rate."
        )
    with open_storage(storage) as opened:
        found = chosen_trials(opened, identifiers).where(*conditions)
        if by is not None:
            _summarise(opened, found, field_names(by, "--by"), fields, chosen, sort, descending, top, form, wide)
            return
        if sort is not None:
            found = found.sort(sort, descending)
        elif descending:
            raise InvalidValue("--descending needs --sort", given=True, todo="Name a field: --sort records.loss.")
        found = (found if top is None else found.first(top)).columns(*fields)
        if form == "json":
            write_json({"storage": opened.url, "trials": found.rows()})
        elif form is not None:
            _write(found, form)
        elif not len(found):
            message(f"no trials in {opened.url}{' satisfy the conditions' if conditions else ''}")
        elif fields:
            rows = found.rows()
            write_table(Table(fields, [[cell(row[field]) for field in fields] for row in rows]), wide=wide)
        else:
            write_table(trials_table(rows_of(found), found), wide=wide)


def _write(table: Tabular, form: str) -> None:
    text = {"csv": table.csv, "md": table.markdown, "latex": table.latex}[form]()
    echo(text, end="")


def _summarise(
    storage: Storage,
    trials: Trials,
    by: Sequence[str],
    fields: Sequence[str],
    chosen: Sequence[str],
    sort: str | None,
    descending: bool,
    top: int | None,
    form: str | None,
    wide: bool,
) -> None:
    """Show a summary of each field, by default of all columns of the last rows that have only numbers.

    With `chosen`, it has only these figures.
    """
    metrics = list(fields) or trials.metrics()
    if not metrics:
        message(f"the trials in {storage.url} have no numbers to summarise; name a field: --columns seconds")
        return
    summaries = {metric: trials.summary(metric, by) for metric in metrics}
    tables = {}
    for metric, summary in summaries.items():
        rows = summary.rows()
        if sort is not None:
            if rows and sort not in rows[0]:
                raise UnknownName("column", sort, rows[0])
            rows = sorted_rows(rows, sort, descending)
        tables[metric] = rows[:top]
    names = list(dict.fromkeys(name for rows in tables.values() for row in rows for name in row))
    if chosen:
        names = [*(name for name in names if name not in FIGURES), *chosen]
    several = [
        {"field": metric} | {name: row.get(name) for name in names} for metric, rows in tables.items() for row in rows
    ]
    if form == "json":
        write_json({"storage": storage.url, "summary": several})
    elif form is not None:
        _write(_Rows(several, ["field", *names]), form)
    else:
        for number, (metric, rows) in enumerate(tables.items()):
            if number:
                echo()
            write_table(_summary_table(metric, rows, summaries[metric].settings, chosen), wide=wide)


def _summary_table(
    metric: str, rows: Sequence[Mapping[str, Any]], settings: Sequence[str], chosen: Sequence[str]
) -> Table:
    """Return a table for people: mean and deviation, and the interval, in one column each; or the chosen figures."""
    name = metric.removeprefix("records.")
    if chosen:
        headings = [*short_headings(settings), *(f"{name} {one}" if one == "mean" else one for one in chosen)]
        return Table(headings, [[cell(row[one]) for one in (*settings, *chosen)] for row in rows])
    headings = [*short_headings(settings), "n", "failed", f"{name} ± sd", "95 % interval", "median", "min", "max"]
    return Table(
        headings,
        [
            [
                *(cell(row[setting]) for setting in settings),
                str(row["n"]),
                str(row["failed"]),
                *interval_texts(row),
                *(cell(row[figure]) for figure in ("median", "min", "max")),
            ]
            for row in rows
        ],
    )
